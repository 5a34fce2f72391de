"""Measure a recogniser on pairs like those of the five miniature benchmarks."""

from collections.abc import Callable

import numpy
import torch

from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import PAIR_KINDS, sample_conditions
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import sample_identities
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

Recogniser = Callable[[torch.Tensor], torch.Tensor]

# not the seed of the benchmarks, nor of anything that is trained on
_SEED = 4711


def draw_pairs(benchmark: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Render ``count`` genuine and as many impostor pairs, alternating.

    Returns
    -------
        Left and right faces, each ``[2 count, 3, 112, 112]``.
    """
    rng = numpy.random.default_rng([_SEED, list(PAIR_KINDS).index(benchmark)])
    left = sample_identities(2 * count, rng)
    right = left.clone()
    right[1::2] = sample_identities(count, rng)
    kinds = PAIR_KINDS[benchmark]
    sides = [sample_conditions(2 * count, rng, kind) for kind in kinds]
    return render(left, sides[0]), render(right, sides[1])


@torch.inference_mode()
def embed(recogniser: Recogniser, images: torch.Tensor) -> torch.Tensor:
    """Embed images and their mirror images, as the field does, normalised."""
    parts = [recogniser(part) + recogniser(part.flip(3)) for part in images.split(128)]
    return torch.nn.functional.normalize(torch.cat(parts))


def accuracy(recogniser: Recogniser, left: torch.Tensor, right: torch.Tensor) -> float:
    """Compute the 10-fold accuracy (a threshold from nine folds judges the tenth)."""
    distance = (embed(recogniser, left) - embed(recogniser, right)).square().sum(dim=1)
    genuine = torch.arange(len(distance)) % 2 == 0
    thresholds = torch.arange(400) / 100.0
    right_at = (distance < thresholds[:, None]) == genuine
    folds = right_at.float().unflatten(1, (10, -1)).mean(dim=2)
    results = []
    for fold in range(10):
        others = folds[:, [i for i in range(10) if i != fold]].mean(dim=1)
        results.append(folds[others.argmax(), fold])
    return float(torch.stack(results).mean())


def measure(recogniser: Recogniser, count: int = 500) -> dict[str, float]:
    """Compute the accuracy on pairs like those of each benchmark, ``2 count`` pairs each."""
    return {name: accuracy(recogniser, *draw_pairs(name, count)) for name in PAIR_KINDS}
