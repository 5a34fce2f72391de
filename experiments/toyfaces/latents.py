"""What the generator's latents mean: the fixed, smooth map that its training regresses on.

Coordinate i of z, normalised as the mapping does it, is an identity parameter or the normal
quantile of a condition. The mapping is not trained but built: w holds the rectified z and the
rectified -z, whose difference gives z back. So every w, also one that was moved by noise, stands
for a known face, and the synthesis can be trained on it.
"""

import numpy
import torch

from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import GAIN, LEAK, Generator
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import (
    CONDITION_NAMES,
    conditions_from_uniform,
    spreads,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import IDENTITY_NAMES

WIDTH = 1.25
"""Standard deviation of z before rectification: noise of N(0, I) in w moves a face by about
0.67 standard deviations, so that it is visibly related, and another."""

# a photograph's place and grain are no business of a generator of aligned faces
_IGNORED = ("roll", "photo_x", "photo_y", "photo_scale", "seed")
VARIED = tuple(
    name
    for name, spread in spreads("generator").items()
    if name not in _IGNORED
    and spread.probability == 1.0
    and spread.high > spread.low
    and not name.startswith("occluder_")
)
"""The conditions that the generator varies."""

Z_DIM = len(IDENTITY_NAMES) + len(VARIED)


def build_mapping(generator: Generator) -> None:
    """Set the weights of the mapping, and the average of w.

    Parameters
    ----------
    generator
        With one mapping layer, ``w_dim = 2 z_dim``.
    """
    size = generator.z_dim
    rows = torch.eye(size) * WIDTH
    layer = generator.mapping.get_submodule("fc0")
    with torch.no_grad():
        # the layer divides by the root of its inputs
        layer.weight.copy_(torch.cat([rows, -rows]) * size**0.5)
        layer.bias.zero_()
        # of a rectified normal number: GAIN (1 - LEAK) / sqrt(2 pi) standard deviations
        generator.mapping.w_avg.fill_(GAIN * (1.0 - LEAK) * WIDTH / (2.0 * torch.pi) ** 0.5)
    generator.mapping.requires_grad_(False)


def decode(w: torch.Tensor) -> torch.Tensor:
    """Find the z, normalised, that a w ``[B, w_dim]`` stands for, ``[B, z_dim]``.

    It is exact where w comes from the mapping.
    """
    plus, minus = w.chunk(2, dim=1)
    return (plus - minus) / (GAIN * (1.0 + LEAK) * WIDTH)


def describe(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn normalised latents ``[B, z_dim]`` into identities and conditions to render."""
    people = len(IDENTITY_NAMES)
    uniform = numpy.full((len(z), len(CONDITION_NAMES)), 0.5)
    columns = [CONDITION_NAMES.index(name) for name in VARIED]
    uniform[:, columns] = torch.special.ndtr(z[:, people:].double()).numpy()
    return z[:, :people].contiguous(), conditions_from_uniform(uniform, "generator")
