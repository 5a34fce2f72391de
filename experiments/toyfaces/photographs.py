"""Endless batches of labelled photographs of drawn people, rendered in other processes."""

from collections.abc import Iterator

import numpy
import torch
from torch.utils.data import DataLoader, Dataset

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import PAIR_KINDS, sample_conditions
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import sample_identities
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

SEED = 20230824
"""First number of every seed here; the benchmarks use others, so nobody is in both."""

KINDS = tuple(kind for pair in PAIR_KINDS.values() for kind in pair)
"""Kinds of photographs that the teacher learns from: those of the benchmarks, as often."""


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Batches of photographs of a fixed set of people; batch i depends on the seed and i only.

    Parameters
    ----------
    people
        Number of identities.
    batch_size
        Images in a batch.
    count
        Number of batches.
    seed
        Of the people and their photographs.
    """

    def __init__(self, people: int, batch_size: int, count: int, seed: int) -> None:
        self.identities = sample_identities(people, numpy.random.default_rng([SEED, 1, seed]))
        self.batch_size = batch_size
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Render a batch: faces (uint8), labels, and the identities behind the labels."""
        if index >= self.count:
            raise IndexError(index)
        rng = numpy.random.default_rng([SEED, 2, self.seed, index])
        labels = torch.from_numpy(rng.integers(len(self.identities), size=self.batch_size))
        kinds = numpy.sort(rng.integers(len(KINDS), size=self.batch_size))
        conditions = torch.cat(
            [sample_conditions(int((kinds == i).sum()), rng, kind) for i, kind in enumerate(KINDS)]
        )
        identities = self.identities[labels]
        return faces.to_uint8(render(identities, conditions)), labels, identities


def stream(
    batches: Dataset, workers: int = 1, ahead: int = 4
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield batches in order, rendered ahead by other processes, up to ``ahead`` by each."""
    yield from DataLoader(
        batches, batch_size=None, num_workers=workers, prefetch_factor=ahead if workers else None
    )
