"""The five benchmarks as data, and their five miniatures of ToyFaces."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..files import SynthDistillError
from .lists import read_agedb, read_cfp, read_cross_lfw, read_lfw
from .pairs import ListedPair

TOYFACES_KEY = "bob.paper.ijcb2023_synthdistill.toyfaces"
"""``bob config set`` key of the folder of the miniature benchmarks."""


@dataclass(frozen=True)
class Benchmark:
    """What distinguishes one benchmark from the others.

    Parameters
    ----------
    name
        As commands take it: ``cfp-fp``.
    title
        As tables print it: ``CFP-FP``.
    pairs
        Number of pairs, half of them genuine, in 10 folds.
    file_name
        The official pair list, relative to its folder.
    read_list
        Reads the official list, given its path and the number of pairs.
    key
        ``bob config set`` key of the folder with the files.
    toyfaces
        Whether it is a miniature, which is drawn when it is not there.
    """

    name: str
    title: str
    pairs: int
    file_name: str
    read_list: Callable[[Path, int], list[ListedPair]]
    key: str
    toyfaces: bool = False

    @property
    def short_name(self) -> str:
        """The name without ``toyfaces-``: miniatures use the files' names of the real ones."""
        return self.name.removeprefix("toyfaces-")

    @property
    def bin_name(self) -> str:
        """Name of the InsightFace file: ``cfp_fp.bin``."""
        return self.short_name.replace("-", "_") + ".bin"


def _real(
    name: str, title: str, pairs: int, file_name: str, read_list: Callable[..., list[ListedPair]]
) -> Benchmark:
    key = f"bob.bio.face.{name.replace('-', '_')}.directory"
    return Benchmark(name, title, pairs, file_name, read_list, key)


REAL = (
    _real("lfw", "LFW", 6000, "pairs.txt", read_lfw),
    _real("calfw", "CALFW", 6000, "pairs_CALFW.txt", read_cross_lfw),
    _real("cplfw", "CPLFW", 6000, "pairs_CPLFW.txt", read_cross_lfw),
    _real("cfp-fp", "CFP-FP", 7000, "Protocol/Pair_list_F.txt", read_cfp),
    _real("agedb-30", "AgeDB-30", 6000, "04_FINAL_protocol_30_years.mat", read_agedb),
)
"""The benchmarks of the paper, in the order of its tables."""

TOYFACES = tuple(
    replace(
        real,
        name=f"toyfaces-{real.name}",
        title=f"toyfaces-{real.title}",
        pairs=6000,
        key=TOYFACES_KEY,
        toyfaces=True,
    )
    for real in REAL
)
"""Their miniatures: 10 folds of 600 pairs each."""

BENCHMARKS = {benchmark.name: benchmark for benchmark in REAL + TOYFACES}
"""All benchmarks by name."""


def get_benchmark(name: str, pairs: int | None = None) -> Benchmark:
    """Find a benchmark by its name.

    Parameters
    ----------
    name
        One of :py:data:`BENCHMARKS`.
    pairs
        Another number of pairs, a multiple of 20: for a list of one's own in the official form.

    Raises
    ------
    SynthDistillError
        There is none of that name, or the number of pairs makes no 10 even folds.
    """
    if name not in BENCHMARKS:
        raise SynthDistillError(
            f"there is no benchmark `{name}`. Choose one of: {', '.join(BENCHMARKS)}."
        )
    if pairs is None:
        return BENCHMARKS[name]
    if pairs <= 0 or pairs % 20:
        raise SynthDistillError(
            f"{pairs} pairs do not make 10 folds with as many genuine as impostor pairs: a "
            "multiple of 20 was expected."
        )
    return replace(BENCHMARKS[name], pairs=pairs)
