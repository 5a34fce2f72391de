"""The measures of a head as photographed: from the numbers of person and photograph to lengths.

The unit of length is half the width of the head; x points to the right of the image, y down, z to
the camera; the origin is the middle of the head.
"""

from types import SimpleNamespace
from typing import NamedTuple

import torch

from .conditions import IDENTITY_NAMES, columns
from .drawing import hue, palette

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


class Point(NamedTuple):
    """A point of the head as the camera sees it, each ``[N, 1, 1]``."""

    x: torch.Tensor
    y: torch.Tensor
    z: torch.Tensor


class Head:
    """N heads of identities ``[N, K]`` in conditions ``[N, C]``.

    ``of`` holds lengths ``[N, 1, 1]`` and points, ``colour`` RGB ``[N, 3, 1, 1]`` in about [0, 1],
    ``photo`` the columns of the conditions ``[N, 1, 1]``, all float32; ``rotation`` is
    ``[N, 3, 3]``, float64.
    """

    def __init__(self, identities: torch.Tensor, conditions: torch.Tensor) -> None:
        # in float64, so that float32 hides how a batch was split into vectors
        uniform = torch.special.ndtr(identities.double()).unbind(1)
        person = SimpleNamespace(**dict(zip(IDENTITY_NAMES, uniform, strict=True)))
        photo = columns(conditions.double())
        of = _measure(person, photo)
        self.rotation = _rotation(photo.yaw, photo.pitch)
        spread = torch.cos(torch.deg2rad(photo.yaw.abs().clamp(max=_ZOOM_YAW)))
        lengths = vars(of) | {"eye_half_distance": of.eye_x * spread}
        self.of = SimpleNamespace(**{name: _field(value) for name, value in lengths.items()})
        for name, point in _points(of).items():
            turned = torch.einsum("nij,nj->ni", self.rotation, torch.stack(point, dim=1))
            setattr(self.of, name, Point(*map(_field, turned.unbind(1))))
        colours = _colours(person, photo).items()
        self.colour = SimpleNamespace(**{n: c.float().view(-1, 3, 1, 1) for n, c in colours})
        self.photo = SimpleNamespace(**{name: _field(value) for name, value in vars(photo).items()})


def _field(values: torch.Tensor) -> torch.Tensor:
    return values.float().view(-1, 1, 1)


def _measure(person: SimpleNamespace, photo: SimpleNamespace) -> SimpleNamespace:
    """Map a person's uniform numbers, age and expression to lengths, ``[N]``, float64."""

    def between(name: str, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * getattr(person, name)

    child = ((24.0 - photo.age) / 14.0).clamp(0.0, 1.0)
    old = ((photo.age - 35.0) / 45.0).clamp(0.0, 1.0)
    grin = photo.smile.clamp(min=0.0)
    eye_y = between("eye_height", -0.14, 0.12)
    nose_y = eye_y + between("nose_length", 0.36, 0.58) * (1.0 + 0.08 * old - 0.12 * child)
    length = between("head_length", 1.24, 1.52) * (1.0 - 0.05 * child)
    roundness = between("eye_roundness", 0.34, 0.62) * (1.0 - 0.22 * old + 0.10 * child)
    eye_width = between("eye_width", 0.145, 0.215)
    mouth = 1.0 + 0.18 * photo.smile - 0.1 * photo.mouth_open
    return SimpleNamespace(
        length=length,
        depth=1.12 + 0.0 * length,
        jaw=between("jaw", -0.30, 0.10) + 0.07 * old,
        eye_x=between("eye_distance", 0.37, 0.50),
        eye_y=eye_y,
        eye_width=eye_width,
        eye_height=eye_width * roundness * photo.eyes_open,
        iris=eye_width * 0.50,
        eye_tilt=between("eye_tilt", -0.20, 0.24) + 0.06 * old,
        brow_y=between("brow_height", 0.17, 0.30) - 0.02 * old,
        brow_width=eye_width * 1.25,
        brow_thickness=between("brow_thickness", 0.022, 0.068),
        brow_angle=between("brow_angle", -0.24, 0.26),
        nose_y=nose_y,
        nose_width=between("nose_width", 0.22, 0.46) * (1.0 + 0.08 * old),
        nose_depth=0.20 + 0.22 * person.nose_length,
        mouth_y=nose_y + between("mouth_height", 0.24, 0.42) - 0.02 * grin,
        mouth_width=between("mouth_width", 0.24, 0.42) * mouth,
        lips=between("lip_thickness", 0.035, 0.105) * (1.0 - 0.25 * old),
        mouth_gap=0.10 * photo.mouth_open + 0.03 * grin,
        mouth_bend=0.11 * photo.smile,
        hairline=eye_y - between("hairline", 0.42, 0.85) - 0.18 * old * person.beard.clamp(min=0.3),
        hair_volume=between("hair_volume", 1.03, 1.20),
        hair_length=between("hair_length", -0.35, 1.5) + photo.hair_length_change - 0.3 * old,
        parting=between("parting", -0.45, 0.45),
        beard=((person.beard - 0.62) / 0.38).clamp(0.0, 1.0) * (1.0 - child),
        mole_x=between("mole_x", -0.60, 0.60),
        mole_y=eye_y + between("mole_y", 0.16, 0.95),
        mole_size=0.075 * ((person.mole_size - 0.35) / 0.65).clamp(min=0.0),
        ear=between("ear_size", 0.16, 0.30) * (1.0 + 0.12 * old),
        wrinkles=old,
    )


def _points(of: SimpleNamespace) -> dict[str, tuple[torch.Tensor, ...]]:
    """Find points of the head in its own frame, before it is turned: x, y, z, ``[N]`` each."""

    def surface(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        inside = 1.0 - x.square() - (y / of.length).square()
        return of.depth * inside.clamp(min=0.0).sqrt()

    zero = torch.zeros_like(of.length)
    bridge_y, wing, ear_y = of.eye_y + 0.02, of.nose_width / 2, of.eye_y + 0.16
    tip_z = surface(zero, of.nose_y) + of.nose_depth
    return {
        "eyes": (zero, of.eye_y, surface(of.eye_x, of.eye_y)),
        "bridge": (zero, bridge_y, surface(zero, bridge_y)),
        "tip": (zero, of.nose_y, tip_z),
        "left_wing": (-wing, of.nose_y + 0.02, tip_z - 0.16),
        "right_wing": (wing, of.nose_y + 0.02, tip_z - 0.16),
        "left_ear": (zero - 0.98, ear_y, zero - 0.1),
        "right_ear": (zero + 0.98, ear_y, zero - 0.1),
    }


def _colours(person: SimpleNamespace, photo: SimpleNamespace) -> dict[str, torch.Tensor]:
    """Find the colours of a person and of what is worn and around, ``[N, 3]``, RGB."""

    def rgb(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.double)

    warmth = (person.skin_warmth - 0.5).unsqueeze(1)
    skin = palette(person.skin_tone, _SKINS) * (1.0 + warmth * rgb(0.06, -0.07, -0.24))
    greying = ((photo.age - 42.0) / 28.0).clamp(0.0, 0.85).unsqueeze(1)
    hair = palette(person.hair_tone + photo.hair_tone_change, _HAIRS)
    hair = torch.lerp(hair, rgb(*_GREY).expand_as(hair), greying)
    cloth, tone = photo.cloth_hue, photo.cloth_tone
    return {
        "skin": skin,
        "hair": hair,
        "brow": 0.7 * hair + 0.15 * skin,
        "beard": 0.75 * hair + 0.15 * skin,
        "iris": palette(person.eye_colour, _IRISES),
        "lip": skin * rgb(0.86, 0.56, 0.56),
        "blush": skin * rgb(1.02, 0.84, 0.82),
        "mole": skin * 0.35,
        "cloth": hue(cloth, tone, 0.35),
        "hat": hue(cloth + 0.4, 0.8 * tone, 0.45),
        "occluder": hue(cloth + 0.7, tone, 0.3),
        "mask": hue(cloth + 0.2, 0.4 + 0.6 * tone, 0.15),
        "background": hue(photo.background_hue, photo.background_tone, 0.35),
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
