"""Give every image as an aligned face: as it is, or cropped by Bob around its eyes."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..faces import FACE_SIZE, LEFT_EYE, RIGHT_EYE
from ..files import SynthDistillError

# as always in Bob, left is the person's left: the eye that is right in the image
_POSITIONS = {"leye": RIGHT_EYE, "reye": LEFT_EYE}

_NEAR = 1.0
"""Pixels that annotated eyes may lie beside their places without a crop that would only blur."""


def align(image: np.ndarray | None, annotations: Mapping | None, name: str) -> np.ndarray:
    """Crop an image around its eyes, unless it is an aligned face: ``[3, 112, 112]``, RGB.

    ``image`` is ``[3, H, W]`` RGB or ``[H, W]`` grey, in [0, 255]; ``annotations`` are ``leye`` and
    ``reye``, (y, x) in pixels: images without have to be aligned already.
    """
    if image is None or image.ndim < 2 or image.shape[:-2] not in ((), (3,)):
        found = "none" if image is None else f"an array {list(image.shape)}"
        raise SynthDistillError(f"{name}: expected an image [3, H, W] or [H, W], found {found}")
    if image.ndim == 2:
        image = np.repeat(image[None], 3, axis=0)
    eyes = dict(annotations or {})
    annotated = _POSITIONS.keys() <= eyes.keys()
    in_place = annotated and np.allclose(
        [eyes[key] for key in _POSITIONS], [*_POSITIONS.values()], rtol=0, atol=_NEAR
    )
    if image.shape[1:] == (FACE_SIZE, FACE_SIZE) and (in_place or not eyes):
        return image
    if not annotated:
        raise SynthDistillError(
            f"{name}: expected an aligned face of {FACE_SIZE}x{FACE_SIZE} pixels or annotations of "
            f"both eyes (leye, reye), found {image.shape[1]}x{image.shape[2]} pixels (height x "
            f"width) and {sorted(eyes) or 'no annotations'}"
        )
    try:
        return _cropper().transform([image], [eyes])[0]
    except Exception as error:  # OpenCV's errors for eyes in one place, far outside, swapped ...
        raise SynthDistillError(
            f"{name}: cannot be cropped around the eyes {eyes}: {error}"
        ) from error


@functools.cache
def _cropper() -> Any:
    """Make Bob's cropper to the eye positions of the training crop."""
    # seconds of imports that aligned images do not need
    from bob.bio.face.preprocessor import FaceCrop

    size = (FACE_SIZE, FACE_SIZE)
    return FaceCrop(cropped_image_size=size, cropped_positions=_POSITIONS, color_channel="rgb")
