"""Give every image as an aligned face: as it is, or cropped by Bob around its eyes."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..faces import FACE_SIZE, LEFT_EYE, RIGHT_EYE
from ..files import SynthDistillError

_NEAR = 1.0
"""Pixels that annotated eyes may lie beside their places without a crop that would only blur."""


def aligned_face(sample: Any) -> np.ndarray:
    """Load a sample's image as an aligned face.

    Images with eye annotations are cropped; those without have to be aligned already.

    Parameters
    ----------
    sample
        A :py:class:`bob.pipelines.Sample`: ``data`` is ``[3, H, W]`` RGB or ``[H, W]`` grey, in
        [0, 255]; ``annotations``, if any, has ``leye`` and ``reye``, (y, x) in pixels. As always in
        Bob left is the person's left: the eye that is right in the image.

    Returns
    -------
        ``[3, 112, 112]``, RGB, [0, 255], of the image's type.

    Raises
    ------
    SynthDistillError
        No image, or one of another size without eye annotations, or eyes that cannot be.
    """
    return align(
        sample.data,
        getattr(sample, "annotations", None),
        getattr(sample, "key", None) or "a sample without a key",
    )


def align(image: np.ndarray | None, annotations: Mapping | None, name: str) -> np.ndarray:
    """Crop an image around its eyes, unless it is an aligned face.

    Parameters
    ----------
    image, annotations
        As in :py:func:`aligned_face`.
    name
        The image's name, for messages.

    Raises
    ------
    SynthDistillError
        As in :py:func:`aligned_face`.
    """
    if image is None or image.ndim not in (2, 3) or (image.ndim == 3 and len(image) != 3):
        raise SynthDistillError(
            f"{name}: expected an image [3, H, W] or [H, W], found "
            f"{'none' if image is None else f'an array {list(image.shape)}'}"
        )
    if image.ndim == 2:
        image = np.repeat(image[None], 3, axis=0)
    if image.shape[1:] == (FACE_SIZE, FACE_SIZE) and (not annotations or _in_place(annotations)):
        return image
    if not annotations or not {"leye", "reye"} <= set(annotations):
        raise SynthDistillError(
            f"{name}: expected an aligned face of {FACE_SIZE}x{FACE_SIZE} pixels or annotations of "
            f"both eyes (leye, reye), found {image.shape[1]}x{image.shape[2]} pixels (height x "
            f"width) and {'no annotations' if not annotations else sorted(annotations)}"
        )
    try:
        return _cropper().transform([image], [annotations])[0]
    except Exception as error:  # OpenCV's errors for eyes in one place, far outside, swapped ...
        raise SynthDistillError(
            f"{name}: cannot be cropped around the eyes {dict(annotations)}: {error}"
        ) from error


def _in_place(annotations: Mapping) -> bool:
    """Tell whether the eyes are where those of an aligned face are."""
    return {"leye", "reye"} <= set(annotations) and all(
        abs(found - wanted) <= _NEAR
        for key, eye in (("leye", RIGHT_EYE), ("reye", LEFT_EYE))
        for found, wanted in zip(annotations[key], eye, strict=True)
    )


@functools.cache
def _cropper() -> Any:
    """Make Bob's cropper to the eye positions of the training crop."""
    # seconds of imports that aligned images do not need
    from bob.bio.face.preprocessor import FaceCrop

    return FaceCrop(
        cropped_image_size=(FACE_SIZE, FACE_SIZE),
        cropped_positions={"leye": RIGHT_EYE, "reye": LEFT_EYE},
        color_channel="rgb",
    )
