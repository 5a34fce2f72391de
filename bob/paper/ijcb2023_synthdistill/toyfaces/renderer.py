"""Draw faces: an ellipsoid seen by an orthographic camera, its features signed distances.

Every pixel is traced to the head's surface, which gives the features their place and foreshortening
and the light its normal. Edges are soft by the width of a pixel, or by the blur of the photograph.
"""

import torch

from .. import faces
from . import features, scene
from .camera import develop
from .surface import Surface

# images at once: few enough for the working set to stay in the cache
_CHUNK = 8


def render(
    identities: torch.Tensor,
    conditions: torch.Tensor,
    size: int = faces.FACE_SIZE,
    framing: str = "aligned",
) -> torch.Tensor:
    """Draw photographs of people. No randomness: the noise follows from the column ``seed``.

    Parameters
    ----------
    identities
        ``[N, len(IDENTITY_NAMES)]``, standard normal.
    conditions
        ``[N, len(CONDITION_NAMES)]``, in the units of each column.
    size
        Height and width of the images, in pixels.
    framing
        ``aligned``, ``ffhq`` or ``unaligned``, see :py:data:`.framing.FRAMINGS`.

    Returns
    -------
        ``[N, 3, size, size]``, float32, RGB in [-1, 1].
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
    return develop(image, head.photo)
