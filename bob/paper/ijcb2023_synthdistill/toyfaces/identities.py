"""Who a drawn person is: standard normal numbers, one a name."""

import numpy
import torch

IDENTITY_NAMES = (
    *("head_length", "jaw"),
    *("eye_distance", "eye_height", "eye_width", "eye_roundness", "eye_tilt", "eye_colour"),
    *("brow_height", "brow_thickness", "brow_angle"),
    *("nose_length", "nose_width"),
    *("mouth_height", "mouth_width", "lip_thickness"),
    *("skin_tone", "skin_warmth"),
    *("hair_tone", "hairline", "hair_volume", "hair_length", "parting", "beard"),
    *("mole_x", "mole_y", "mole_size"),
    "ear_size",
)
"""What makes a person. Each is standard normal; the renderer maps it through the normal
distribution function to a uniform quantity, so that no face is far more common than another."""


def sample_identities(count: int, rng: numpy.random.Generator) -> torch.Tensor:
    """Draw people ``[count, len(IDENTITY_NAMES)]``, float32; row i does not depend on ``count``."""
    return torch.from_numpy(rng.standard_normal((count, len(IDENTITY_NAMES)), dtype=numpy.float32))
