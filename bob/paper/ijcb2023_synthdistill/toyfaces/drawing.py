"""Drawing with signed distances: soft masks, layers and palettes, for a batch at once."""

import torch


def coverage(distance: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Say how much of each pixel a shape covers, [0, 1], by a signed distance, negative inside.

    Parameters
    ----------
    distance
        ``[B, H, W]``, in any unit of length.
    width
        ``[B, 1, 1]``, same unit: over this length the edge falls from 1 to 0. One pixel
        anti-aliases, more blurs.
    """
    return (distance * (-1.0 / width)).add_(0.5).clamp_(0.0, 1.0)


def paint(image: torch.Tensor, opacity: torch.Tensor, colour: torch.Tensor | float) -> None:
    """Lay a colour (``[B, 3, 1, 1]``, or a grey) over ``[B, 3, H, W]``, in place.

    ``opacity`` is ``[B, H, W]`` in [0, 1].
    """
    colour = torch.as_tensor(colour, dtype=image.dtype)
    image.lerp_(colour, opacity.unsqueeze(1))


def palette(position: torch.Tensor, colours: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Look up ``[B]`` in [0, 1] on a polyline through equally spaced colours: ``[B, 3]``, RGB."""
    table = torch.tensor(colours, dtype=position.dtype)
    place = position.clamp(0.0, 1.0) * (len(colours) - 1)
    first = place.floor().clamp(max=len(colours) - 2)
    rest = (place - first).unsqueeze(1)
    index = first.long()
    return table[index] * (1.0 - rest) + table[index + 1] * rest


def hue(angle: torch.Tensor, tone: torch.Tensor, saturation: float) -> torch.Tensor:
    """Make muted colours ``[B, 3]`` of a hue in turns and a tone in [0, 1], each ``[B]``."""
    phases = torch.tensor([0.0, 1.0, 2.0], dtype=angle.dtype) / 3.0
    wave = torch.cos(2.0 * torch.pi * (angle.unsqueeze(1) - phases))
    return (tone.unsqueeze(1) * (1.0 + saturation * wave)).clamp(0.0, 1.0)
