"""What a camera does to a picture: colour of the light, noise, compression."""

import functools
import io

import numpy
import torch
from PIL import Image

from .. import faces

_NOISE = 2**20
_NOISE_SEED = 20230824


@functools.cache
def _noise() -> torch.Tensor:
    """Draw the noise that all images cut theirs from (a cut costs less than new numbers)."""
    rng = numpy.random.default_rng(_NOISE_SEED)
    return torch.from_numpy(rng.standard_normal(_NOISE, dtype=numpy.float32))


def develop(scene: torch.Tensor, conditions: dict[str, torch.Tensor]) -> torch.Tensor:
    """Take a photograph of a scene.

    Parameters
    ----------
    scene
        ``[B, 3, H, W]``, about [0, 1]. It is used up.
    conditions
        The columns exposure, light_warmth, noise, seed and quality, each ``[B, 1, 1]``.

    Returns
    -------
        ``[B, 3, H, W]`` in [-1, 1].
    """
    warmth, one = conditions["light_warmth"], torch.ones_like(conditions["light_warmth"])
    gain = torch.stack([one + warmth, one, one - warmth], dim=1) * conditions["exposure"][:, None]
    image = scene.mul_(2.0 * gain).sub_(1.0)
    pixels = image[0].numel()
    for i, (noise, seed) in enumerate(
        zip(
            conditions["noise"].flatten().tolist(),
            conditions["seed"].flatten().tolist(),
            strict=True,
        )
    ):
        if noise > 0.0:
            first = int(seed) * 7919 % (_NOISE - pixels)
            image[i].add_(_noise()[first : first + pixels].view_as(image[i]), alpha=noise)
    image.clamp_(-1.0, 1.0)
    for i, quality in enumerate(conditions["quality"].flatten().tolist()):
        if quality < 100.0:
            image[i] = _compress(image[i], int(quality))
    return image


def _compress(image: torch.Tensor, quality: int) -> torch.Tensor:
    """Send an image ``[3, H, W]`` through a JPEG file of a quality in 1 .. 95."""
    pixels = faces.to_uint8(image).permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    decoded = numpy.asarray(Image.open(stream))
    return faces.from_uint8(torch.from_numpy(decoded.copy()).permute(2, 0, 1))
