"""Load the images of benchmarks: from a file of their own, or from within a ``.bin``."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from PIL import ExifTags, Image, ImageFile, ImageOps

from ..files import SynthDistillError

ALIGNED_SIZE = 112
"""Height and width of an aligned face, in pixels (``faces.FACE_SIZE``, without importing torch)."""

# (y, x), of faces.LEFT_EYE and faces.RIGHT_EYE, in Bob's words
ALIGNED_EYES = {"reye": (51.6, 38.2946), "leye": (51.6, 73.5318)}
"""Where the eyes of aligned faces are, (y, x), as Bob's ``fixed_positions``."""

MAX_PIXELS = 64_000_000
"""Pixels of the largest photograph that is decoded: a few bytes can claim billions."""

DRAWN_MARK = b"ToyFaces"
"""Stands in a comment of images that were drawn (JPEG's COM, PNG's text): no photographs."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Image formats that are decoded; Pillow knows many more, most of them rarely tested."""


@dataclass(frozen=True)
class ImageSource:
    """Where one encoded image lies: a file, or ``length`` of its bytes from ``offset`` on.

    Small: one travels to a worker with each sample. ``aligned``: it must be an aligned face of
    112x112 pixels. ``content`` is the image itself, where the file stores it in an escaped form.
    """

    path: str
    offset: int = 0
    length: int | None = None
    aligned: bool = True
    content: bytes | None = None

    def __str__(self) -> str:
        if self.content is not None:
            return f"an image of {len(self.content):,} bytes in {self.path}"
        if self.length is not None:
            end = self.offset + self.length
            return f"the image at bytes {self.offset:,} to {end:,} of {self.path}"
        return self.path

    def read(self) -> bytes:
        """Read the encoded image."""
        if self.content is not None:
            return self.content
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123 - twice as fast as Path.open
                stream.seek(self.offset)
                return stream.read() if self.length is None else stream.read(self.length)
        except OSError as error:
            raise SynthDistillError(f"cannot read {self}: {error.strerror or error}.") from error


@contextlib.contextmanager
def _opened(source: ImageSource, *, header: bool) -> Iterator[Image.Image]:
    """Open an image: whatever is wrong with it, now or while it is decoded, is told by its name."""
    # bob.io.base makes Pillow fill what is missing of an image with grey, in the whole process
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    own_file = source.content is None and source.length is None
    try:
        file = source.path if header and own_file else io.BytesIO(source.read())
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except SynthDistillError:
        raise
    except Exception as error:  # damaged images make Pillow raise nearly anything
        raise SynthDistillError(
            f"{source}: no readable image ({'/'.join(FORMATS)} expected): {str(error)[:100]!a}."
        ) from error


def load_image(source: ImageSource) -> numpy.ndarray:
    """Decode one image, turned as its EXIF orientation says: ``[3, H, W]``, uint8, RGB.

    Images that are missing, unreadable or of a wrong size are refused by name.
    """
    with _opened(source, header=False) as image:
        _check(image, source)
        ImageOps.exif_transpose(image, in_place=True)
        pixels = numpy.asarray(image.convert("RGB"))
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_size(source: ImageSource) -> tuple[int, int]:
    """Read height and width of an image, as it is shown, from its header; nothing is decoded.

    Images that are missing, unreadable or of a wrong kind or size are refused by name.
    """
    with _opened(source, header=True) as image:
        _check(image, source)
        width, height = image.size
        # a PNG without would be decoded in search of it
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        turned = exif.get(ExifTags.Base.Orientation, 1) >= 5
    return (width, height) if turned else (height, width)


def is_drawn(source: ImageSource) -> bool:
    """Tell whether an image has :py:data:`DRAWN_MARK` in a comment; it may be unreadable."""
    with contextlib.suppress(SynthDistillError), _opened(source, header=True) as image:
        return any(
            DRAWN_MARK in (value if isinstance(value, bytes) else str(value).encode())
            for value in image.info.values()
        )
    return False


def _check(image: Image.Image, source: ImageSource) -> None:
    """Refuse by its header an image that cannot be used."""
    size = f"{image.width}x{image.height}"
    if source.aligned and image.size != (ALIGNED_SIZE, ALIGNED_SIZE):
        refusal = (
            f"an aligned face of {ALIGNED_SIZE}x{ALIGNED_SIZE} pixels was expected, not {size}"
        )
    elif image.width * image.height > MAX_PIXELS:
        refusal = f"an image of {size} pixels is larger than any photograph of a benchmark"
    elif image.mode[0] in "IF":
        refusal = (
            "8 bits were expected, this grey image has more, and would turn white: convert it with "
            "the right range"
        )
    else:
        return
    raise SynthDistillError(f"{source}: {refusal}.")
