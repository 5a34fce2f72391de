"""Who a drawn person is, and how photographed: pose, light, expression, age, occlusion, camera."""

from types import SimpleNamespace
from typing import NamedTuple

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


class Spread(NamedTuple):
    """How one column is drawn: uniform in [low, high] with the given probability, else ``rest``.

    ``mirrored``: of either sign.
    """

    low: float
    high: float
    probability: float = 1.0
    rest: float = 0.0
    mirrored: bool = False


# Angles in degrees, age in years, lengths in pixels of the 112x112 face (blur, jitter) or as a
# fraction of the photograph (photo_*), everything else without unit.
_MIXED = {
    "yaw": Spread(-22, 22),
    "pitch": Spread(-10, 10),
    "roll": Spread(-20, 20),
    "light_azimuth": Spread(-75, 75),
    "light_elevation": Spread(-15, 60),
    "light_strength": Spread(0.15, 0.75),
    "light_warmth": Spread(-0.14, 0.14),
    "exposure": Spread(0.7, 1.25),
    "smile": Spread(-0.35, 1.0),
    "mouth_open": Spread(0.05, 1.0, 0.4),
    "eyes_open": Spread(0.55, 1.15),
    "gaze": Spread(-0.4, 0.4),
    "age": Spread(20, 60),
    "hair_length_change": Spread(-0.25, 0.25),
    "hair_tone_change": Spread(-0.12, 0.12),
    "glasses": Spread(1, 1, 0.2),
    "glasses_tint": Spread(0.85, 0.95, 0.25, 0.12),
    "glasses_height": Spread(0.7, 1.1),
    "mask": Spread(1, 1, 0.02),
    "hat": Spread(1, 1, 0.08),
    "occluder": Spread(1, 1, 0.04),
    "occluder_x": Spread(-1.1, 1.1),
    "occluder_y": Spread(-0.7, 1.2),
    "occluder_angle": Spread(-90, 90),
    "cloth_hue": Spread(0, 1),
    "cloth_tone": Spread(0.15, 0.9),
    "background_hue": Spread(0, 1),
    "background_tone": Spread(0.1, 0.9),
    "background_contrast": Spread(-0.4, 0.4),
    "background_angle": Spread(0, 360),
    "blur": Spread(0.0, 1.6),
    "noise": Spread(0.0, 0.05),
    "quality": Spread(30, 90, 0.6, 100),
    "jitter_x": Spread(-1.5, 1.5),
    "jitter_y": Spread(-1.5, 1.5),
    "jitter_scale": Spread(0.96, 1.04),
    "jitter_roll": Spread(-3, 3),
    "photo_x": Spread(0.42, 0.58),
    "photo_y": Spread(0.40, 0.52),
    "photo_scale": Spread(0.42, 0.56),
    "seed": Spread(0, 2**20),
}

CONDITION_NAMES = tuple(_MIXED)
"""What changes from one photograph of a person to the next."""

# what each kind changes of `mixed`
_KINDS: dict[str, dict[str, Spread]] = {
    "mixed": {},
    "younger": {"age": Spread(18, 35)},
    "older": {"age": Spread(45, 62)},
    "pose": {"yaw": Spread(-55, 55), "pitch": Spread(-20, 20)},
    "frontal": {"yaw": Spread(-8, 8), "pitch": Spread(-6, 6)},
    "profile": {"yaw": Spread(45, 65, mirrored=True), "pitch": Spread(-8, 8)},
    "young": {"age": Spread(15, 32)},
    "old": {"age": Spread(62, 80)},
    "generator": {
        "yaw": Spread(-36, 36),
        "pitch": Spread(-12, 12),
        "mouth_open": Spread(0, 0.7),
        "age": Spread(15, 75),
        # opacities, cut at 0 and 1: so that a small step never makes glasses appear at once
        "glasses": Spread(-3.2, 1.8),
        "glasses_tint": Spread(0.05, 0.9),
        "hat": Spread(-3.6, 1.4),
        **dict.fromkeys(("mask", "occluder"), Spread(1, 1, 0.0)),
        **dict.fromkeys(("blur", "noise", "jitter_x", "jitter_y", "jitter_roll"), Spread(0, 0)),
        "quality": Spread(100, 100),
        "jitter_scale": Spread(1, 1),
    },
}

KINDS = tuple(_KINDS)
"""Kinds of photographs: ``mixed`` is what people share, ``generator`` a portrait studio."""

PAIR_KINDS = {
    "lfw": ("mixed", "mixed"),
    "calfw": ("younger", "older"),
    "cplfw": ("pose", "pose"),
    "cfp-fp": ("frontal", "profile"),
    "agedb-30": ("young", "old"),
}
"""Kinds of the left and of the right image of every pair of a benchmark, genuine and impostor
alike: what the photographs show must not tell whether they show the same person."""


def spreads(kind: str) -> dict[str, Spread]:
    """Tell how each column of a kind of photographs is drawn."""
    return _MIXED | _KINDS[kind]


def conditions_from_uniform(uniform: numpy.ndarray, kind: str = "mixed") -> torch.Tensor:
    """Turn uniform numbers in [0, 1) into conditions, each in the unit of its column.

    From ``[N, len(CONDITION_NAMES)]`` to the same shape, float32.
    """
    table = numpy.array(list(spreads(kind).values()), dtype=numpy.float64)
    low, high, probability, rest, mirrored = table.T
    # a number below the probability, stretched to [0, 1), is uniform again
    inside = numpy.divide(uniform, probability, out=numpy.ones_like(uniform), where=probability > 0)
    sign = numpy.where((mirrored > 0) & (inside < 0.5), -1.0, 1.0)
    within = numpy.where(mirrored > 0, numpy.abs(2.0 * inside - 1.0), inside)
    values = numpy.where(inside < 1.0, sign * (low + within * (high - low)), rest)
    seed = CONDITION_NAMES.index("seed")
    values[:, seed] = numpy.floor(values[:, seed])
    return torch.from_numpy(values.astype(numpy.float32))


def sample_conditions(count: int, rng: numpy.random.Generator, kind: str = "mixed") -> torch.Tensor:
    """Draw photographs of a kind ``[count, len(CONDITION_NAMES)]``.

    Row i does not depend on ``count``.
    """
    return conditions_from_uniform(rng.random((count, len(CONDITION_NAMES))), kind)


def sample_identities(count: int, rng: numpy.random.Generator) -> torch.Tensor:
    """Draw people ``[count, len(IDENTITY_NAMES)]``, float32; row i does not depend on ``count``."""
    return torch.from_numpy(rng.standard_normal((count, len(IDENTITY_NAMES)), dtype=numpy.float32))


def columns(conditions: torch.Tensor) -> SimpleNamespace:
    """Give the columns of ``[N, C]`` by their names, ``[N]`` each."""
    return SimpleNamespace(**dict(zip(CONDITION_NAMES, conditions.unbind(1), strict=True)))
