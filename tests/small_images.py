"""Small random images, encoded."""

import io

import numpy
from PIL import Image


def encode(seed, size=112, kind="PNG"):
    """Encode a random image, the same for a seed."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((size, size)).save(stream, kind)
    return stream.getvalue()
