"""Decoding: formats, sizes, colours, and images that are none."""

import io
import struct
import zlib

import numpy
import pytest
from PIL import Image, ImageFile

from bob.paper.ijcb2023_synthdistill.benchmarks.images import (
    ALIGNED_SIZE,
    ImageSource,
    decode,
    load_image,
    read_size,
)
from bob.paper.ijcb2023_synthdistill.faces import FACE_SIZE
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def test_aligned_size_is_the_face_size():
    assert ALIGNED_SIZE == FACE_SIZE


def encoded(mode="RGB", size=(112, 112), kind="PNG", **options):
    rng = numpy.random.default_rng(1)
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype=numpy.uint8).squeeze()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue(), pixels


def test_colour_order():
    content, pixels = encoded()
    image = decode(content, aligned=True)
    assert image.dtype == numpy.uint8
    assert image.flags.c_contiguous
    assert numpy.array_equal(image, pixels.transpose(2, 0, 1))


def test_grey_becomes_rgb():
    content, pixels = encoded("L")
    image = decode(content, aligned=True)
    assert image.shape == (3, 112, 112)
    assert numpy.array_equal(image[2], pixels)


def test_one_photograph_in_many_forms():
    """20 megapixels, opaque, as another lossless format: the same pixels."""
    pixels = numpy.zeros((4000, 5000, 3), numpy.uint8)
    pixels[1000:3000, 500:] = (200, 100, 50)
    image = Image.fromarray(pixels)
    for kind, mode in (("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("BMP", "RGB")):
        stream = io.BytesIO()
        image.convert(mode, palette=Image.Palette.ADAPTIVE).save(stream, kind, compress_level=1)
        assert numpy.array_equal(
            decode(stream.getvalue(), aligned=False), pixels.transpose(2, 0, 1)
        )


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "WEBP"])
def test_formats(kind):
    assert decode(encoded(kind=kind)[0], aligned=True).shape == (3, 112, 112)


def test_wrong_size_is_named():
    with pytest.raises(ValueError, match="112x112 pixels was expected, this image has 112x96"):
        decode(encoded(size=(112, 96))[0], aligned=True)
    assert decode(encoded(size=(112, 96))[0], aligned=False).shape == (3, 96, 112)


def test_claim_of_billions_of_pixels():
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 2**30, 2**30, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    for aligned in (True, False):
        with pytest.raises(ValueError, match=r"1073741824|pixels"):
            decode(bomb, aligned=aligned)


def test_errors_name_the_place(tmp_path):
    path = tmp_path / "a b.jpg"
    with pytest.raises(SynthDistillError, match=r"a b\.jpg: No such file"):
        load_image(ImageSource(str(path)))
    path.write_bytes(encoded(kind="JPEG")[0][:300])
    with pytest.raises(SynthDistillError, match=r"a b\.jpg: no readable image"):
        load_image(ImageSource(str(path)))
    with pytest.raises(SynthDistillError, match=r"bytes 2 to 5 of .*a b\.jpg"):
        load_image(ImageSource(str(path), 2, 3))
    path.write_text("no image")
    with pytest.raises(SynthDistillError, match="cannot read"):
        read_size(ImageSource(str(path)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_part_of_an_image_is_refused(monkeypatch, tmp_path, kind):
    # bob.io.base does this when it is imported
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / "half.jpg"
    content = encoded(kind=kind)[0]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SynthDistillError, match=r"half\.jpg: no readable image"):
        load_image(ImageSource(str(path)))


def turned(content, orientation, kind):
    """Store an image turned, with the EXIF orientation that turns it back."""
    image = Image.open(io.BytesIO(content))
    back = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        5: Image.Transpose.TRANSPOSE,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.transpose(back[orientation]).save(stream, kind, exif=exif, lossless=True)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 5, 6])
def test_exif_orientation(kind, orientation):
    content, pixels = encoded(size=(96, 112))
    image = decode(turned(content, orientation, kind), aligned=False)
    assert numpy.array_equal(image, pixels.transpose(2, 0, 1))


def test_exif_orientation_of_a_jpeg():
    content = encoded(size=(96, 112), kind="JPEG")[0]
    image, upright = (
        decode(c, aligned=False).astype(int) for c in (turned(content, 6, "JPEG"), content)
    )
    assert image.shape == upright.shape
    assert numpy.abs(image - upright).mean() < 40 < numpy.abs(image - upright[:, ::-1]).mean()


@pytest.mark.parametrize("dtype", [numpy.uint16, numpy.int32])
def test_more_than_8_bits_are_refused(dtype):
    stream = io.BytesIO()
    Image.fromarray(numpy.full((112, 112), 300, dtype)).save(stream, "PNG")
    with pytest.raises(ValueError, match="8 bits were expected"):
        decode(stream.getvalue(), aligned=True)


def test_other_formats_are_not_tried():
    stream = io.BytesIO()
    Image.new("RGB", (112, 112)).save(stream, "TIFF")
    with pytest.raises(ValueError, match="no readable image"):
        decode(stream.getvalue(), aligned=True)
