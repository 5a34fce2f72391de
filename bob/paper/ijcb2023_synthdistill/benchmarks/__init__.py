"""The benchmarks: pair lists and folds, file layouts, the Bob database and the metrics."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .database import PairDatabase


def load_database(name: str) -> "PairDatabase":
    """Make the Bob database of one of our benchmarks. Nothing is opened yet.

    Parameters
    ----------
    name
        A name of :py:func:`.benchmark.benchmarks`: ``lfw``, ..., ``toyfaces-agedb-30``.

    Raises
    ------
    SynthDistillError
        There is no benchmark of that name.
    """
    from .database import PairDatabase

    return PairDatabase(name)
