"""The five miniature benchmarks, registered as data: drawn when they are first needed."""

import os
from dataclasses import replace
from pathlib import Path

from ..benchmarks.benchmark import REAL, Benchmark
from ..benchmarks.pair_lists import FOLDS
from ..files import SynthDistillError, configured_path
from . import PAIRS_PER_FOLD, SEED

TOYFACES_KEY = "bob.paper.ijcb2023_synthdistill.toyfaces"
"""``bob config set`` key of the folder of the miniature benchmarks."""


def cache_folder(pairs_per_fold: int = PAIRS_PER_FOLD) -> Path:
    """Say where miniature benchmarks go that nobody asked for by a folder."""
    from .layouts import version

    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    size = "" if pairs_per_fold == PAIRS_PER_FOLD else f"-{pairs_per_fold}"
    return base / "bob.paper.ijcb2023_synthdistill" / f"toyfaces-{version()}{size}"


def provide(benchmark: Benchmark, pairs: int | None) -> tuple[Path, int]:
    """Find a miniature benchmark, or draw it: the folder or file, and the number of its pairs.

    ``pairs`` is the number that it must have; None takes what is configured, or the default.
    """
    from .layouts import LAYOUTS, place, read_settings, write

    name = benchmark.name.removeprefix("toyfaces-")
    per_fold = PAIRS_PER_FOLD if pairs is None else pairs // FOLDS
    folder = configured_path(TOYFACES_KEY) or cache_folder(per_fold)
    settings = read_settings(folder) or {"seed": SEED, "pairs_per_fold": per_fold}
    if pairs is not None and settings["pairs_per_fold"] != per_fold:
        raise SynthDistillError(
            f"the miniatures in {folder} have {settings['pairs_per_fold']} pairs a fold, not "
            f"{per_fold}: draw others with `synthdistill-toyfaces`."
        )
    places = [place(folder, layout, name) for layout in LAYOUTS]
    found = next((path for path in places if path.exists()), None)
    if found is None:
        (found,) = write(folder, [name], ["bin"], **settings)
    return found, settings["pairs_per_fold"] * FOLDS


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
