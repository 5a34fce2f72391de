"""Changes of the generated faces: the teacher labels whatever picture the student is shown.

A generator's faces are cleaner and more alike than photographs. Each change is another one for each
image of the batch, in a few operations on the whole batch, where the images are. What is drawn
comes from the run's own random numbers, so a run that is resumed sees the same pictures.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ..files import SynthDistillError, nearest

Uniform = Callable[[int], torch.Tensor]
"""From a width to numbers ``[b, width]`` from [0, 1), other ones for each image."""

Augmentation = Callable[[torch.Tensor, Uniform], torch.Tensor]
"""From faces ``[b, 3, 112, 112]`` in [-1, 1] and random numbers to faces of the same shape."""


def geometry(faces: torch.Tensor, uniform: Uniform) -> torch.Tensor:
    """Mirror every other face; turn by up to 10 degrees, scale by 8 %, move by 3 % of the side."""
    mirror, angle, scale, x, y = uniform(5).T
    mirror = torch.where(mirror < 0.5, -1.0, 1.0)
    angle, scale = _around_zero(angle) * math.radians(10), torch.exp(_around_zero(scale) * 0.08)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    x, y = _around_zero(x) * 0.06, _around_zero(y) * 0.06
    matrix = torch.stack([cosine * mirror, -sine, x, sine * mirror, cosine, y], dim=1)
    grid = F.affine_grid(matrix.view(-1, 2, 3), list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid.to(faces), padding_mode="reflection", align_corners=False)


def colour(faces: torch.Tensor, uniform: Uniform) -> torch.Tensor:
    """Change saturation (0 to 1.5), contrast (by 30 %), brightness (0.2) and the tint (0.1)."""
    saturation, contrast, brightness, *tint = (v.view(-1, 1, 1, 1) for v in uniform(6).T)
    saturation, contrast = saturation * 1.5, 1 + _around_zero(contrast) * 0.3
    grey = faces.mean(dim=1, keepdim=True)
    shift = _around_zero(brightness) * 0.2 + _around_zero(torch.cat(tint, dim=1)) * 0.1
    shift = shift + grey.mean(dim=(2, 3), keepdim=True) * (1 - contrast)
    shift = shift + grey * ((1 - saturation) * contrast)
    return torch.addcmul(shift, faces, saturation * contrast).clamp_(-1, 1)


def sharpness(faces: torch.Tensor, uniform: Uniform) -> torch.Tensor:
    """Blur a third of the faces (up to a binomial of 5 pixels), sharpen another third."""
    kind, strength = (value.view(-1, 1, 1, 1) for value in uniform(2).T)
    row = faces.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = (row[:, None] * row).expand(3, 1, 5, 5)
    # seven times as fast on a CPU
    faces = faces.contiguous(memory_format=torch.channels_last)
    blurred = F.conv2d(F.pad(faces, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
    amount = torch.where(kind < 1 / 3, -strength, 2.5 * strength) * (kind < 2 / 3)
    return torch.lerp(faces, blurred, -amount).clamp_(-1, 1)


def occlusion(faces: torch.Tensor, uniform: Uniform) -> torch.Tensor:
    """Cover a rectangle of 10 to 45 pixels a side of three faces in ten with a colour."""
    chance, *box, red, green, blue = (value.view(-1, 1, 1) for value in uniform(8).T)
    height, width, y, x = box
    at = torch.arange(faces.shape[-1], device=faces.device)
    side = faces.shape[-1]
    rows = (at[:, None] - y * side).abs() < 5 + 17.5 * height
    columns = (at - x * side).abs() < 5 + 17.5 * width
    covered = (rows & columns & (chance < 0.3))[:, None]
    return torch.where(covered, _around_zero(torch.stack([red, green, blue], dim=1)), faces)


KINDS = {f.__name__: f for f in (geometry, colour, sharpness, occlusion)}
"""The changes by the names that configs and ``--augmentation`` take."""


def create_augmentation(given: str | Augmentation) -> Augmentation | None:
    """Make an augmentation of names joined by ``+``, such as ``geometry+colour``; None of "none".

    A callable of one's own is taken as it is.
    """
    if callable(given):
        return given
    if given == "none":
        return None
    names = given.split("+")
    for name in names:
        if name not in KINDS:
            raise SynthDistillError(
                f"augmentation must be none, a function of faces, or some of {', '.join(KINDS)} "
                f"joined by +, found {given!r}.{nearest(name, KINDS)}"
            )
    return _InTurn([KINDS[name] for name in names])


class _InTurn:
    def __init__(self, changes: Sequence[Augmentation]) -> None:
        self.changes = changes

    @torch.no_grad()
    def __call__(self, faces: torch.Tensor, uniform: Uniform) -> torch.Tensor:
        for change in self.changes:
            faces = change(faces, uniform)
        return faces


def _around_zero(value: torch.Tensor) -> torch.Tensor:
    """Map [0, 1) to [-1, 1)."""
    return 2 * value - 1
