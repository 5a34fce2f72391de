"""Where a face stands in an image: aligned, framed like FFHQ, or anywhere in a photograph.

Points of the plane are complex numbers, x + iy, so that a similarity (turn, scale, shift) is one
multiplication and one addition. Coordinates are those of :py:func:`torch.nn.functional.interpolate`
without aligned corners: pixel (row r, column c) covers [r, r + 1) x [c, c + 1).
"""

import torch

from .. import faces
from .conditions import columns

TEMPLATE = tuple(complex(x, y) for y, x in (faces.LEFT_EYE, faces.RIGHT_EYE))
"""The eyes of the aligned face, x + iy."""

Similarity = tuple[torch.Tensor, torch.Tensor]
"""Shift and factor, each ``[N]``, complex128: point -> shift + factor * point."""


def pixel_to_template(conditions: torch.Tensor, size: int, framing: str) -> Similarity:
    """Find the similarity from the pixels of an image to the aligned face of 112x112.

    Conditions are ``[N, C]``, ``size`` is height and width of the image. ``framing`` is ``aligned``
    (the eyes at the ArcFace template), ``ffhq`` (where :py:func:`faces.crop` of that resolution
    looks for them) or ``unaligned`` (a photograph, the face smaller, rolled, off the centre).
    """
    if framing == "unaligned":
        photo = columns(conditions.double())
        scale = faces.FACE_SIZE / (size * photo.photo_scale)
        factor = torch.polar(scale, -torch.deg2rad(photo.roll))
        middle = size * torch.complex(photo.photo_x, photo.photo_y)
    else:
        rows, across = faces.crop_box(size) if framing == "ffhq" else (slice(0, size),) * 2
        top, left, side = rows.start, across.start, rows.stop - rows.start
        factor = torch.full([len(conditions)], faces.FACE_SIZE / side, dtype=torch.complex128)
        middle = torch.full_like(factor, complex(left + side / 2, top + side / 2))
    return complex(faces.FACE_SIZE / 2, faces.FACE_SIZE / 2) - factor * middle, factor


def template_to_eyes(conditions: torch.Tensor) -> Similarity:
    """Find the similarity from the template to the frame of the eyes as they really are.

    Its origin is midway between the eyes, its unit half their distance.
    """
    photo = columns(conditions.double())
    half = (TEMPLATE[1] - TEMPLATE[0]).real / 2
    factor = torch.polar(1.0 / (half * photo.jitter_scale), -torch.deg2rad(photo.jitter_roll))
    jitter = torch.complex(photo.jitter_x, photo.jitter_y)
    return -factor * (jitter + (TEMPLATE[0] + TEMPLATE[1]) / 2), factor


def eye_positions(
    conditions: torch.Tensor, size: int = faces.FACE_SIZE, framing: str = "aligned"
) -> torch.Tensor:
    """Find the two points that alignment sends to the eyes of the template.

    They are the pupils up to the error of whoever marked them (the columns ``jitter_*``). Of a face
    turned by more than 30 degrees they are as far apart as at 30 degrees: profiles would be blown
    up else. ``[N, 2, 2]``, float32, in pixels: (left in the image, right in the image) x (y, x).
    """
    shift, factor = pixel_to_template(conditions, size, framing)
    points = (torch.tensor(TEMPLATE, dtype=torch.complex128) - shift[:, None]) / factor[:, None]
    return torch.view_as_real(points).flip(-1).float()
