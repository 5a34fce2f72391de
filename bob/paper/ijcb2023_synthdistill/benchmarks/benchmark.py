"""The benchmarks as data: the five of the paper, and those that other packages register."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from ..files import SynthDistillError, nearest
from .agedb import read_agedb
from .own_pairs import read_own
from .pair_lists import ListedPair, read_cfp, read_cross_lfw, read_lfw

ENTRY_POINTS = "synthdistill.benchmark"
"""The group of entry points by which packages register benchmarks: a name, and a `Benchmark`."""


@dataclass(frozen=True)
class Benchmark:
    """What distinguishes one benchmark from the others.

    Half of the ``pairs`` are genuine, in 10 folds; of a list of one's own, which may have any
    number of each kind and any folds, it is 0. ``list_name`` is the official pair list, relative to
    its folder, or the path of one's own, ``bin_name`` InsightFace's file, ``key`` names the folder
    with them for ``bob config set``. ``drawn`` faces say nothing about real ones. When no folder is
    given, ``provide`` draws or finds the files: it takes the benchmark, and the number of pairs if
    one was asked for; it gives the folder or file, and the number of pairs in it.
    """

    name: str
    title: str
    pairs: int
    list_name: str
    read_list: Callable[[Path, int], list[ListedPair]]
    bin_name: str
    key: str
    drawn: bool = False
    provide: Callable[["Benchmark", int | None], tuple[Path, int]] | None = None


def _real(
    title: str, pairs: int, list_name: str, read_list: Callable[..., list[ListedPair]]
) -> Benchmark:
    name = title.lower()
    plain = name.replace("-", "_")
    key = f"bob.bio.face.{plain}.directory"
    return Benchmark(name, title, pairs, list_name, read_list, f"{plain}.bin", key)


REAL = (
    _real("LFW", 6000, "pairs.txt", read_lfw),
    _real("CALFW", 6000, "pairs_CALFW.txt", read_cross_lfw),
    _real("CPLFW", 6000, "pairs_CPLFW.txt", read_cross_lfw),
    _real("CFP-FP", 7000, "Protocol/Pair_list_F.txt", read_cfp),
    _real("AgeDB-30", 6000, "04_FINAL_protocol_30_years.mat", read_agedb),
)
"""The benchmarks of the paper, in the order of its tables."""


@functools.cache
def benchmarks() -> dict[str, Benchmark]:
    """Give all benchmarks by name: the real ones, then the registered ones in the same order."""
    order = {real.bin_name: place for place, real in enumerate(REAL)}
    registered = [point.load() for point in entry_points(group=ENTRY_POINTS)]
    registered.sort(key=lambda benchmark: order.get(benchmark.bin_name, len(order)))
    return {benchmark.name: benchmark for benchmark in (*REAL, *registered)}


def get_benchmark(name: str, pairs: int | None = None) -> Benchmark:
    """Find a benchmark by its name, perhaps with another number of ``pairs``."""
    known = benchmarks()
    if name not in known:
        raise SynthDistillError(
            f"there is no benchmark `{name}`.{nearest(name, known)} Choose one of: "
            f"{', '.join(known)}."
        )
    if pairs is None:
        return known[name]
    if pairs <= 0 or pairs % 20:
        raise SynthDistillError(f"{pairs} pairs: a multiple of 20 was expected, for 10 folds.")
    return replace(known[name], pairs=pairs)


def own_benchmark(path: Path, name: str | None = None, title: str | None = None) -> Benchmark:
    """Describe a list of one's own: ``path`` is that of its CSV file, absolute."""
    if name is None:
        stem = path.parent.name if path.stem == "pairs" else path.stem
        name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "pairs"
        name += "-pairs" * (name in benchmarks())
    if name in benchmarks() or not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise SynthDistillError(
            f"the name {name[:100]!a} is a benchmark's, or has other characters than letters, "
            "digits, `.`, `_` and `-`: choose another one for pairs of your own."
        )
    return Benchmark(name, title or name, 0, str(path), read_own, bin_name="", key="")
