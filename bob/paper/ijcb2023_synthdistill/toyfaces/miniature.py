"""What a miniature benchmark shows, before it is rendered: people, photographs, pairs and folds."""

import math
from typing import NamedTuple

import numpy
import torch

from ..benchmarks.pair_lists import FOLDS
from ..files import SynthDistillError
from . import PAIRS_PER_FOLD, SEED, TRAINING_SEED
from .conditions import PAIR_KINDS, columns, sample_conditions, sample_identities

PHOTOGRAPHS = 3
"""Photographs of each person for the left, and as many for the right images of pairs."""


class Photograph(NamedTuple):
    """One image: whose it is, its number among theirs (both from 1), for which side of pairs."""

    person: int
    number: int
    right: bool
    age: int


class Miniature(NamedTuple):
    """M photographs, ``[M, K]`` and ``[M, C]`` for the renderer, and the pairs of them.

    A pair is left image, right image, genuine, fold; fold by fold, genuine pairs first.
    """

    identities: torch.Tensor
    conditions: torch.Tensor
    photographs: list[Photograph]
    pairs: list[tuple[int, int, bool, int]]


def draw(name: str, seed: int = SEED, pairs_per_fold: int = PAIRS_PER_FOLD) -> Miniature:
    """Draw the miniature of a real benchmark, ``lfw`` to ``agedb-30``.

    Folds share no person, and photographs are used in several pairs, as in the real benchmarks.
    The conditions of left and right images are what the real benchmark is about; they are the same
    for genuine and impostor pairs, so that they say nothing about the label.
    """
    if seed == TRAINING_SEED:
        raise SynthDistillError(
            f"the seed {seed} is of the persons that networks were trained on: choose another one."
        )
    if pairs_per_fold < 2 or pairs_per_fold % 2:
        raise SynthDistillError(
            f"a fold has as many genuine as impostor pairs: expected was an even number of pairs, "
            f"not {pairs_per_fold}."
        )
    half = pairs_per_fold // 2
    # an image in 2.5 pairs on average; at least 6 genuine pairs to choose 5 from
    persons = max(2, math.ceil(half / 7.5))
    # all photographs: fold, side of the pairs, person, number
    shape = (FOLDS, 2, persons, PHOTOGRAPHS)
    identities, conditions, pairs = [], [], []
    for fold in range(FOLDS):
        rng = numpy.random.default_rng([seed, list(PAIR_KINDS).index(name), fold])
        people = sample_identities(persons, rng).repeat_interleave(PHOTOGRAPHS, dim=0)
        identities += [people, people]
        conditions += [sample_conditions(len(people), rng, kind) for kind in PAIR_KINDS[name]]
        for genuine in (True, False):
            choices = (persons, 1 if genuine else persons - 1, PHOTOGRAPHS, PHOTOGRAPHS)
            chosen = rng.choice(math.prod(choices), half, replace=False)
            person, step, left, right = numpy.unravel_index(chosen, choices)
            other = (person + (0 if genuine else step + 1)) % persons
            one = numpy.ravel_multi_index((fold, 0, person, left), shape)
            two = numpy.ravel_multi_index((fold, 1, other, right), shape)
            pairs += [
                (*pair, genuine, fold) for pair in zip(one.tolist(), two.tolist(), strict=True)
            ]
    # few photographs are in no pair; with few pairs many are
    used = sorted({image for pair in pairs for image in pair[:2]})
    index = {image: position for position, image in enumerate(used)}
    kept = torch.cat(conditions)[used]
    ages = [round(age) for age in columns(kept).age.tolist()]
    places = numpy.stack(numpy.unravel_index(used, shape), axis=1).tolist()
    return Miniature(
        torch.cat(identities)[used],
        kept,
        [
            Photograph(fold * persons + person + 1, side * PHOTOGRAPHS + number + 1, side == 1, age)
            for (fold, side, person, number), age in zip(places, ages, strict=True)
        ],
        [(index[left], index[right], genuine, fold) for left, right, genuine, fold in pairs],
    )
