"""Draw faces: an ellipsoid seen by an orthographic camera, its features signed distances.

Every pixel is traced to the head's surface, which gives the features their place and foreshortening
and the light its normal. Edges are soft by the width of a pixel, or by the blur of the photograph.
"""

import functools
import io
from types import SimpleNamespace

import numpy
import torch
from PIL import Image

from .. import faces
from . import features, scene
from .surface import Surface

# images at once: few enough for the working set to stay in the cache
_CHUNK = 8

_NOISE = 2**20


def render(
    identities: torch.Tensor,
    conditions: torch.Tensor,
    size: int = faces.FACE_SIZE,
    framing: str = "aligned",
) -> torch.Tensor:
    """Draw photographs of people. No randomness: the noise follows from the column ``seed``.

    Identities ``[N, len(IDENTITY_NAMES)]`` are standard normal, conditions
    ``[N, len(CONDITION_NAMES)]`` in the units of each column. ``framing`` is ``aligned``, ``ffhq``
    or ``unaligned``, see :py:func:`.framing.pixel_to_template`. Gives ``[N, 3, size, size]``,
    float32, RGB in [-1, 1].
    """
    images = torch.empty(len(identities), 3, size, size)
    for first in range(0, len(identities), _CHUNK):
        part = slice(first, first + _CHUNK)
        images[part] = _photograph(Surface(identities[part], conditions[part], size, framing))
    return images


def _photograph(head: Surface) -> torch.Tensor:
    """Paint everything from the back to the front, then let the camera spoil it."""
    image = scene.background(head)
    scene.behind(head, image)
    features.skin(head)
    features.eyes(head)
    features.mouth(head)
    features.nose(head)
    scene.glasses(head)
    features.hair(head)
    scene.hat(head)
    scene.mask(head)
    image.lerp_(head.skin.mul_(head.shade.unsqueeze(1)), head.solid.unsqueeze(1))
    scene.occluder(head, image)
    return _develop(image, head.photo)


@functools.cache
def _noise() -> torch.Tensor:
    """Draw the noise that all images cut theirs from (a cut costs less than new numbers)."""
    rng = numpy.random.default_rng(20230824)
    return torch.from_numpy(rng.standard_normal(_NOISE, dtype=numpy.float32))


def _develop(scene: torch.Tensor, photo: SimpleNamespace) -> torch.Tensor:
    """Take a photograph ``[B, 3, H, W]`` in [-1, 1] of a scene in about [0, 1], which is used up.

    ``photo`` holds exposure, light_warmth, noise, seed and quality, each ``[B, 1, 1]``.
    """
    warmth, one = photo.light_warmth, torch.ones_like(photo.light_warmth)
    gain = torch.stack([one + warmth, one, one - warmth], dim=1) * photo.exposure[:, None]
    images = scene.mul_(2.0 * gain).sub_(1.0)
    each = zip(images, *(x.flatten().tolist() for x in (photo.noise, photo.seed)), strict=True)
    for image, noise, seed in each:
        if noise > 0.0:
            first = int(seed) * 7919 % (_NOISE - image.numel())
            grain = _noise()[first : first + image.numel()]
            image.add_(grain.view_as(image), alpha=noise)
    images.clamp_(-1.0, 1.0)
    for image, quality in zip(images, photo.quality.flatten().tolist(), strict=True):
        if quality < 100.0:
            image.copy_(_compress(image, int(quality)))
    return images


def _compress(image: torch.Tensor, quality: int) -> torch.Tensor:
    """Send an image ``[3, H, W]`` through a JPEG file of a quality in 1 .. 95."""
    pixels = faces.to_uint8(image).permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    decoded = numpy.array(Image.open(stream))
    return faces.from_uint8(torch.from_numpy(decoded).permute(2, 0, 1))
