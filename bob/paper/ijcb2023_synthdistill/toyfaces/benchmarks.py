"""Draw the five miniature benchmarks: persons, photographs, pairs and folds."""

import functools
import hashlib
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from ..benchmarks.benchmark import REAL, Benchmark
from ..benchmarks.pair_lists import FOLDS
from ..files import SynthDistillError, read_record

if TYPE_CHECKING:
    import torch

TOYFACES_KEY = "bob.paper.ijcb2023_synthdistill.toyfaces"
"""``bob config set`` key of the folder of the miniature benchmarks."""

SEED = 2023
"""Seed of the miniature benchmarks that are drawn when none are configured."""

TRAINING_SEED = 20230824
"""Seed of the persons that generator, teacher and students were trained on: never drawn here."""

PAIRS_PER_FOLD = 600
"""Pairs of a fold, half of them genuine."""

PHOTOGRAPHS = 3
"""Photographs of each person for the left, and as many for the right images of pairs."""

MARKER = "toyfaces.json"
"""File that tells a folder of miniature benchmarks, and how they were drawn."""


class Photograph(NamedTuple):
    """One image: whose it is, its number among that person's, and for which side of pairs."""

    person: int
    number: int
    right: bool


class Miniature(NamedTuple):
    """One benchmark before it is rendered.

    Parameters
    ----------
    photographs
        All images.
    identities, conditions
        What the renderer takes, ``[M, K]`` and ``[M, C]``: one row for each image.
    pairs
        Left image, right image, genuine, fold: fold by fold, genuine pairs first.
    """

    photographs: list[Photograph]
    identities: "torch.Tensor"
    conditions: "torch.Tensor"
    pairs: list[tuple[int, int, bool, int]]


def draw(name: str, seed: int = SEED, pairs_per_fold: int = PAIRS_PER_FOLD) -> Miniature:
    """Draw persons, conditions and pairs of one miniature benchmark.

    Folds share no person, and photographs are used in several pairs, as in the real benchmarks.
    The conditions of left and right images are what the real benchmark is about; they are the same
    for genuine and impostor pairs, so that they say nothing about the label.

    Parameters
    ----------
    name
        The real benchmark: ``lfw`` to ``agedb-30``.
    seed
        Any number but that of the training.
    pairs_per_fold
        Pairs of a fold, an even number.

    Raises
    ------
    SynthDistillError
        The seed is that of the training, or the number of pairs is odd.
    """
    import torch

    from .conditions import PAIR_KINDS, sample_conditions
    from .identities import sample_identities

    if seed == TRAINING_SEED:
        raise SynthDistillError(
            f"the seed {seed} draws the persons that the shipped networks were trained on: choose "
            "another one."
        )
    if pairs_per_fold < 2 or pairs_per_fold % 2:
        raise SynthDistillError(
            f"a fold has as many genuine as impostor pairs: an even number of pairs was expected, "
            f"not {pairs_per_fold}."
        )
    half = pairs_per_fold // 2
    # an image in 2.5 pairs on average; at least 6 genuine pairs to choose 5 from
    persons = max(2, math.ceil(half / 7.5))
    photographs: list[Photograph] = []
    pairs: list[tuple[int, int, bool, int]] = []
    identities, conditions = [], []
    for fold in range(FOLDS):
        rng = numpy.random.default_rng([seed, [real.name for real in REAL].index(name), fold])
        people = sample_identities(persons, rng)
        first = len(photographs)
        for right, kind in enumerate(PAIR_KINDS[name]):
            photographs += [
                Photograph(fold * persons + person, right * PHOTOGRAPHS + number, bool(right))
                for person in range(persons)
                for number in range(PHOTOGRAPHS)
            ]
            identities.append(people.repeat_interleave(PHOTOGRAPHS, dim=0))
            conditions.append(sample_conditions(persons * PHOTOGRAPHS, rng, kind))
        right_first = first + persons * PHOTOGRAPHS
        for genuine in (True, False):
            others = 1 if genuine else persons - 1
            chosen = rng.choice(persons * others * PHOTOGRAPHS**2, half, replace=False)
            person, rest = numpy.divmod(chosen, others * PHOTOGRAPHS**2)
            step, images = numpy.divmod(rest, PHOTOGRAPHS**2)
            other = (person + (0 if genuine else step + 1)) % persons
            left = first + person * PHOTOGRAPHS + images // PHOTOGRAPHS
            right_image = right_first + other * PHOTOGRAPHS + images % PHOTOGRAPHS
            pairs += [
                (one, two, genuine, fold)
                for one, two in zip(left.tolist(), right_image.tolist(), strict=True)
            ]
    # few photographs are in no pair; with few pairs many are
    used = sorted({image for pair in pairs for image in pair[:2]})
    index = {image: position for position, image in enumerate(used)}
    return Miniature(
        [photographs[image] for image in used],
        torch.cat(identities)[used],
        torch.cat(conditions)[used],
        [(index[left], index[right], genuine, fold) for left, right, genuine, fold in pairs],
    )


@functools.cache
def version() -> str:
    """Digest what the pixels depend on, so that a cache of another version is not used."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cache_folder(pairs_per_fold: int = PAIRS_PER_FOLD) -> Path:
    """Say where miniature benchmarks go that nobody asked for by a folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    size = "" if pairs_per_fold == PAIRS_PER_FOLD else f"-{pairs_per_fold}"
    return base / "bob.paper.ijcb2023_synthdistill" / f"toyfaces-{version()}{size}"


def provide(benchmark: Benchmark, pairs: int | None) -> tuple[Path, int]:
    """Find a miniature benchmark, or draw it.

    Parameters
    ----------
    benchmark
        The miniature.
    pairs
        Number of pairs that it must have; without it what is configured, or the default.

    Returns
    -------
        The folder or file, and the number of its pairs.

    Raises
    ------
    SynthDistillError
        The configured folder holds something else, or benchmarks of another size.
    """
    from ..files import configured_path
    from .layouts import LAYOUTS, place, write

    configured = configured_path(TOYFACES_KEY)
    per_fold = PAIRS_PER_FOLD if pairs is None else pairs // FOLDS
    folder = configured or cache_folder(per_fold)
    settings = read_marker(folder)
    if settings is not None:
        if pairs is not None and settings["pairs_per_fold"] != per_fold:
            raise SynthDistillError(
                f"the miniature benchmarks in {folder} have {settings['pairs_per_fold']} pairs a "
                f"fold, not {per_fold}: draw others with `synthdistill-toyfaces`, or unset "
                f"{TOYFACES_KEY}."
            )
        per_fold = settings["pairs_per_fold"]
        for layout in LAYOUTS:
            if place(folder, layout, benchmark).exists():
                return place(folder, layout, benchmark), per_fold * FOLDS
    name = benchmark.name.removeprefix("toyfaces-")
    write(folder, [name], ["bin"], **(settings or new_settings(SEED, per_fold)))
    return place(folder, "bin", benchmark), per_fold * FOLDS


def new_settings(seed: int, pairs_per_fold: int, image_format: str = "jpg") -> dict[str, Any]:
    """Name everything that the files of a folder depend on."""
    return {"seed": seed, "pairs_per_fold": pairs_per_fold, "image_format": image_format}


def read_marker(folder: Path) -> dict[str, Any] | None:
    """Read how the benchmarks of a folder were drawn.

    Returns
    -------
        The settings; None if there is nothing at all.

    Raises
    ------
    SynthDistillError
        The folder holds something else.
    """
    path = folder / MARKER
    try:
        if not path.exists() and (not folder.exists() or not any(folder.iterdir())):
            return None
        content = read_record(path)
        settings = {name: content[name] for name in new_settings(0, 0)}
        if not isinstance(settings["pairs_per_fold"], int):
            raise TypeError("pairs_per_fold is no number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthDistillError(
            f"{folder} holds something else than miniature benchmarks (no `{MARKER}` of ours): "
            "choose an empty or a new folder."
        ) from error
    return settings


def _miniature(real: Benchmark) -> Benchmark:
    return replace(
        real,
        name=f"toyfaces-{real.name}",
        title=f"toyfaces-{real.title}",
        pairs=FOLDS * PAIRS_PER_FOLD,
        key=TOYFACES_KEY,
        drawn=True,
        provide=provide,
    )


LFW, CALFW, CPLFW, CFP_FP, AGEDB_30 = map(_miniature, REAL)
