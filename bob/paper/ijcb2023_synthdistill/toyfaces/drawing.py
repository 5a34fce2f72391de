"""Drawing with signed distances: soft masks, layers and palettes, for a batch at once."""

import torch


def coverage(distance: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Turn a signed distance (negative inside) into how much of each pixel a shape covers.

    Parameters
    ----------
    distance
        ``[B, H, W]``, in any unit of length.
    width
        ``[B, 1, 1]``, the same unit: the edge rises from 0 to 1 over this length. One pixel
        anti-aliases, more blurs.

    Returns
    -------
        ``[B, H, W]`` in [0, 1].
    """
    return (distance * (-1.0 / width)).add_(0.5).clamp_(0.0, 1.0)


def paint(image: torch.Tensor, mask: torch.Tensor, colour: torch.Tensor) -> None:
    """Lay a colour over an image, in place.

    Parameters
    ----------
    image
        ``[B, 3, H, W]``.
    mask
        ``[B, H, W]`` in [0, 1], opacity.
    colour
        ``[B, 3, 1, 1]`` or ``[B, 3, H, W]``.
    """
    image.lerp_(colour, mask.unsqueeze(1))


def palette(
    position: torch.Tensor, colours: tuple[tuple[float, float, float], ...]
) -> torch.Tensor:
    """Look up colours on a polyline through a few.

    Parameters
    ----------
    position
        ``[B]`` in [0, 1].
    colours
        RGB in [0, 1], equally spaced.

    Returns
    -------
        ``[B, 3]``, of the dtype of ``position``.
    """
    table = torch.tensor(colours, dtype=position.dtype)
    place = position.clamp(0.0, 1.0) * (len(colours) - 1)
    first = place.floor().clamp(max=len(colours) - 2)
    rest = (place - first).unsqueeze(1)
    index = first.long()
    return table[index] * (1.0 - rest) + table[index + 1] * rest


def hue(angle: torch.Tensor, tone: torch.Tensor, saturation: float) -> torch.Tensor:
    """Make muted colours of a hue in turns and a tone in [0, 1], each ``[B]``, as ``[B, 3]``."""
    phases = torch.tensor([0.0, 1.0, 2.0], dtype=angle.dtype) / 3.0
    wave = torch.cos(2.0 * torch.pi * (angle.unsqueeze(1) - phases))
    return (tone.unsqueeze(1) * (1.0 + saturation * wave)).clamp(0.0, 1.0)
