"""Decoding: formats, sizes, colours, and images that are none."""

import io
import struct
import zlib

import numpy
import pytest
from PIL import Image, ImageFile

from bob.paper.ijcb2023_synthdistill.benchmarks import images
from bob.paper.ijcb2023_synthdistill.benchmarks.images import ImageSource, load_image, read_size
from bob.paper.ijcb2023_synthdistill.faces import FACE_SIZE
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def load(content, aligned=True):
    return load_image(ImageSource("some.bin", content=content, aligned=aligned))


def encoded(channels=3, size=(112, 112), kind="PNG"):
    rng = numpy.random.default_rng(1)
    pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype=numpy.uint8).squeeze()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue(), pixels


def test_colours_and_grey():
    assert images.ALIGNED_SIZE == FACE_SIZE
    content, pixels = encoded()
    image = load(content)
    assert image.dtype == numpy.uint8
    assert numpy.array_equal(image, pixels.transpose(2, 0, 1))
    content, pixels = encoded(channels=1)
    assert numpy.array_equal(load(content), [pixels] * 3)


def bomb():
    """Claim billions of pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2**30, 2**30, 8, 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep():
    stream = io.BytesIO()
    Image.fromarray(numpy.full((112, 112), 300, numpy.uint16)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encoded(size=(112, 96))[0], "an aligned face of 112x112 pixels was expected, not 112x96"),
        (bomb(), "1073741824|pixels"),
        (deep(), "8 bits were expected"),
        (encoded(kind="TIFF")[0], "no readable image"),
    ],
)
def test_wrong_images(content, words):
    with pytest.raises(SynthDistillError, match=rf"bytes in some\.bin: .*({words})"):
        load(content)


def test_errors_name_the_place(tmp_path):
    path = tmp_path / "a b.jpg"
    for read in (load_image, read_size):
        with pytest.raises(SynthDistillError, match=r"a b\.jpg: .*No such file"):
            read(ImageSource(str(path)))
    path.write_text("no image")
    with pytest.raises(SynthDistillError, match=r"a b\.jpg: no readable image"):
        read_size(ImageSource(str(path)))
    with pytest.raises(SynthDistillError, match=r"bytes 2 to 5 of .*a b\.jpg"):
        load_image(ImageSource(str(path), 2, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_part_of_an_image_is_refused(monkeypatch, kind):
    # bob.io.base does this when it is imported
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = encoded(kind=kind)[0]
    assert load(content).shape == (3, 112, 112)
    with pytest.raises(SynthDistillError, match="no readable image"):
        load(content[: len(content) // 2])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "back"),
    [
        (3, Image.Transpose.ROTATE_180),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
    ],
)
def test_exif_orientation(kind, orientation, back, tmp_path):
    """An image that is stored turned is seen as EXIF says, its size too."""
    pixels = numpy.full((112, 96, 3), 200, numpy.uint8)
    pixels[:56, :48] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    Image.fromarray(pixels).transpose(back).save(path, kind, exif=exif, lossless=True)
    source = ImageSource(str(path), aligned=False)
    assert numpy.abs(load_image(source).astype(int) - pixels.transpose(2, 0, 1)).max() < 60
    assert read_size(source) == (112, 96)
