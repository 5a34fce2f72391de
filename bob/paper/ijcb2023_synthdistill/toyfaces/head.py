"""The measures of a head as photographed: from names of identity and condition to lengths.

The unit of length is half the width of the head; x points to the right of the image, y down, z to
the camera; the origin is the middle of the head.
"""

import torch

from .conditions import CONDITION_NAMES
from .drawing import hue, palette
from .identities import IDENTITY_NAMES

_SKINS = ((0.97, 0.82, 0.72), (0.88, 0.67, 0.53), (0.66, 0.45, 0.32), (0.36, 0.23, 0.17))
_HAIRS = (
    (0.07, 0.06, 0.06),
    (0.22, 0.13, 0.08),
    (0.45, 0.26, 0.13),
    (0.66, 0.30, 0.10),
    (0.86, 0.70, 0.42),
)
_IRISES = ((0.16, 0.08, 0.05), (0.42, 0.26, 0.10), (0.25, 0.45, 0.22), (0.25, 0.48, 0.72))
_GREY = (0.78, 0.77, 0.76)

# beyond this yaw the face is not zoomed in any more
_ZOOM_YAW = 30.0

Lengths = dict[str, torch.Tensor]


class Head:
    """Lengths ``[N, 1, 1]``, colours ``[N, 3, 1, 1]`` and the pose of N heads, float32.

    Parameters
    ----------
    identities
        ``[N, K]``, standard normal.
    conditions
        ``[N, C]``, in the units of each column.
    """

    def __init__(self, identities: torch.Tensor, conditions: torch.Tensor) -> None:
        # in float64, so that float32 hides how a batch was split into vectors
        person = dict(
            zip(IDENTITY_NAMES, torch.special.ndtr(identities.double()).unbind(1), strict=True)
        )
        photo = dict(zip(CONDITION_NAMES, conditions.double().unbind(1), strict=True))
        lengths = _measure(person, photo)
        self.rotation = _rotation(photo["yaw"], photo["pitch"])
        self._project(lengths, photo)
        self.lengths = {name: value.float().view(-1, 1, 1) for name, value in lengths.items()}
        self.colours = {
            name: value.float().view(-1, 3, 1, 1) for name, value in _colour(person, photo).items()
        }
        self.conditions = {name: value.float().view(-1, 1, 1) for name, value in photo.items()}

    def _project(self, lengths: Lengths, photo: Lengths) -> None:
        """Turn the head's points to the camera: ``NAME_x``, ``NAME_y``, ``NAME_z``."""
        zero = torch.zeros_like(lengths["length"])
        eye_z = _surface(lengths, lengths["eye_x"], lengths["eye_y"])
        bridge_y = lengths["eye_y"] + 0.02
        bridge_z = _surface(lengths, zero, bridge_y)
        tip_z = _surface(lengths, zero, lengths["nose_y"]) + lengths["nose_depth"]
        half = lengths["nose_width"] / 2
        low = lengths["nose_y"]
        points = {
            "eyes": (zero, lengths["eye_y"], eye_z),
            "bridge": (zero, bridge_y, bridge_z),
            "tip": (zero, low, tip_z),
            "left_wing": (-half, low + 0.02, tip_z - 0.16),
            "right_wing": (half, low + 0.02, tip_z - 0.16),
            "left_ear": (zero - 0.98, lengths["eye_y"] + 0.16, zero - 0.1),
            "right_ear": (zero + 0.98, lengths["eye_y"] + 0.16, zero - 0.1),
        }
        for name, point in points.items():
            turned = torch.einsum("nij,nj->ni", self.rotation, torch.stack(point, dim=1))
            for axis, value in zip("xyz", turned.unbind(1), strict=True):
                lengths[f"{name}_{axis}"] = value
        spread = torch.cos(torch.deg2rad(photo["yaw"].abs().clamp(max=_ZOOM_YAW)))
        lengths["eye_half_distance"] = lengths["eye_x"] * spread


def _measure(person: Lengths, photo: Lengths) -> Lengths:
    def between(name: str, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * person[name]

    age = photo["age"]
    child = ((24.0 - age) / 14.0).clamp(0.0, 1.0)
    old = ((age - 35.0) / 45.0).clamp(0.0, 1.0)
    smile, open_mouth = photo["smile"], photo["mouth_open"]

    eye_y = between("eye_height", -0.14, 0.12)
    nose_y = eye_y + between("nose_length", 0.36, 0.58) * (1.0 + 0.08 * old - 0.12 * child)
    mouth_y = nose_y + between("mouth_height", 0.24, 0.42)
    length = between("head_length", 1.24, 1.52) * (1.0 - 0.05 * child)
    roundness = between("eye_roundness", 0.34, 0.62) * (1.0 - 0.22 * old + 0.10 * child)
    eye_width = between("eye_width", 0.145, 0.215)
    hairline = between("hairline", 0.42, 0.85)
    beard = ((person["beard"] - 0.62) / 0.38).clamp(0.0, 1.0)
    return {
        "length": length,
        "depth": 1.12 + 0.0 * length,
        "jaw": between("jaw", -0.30, 0.10) + 0.07 * old,
        "eye_x": between("eye_distance", 0.37, 0.50),
        "eye_y": eye_y,
        "eye_width": eye_width,
        "eye_height": eye_width * roundness * photo["eyes_open"],
        "iris": eye_width * 0.50,
        "eye_tilt": between("eye_tilt", -0.20, 0.24) + 0.06 * old,
        "brow_y": between("brow_height", 0.17, 0.30) - 0.02 * old,
        "brow_width": eye_width * 1.25,
        "brow_thickness": between("brow_thickness", 0.022, 0.068),
        "brow_angle": between("brow_angle", -0.24, 0.26),
        "nose_y": nose_y,
        "nose_width": between("nose_width", 0.22, 0.46) * (1.0 + 0.08 * old),
        "nose_depth": 0.20 + 0.22 * person["nose_length"],
        "mouth_y": mouth_y - 0.02 * smile.clamp(min=0.0),
        "mouth_width": between("mouth_width", 0.24, 0.42) * (1.0 + 0.18 * smile - 0.1 * open_mouth),
        "lips": between("lip_thickness", 0.035, 0.105) * (1.0 - 0.25 * old),
        "mouth_gap": 0.10 * open_mouth + 0.03 * smile.clamp(min=0.0),
        "mouth_bend": 0.11 * smile,
        "hairline": eye_y - hairline - 0.18 * old * person["beard"].clamp(min=0.3),
        "hair_volume": between("hair_volume", 1.03, 1.20),
        "hair_length": (
            between("hair_length", -0.35, 1.5) + photo["hair_length_change"] - 0.3 * old
        ),
        "parting": between("parting", -0.45, 0.45),
        "beard": beard * (1.0 - child),
        "mole_x": between("mole_x", -0.60, 0.60),
        "mole_y": eye_y + between("mole_y", 0.16, 0.95),
        "mole_size": 0.075 * ((person["mole_size"] - 0.35) / 0.65).clamp(min=0.0),
        "ear": between("ear_size", 0.16, 0.30) * (1.0 + 0.12 * old),
        "wrinkles": old,
    }


def _colour(person: Lengths, photo: Lengths) -> Lengths:
    skin = palette(person["skin_tone"], _SKINS)
    warmth = (person["skin_warmth"] - 0.5).unsqueeze(1)
    skin = skin * (1.0 + warmth * torch.tensor([0.06, -0.07, -0.24], dtype=skin.dtype))
    grey = torch.tensor(_GREY, dtype=skin.dtype)
    greying = ((photo["age"] - 42.0) / 28.0).clamp(0.0, 0.85).unsqueeze(1)
    tone = person["hair_tone"] + photo["hair_tone_change"]
    hair = torch.lerp(palette(tone, _HAIRS), grey.expand(len(tone), 3), greying)
    lip = skin * torch.tensor([0.86, 0.56, 0.56], dtype=skin.dtype)
    return {
        "skin": skin,
        "hair": hair,
        "brow": 0.7 * hair + 0.15 * skin,
        "beard": 0.75 * hair + 0.15 * skin,
        "iris": palette(person["eye_colour"], _IRISES),
        "lip": lip,
        "blush": skin * torch.tensor([1.02, 0.84, 0.82], dtype=skin.dtype),
        "mole": skin * 0.35,
        "cloth": hue(photo["cloth_hue"], photo["cloth_tone"], 0.35),
        "hat": hue(photo["cloth_hue"] + 0.4, 0.8 * photo["cloth_tone"], 0.45),
        "occluder": hue(photo["cloth_hue"] + 0.7, photo["cloth_tone"], 0.3),
        "mask": hue(photo["cloth_hue"] + 0.2, 0.4 + 0.6 * photo["cloth_tone"], 0.15),
        "background": hue(photo["background_hue"], photo["background_tone"], 0.35),
    }


def _rotation(yaw: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
    """Turn first by pitch (positive looks down), then by yaw (positive looks right), ``[N, 3, 3]``.

    In this order the line of the eyes stays level.
    """
    yaw, pitch = torch.deg2rad(yaw), torch.deg2rad(pitch)
    cy, sy, cp, sp = torch.cos(yaw), torch.sin(yaw), torch.cos(pitch), torch.sin(pitch)
    zero = torch.zeros_like(cy)
    rows = [cy, -sy * sp, sy * cp, zero, cp, sp, -sy, -cy * sp, cy * cp]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _surface(lengths: Lengths, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute z of the head's ellipsoid over (x, y)."""
    inside = 1.0 - x.square() - (y / lengths["length"]).square()
    return lengths["depth"] * inside.clamp(min=0.0).sqrt()
