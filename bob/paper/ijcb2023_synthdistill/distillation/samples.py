"""A picture of what the student is trained on: fresh faces over their re-sampled ones."""

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageDraw

from .. import faces
from ..files import atomic_write

CAPTION = 14
"""Height of the line under each face, in pixels."""


def draw_samples(
    path: Path,
    fresh: torch.Tensor,
    fresh_similarity: torch.Tensor,
    resampled: torch.Tensor,
    resampled_similarity: torch.Tensor,
) -> None:
    """Write a grid: one column an image, fresh above re-sampled, their cosines below each.

    Parameters
    ----------
    path
        The PNG to write.
    fresh, resampled
        Faces ``[n, 3, 112, 112]`` in [-1, 1].
    fresh_similarity, resampled_similarity
        Cosine of student and teacher for each, ``[n]``.
    """
    size = faces.FACE_SIZE
    canvas = Image.new("RGB", (size * len(fresh), 2 * (size + CAPTION)), "white")
    pen = ImageDraw.Draw(canvas)
    rows = ((fresh, fresh_similarity, "fresh"), (resampled, resampled_similarity, "re-sampled"))
    for row, (images, similarities, name) in enumerate(rows):
        pixels = faces.to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
        for column, similarity in enumerate(similarities.tolist()):
            x, y = column * size, row * (size + CAPTION)
            canvas.paste(Image.fromarray(numpy.ascontiguousarray(pixels[column])), (x, y))
            pen.text((x + 3, y + size + 1), f"{name} {similarity:+.3f}", fill="black")
    with atomic_write(path) as temporary:
        canvas.save(temporary, format="PNG")
