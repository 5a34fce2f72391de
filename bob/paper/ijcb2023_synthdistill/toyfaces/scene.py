"""What is around a face: the background, what the head hides, what is worn or held before it."""

import torch

from .drawing import coverage, paint
from .features import ear
from .surface import Surface


def background(on: Surface) -> torch.Tensor:
    """Paint a slope and a soft stripe, ``[B, 3, H, W]``."""
    angle = torch.deg2rad(on.photo.background_angle)
    across = torch.cos(angle) * on.x + torch.sin(angle) * on.y
    along = torch.cos(angle) * on.y - torch.sin(angle) * on.x
    pattern = 0.4 * across + 0.5 * torch.sin(2.6 * along + 2.0 * angle)
    pattern = pattern.mul_(on.photo.background_contrast).add_(1.0)
    return on.colour.background * pattern.unsqueeze(1)


def behind(on: Surface, image: torch.Tensor) -> None:
    """Paint what the head hides: long hair, neck, shoulders, ears."""
    of, colour, x, y = on.of, on.colour, on.x, on.y
    wide, long = of.hair_volume * 1.06, of.hair_length
    # down from the head, ending in a round: a distance to the power 4 has rounder corners
    side, end = x.abs() - wide + 0.5, y - (long - 0.3)
    hair = side.clamp_(min=0.0).pow_(4).add_(end.clamp_(min=0.0).pow_(4)).sqrt_().sqrt_() - 0.5
    hair = torch.where(y < 0.0, torch.hypot(x, y / of.length) - wide, hair)
    paint(image, coverage(hair, 2.0 * on.edge) * (long > 0.25), 0.75 * colour.hair)

    neck = torch.maximum(x.abs() - 0.56, 0.5 - y)
    shadow = ((y - of.length) * 0.8).clamp_(-0.1, 0.2).add_(0.68)
    paint(image, coverage(neck, on.edge), colour.skin * shadow.unsqueeze(1))
    slope = (x.square() * 0.16 + (of.length + 0.28)) - y
    paint(image, coverage(slope, on.edge), colour.cloth)

    ears = torch.minimum(ear(on, of.left_ear, 1.7), ear(on, of.right_ear, 1.7))
    paint(image, coverage(ears, on.edge), 0.88 * colour.skin)


def glasses(on: Surface) -> None:
    """Put glasses on, clear or dark."""
    of, photo, edge = on.of, on.photo, on.edge
    if not (worn := photo.glasses.clamp(0.0, 1.0)).any():
        return
    on = on.rows(24, 78)
    off, down = on.across - of.eye_x, on.v - of.eye_y - 0.03
    lens = torch.hypot(off * 0.80, down / photo.glasses_height).sub_(0.235)
    bridge = torch.maximum(off.clamp(min=0.0), (down + 0.05).abs())
    paint(on.skin, coverage(lens, edge) * (photo.glasses_tint * worn), 0.07)
    frame = torch.minimum(lens.abs_(), bridge + 0.1 * (on.across > of.eye_x)).sub_(0.022)
    side = torch.maximum((down + 0.03).abs(), of.eye_x + 0.26 - on.across).sub_(0.022)
    side = torch.where(on.across < 5.0, side, 1.0)
    paint(on.skin, coverage(torch.minimum(frame, side), edge) * worn, 0.07)


def hat(on: Surface) -> None:
    """Put a hat on."""
    if not (worn := on.photo.hat.clamp(0.0, 1.0)).any():
        return
    of = on.of
    brim = on.v - (of.hairline * 0.6 + of.eye_y * 0.4 + 0.02) - 0.10 * on.u**2
    cap = coverage(torch.maximum(brim, on.outside - 0.16), on.edge) * worn
    on.solid = torch.maximum(on.solid, cap)
    paint(on.skin, cap, on.colour.hat)


def mask(on: Surface) -> None:
    """Put a mask on, over mouth and nose."""
    if not (worn := on.photo.mask.clamp(0.0, 1.0)).any():
        return
    top = 0.5 * (on.of.bridge.y + on.of.tip.y) + 0.10
    cover = torch.maximum(top + 0.25 * on.across.clamp(max=1.0) - on.v, -on.front)
    paint(on.skin, coverage(cover, on.edge) * worn * on.solid, on.colour.mask)


def occluder(on: Surface, image: torch.Tensor) -> None:
    """Hold something before the face: a bar of any direction."""
    photo = on.photo
    if not (there := photo.occluder.clamp(0.0, 1.0)).any():
        return
    angle = torch.deg2rad(photo.occluder_angle)
    x, y = on.x - photo.occluder_x, on.y - photo.occluder_y
    bar = (torch.cos(angle) * x + torch.sin(angle) * y).abs_() - 0.16
    end = torch.cos(angle) * y - torch.sin(angle) * x
    bar = torch.maximum(bar, -end - 0.6)
    paint(image, coverage(bar, on.edge) * there, on.colour.occluder)
