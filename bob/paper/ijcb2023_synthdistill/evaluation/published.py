"""Published results, each with its source: what others measured, never what we did."""

import csv
import functools
import importlib.resources
from dataclasses import dataclass

from ..files import SynthDistillError

COLUMNS = {
    "lfw": "lfw",
    "calfw": "calfw",
    "cplfw": "cplfw",
    "cfp-fp": "cfp_fp",
    "agedb-30": "agedb_30",
}
"""Our name of each benchmark, and the column of ``published_results.csv`` that holds it."""


@dataclass(frozen=True)
class PublishedResult:
    """One published model. What its source does not say is None: no value comes from memory.

    Parameters
    ----------
    model
        Its name, as the source spells it.
    group
        What sort of model it is; tables make a section of each group.
    training_data
        ``real`` or ``synthetic``, and which.
    synthetic_images
        Size of the synthetic training set, as the source writes it (``0.5M``).
    parameters
        Number of parameters.
    mflops
        Millions of operations *as the source counts them*: sources differ in whether a multiply-add
        is one or two, and do not always say.
    accuracies
        Verification accuracy on each benchmark, as a fraction.
    source
        Where the numbers were read.
    verified
        ``read at source``, or ``secondary source`` when another work's table was read.
    """

    model: str
    group: str
    training_data: str
    synthetic_images: str | None
    parameters: int | None
    mflops: float | None
    accuracies: dict[str, float | None]
    source: str
    verified: str


@functools.cache
def published_results() -> tuple[PublishedResult, ...]:
    """Read the published results that ship with the package.

    Returns
    -------
        All of them, in the order of ``evaluation/published_results.csv``.
    """
    path = importlib.resources.files(__package__) / "published_results.csv"
    with path.open(encoding="utf-8") as stream:
        return tuple(_parse(row) for row in csv.DictReader(stream))


def _parse(row: dict[str, str]) -> PublishedResult:
    def number(column: str, scale: float) -> float | None:
        # rounded, so that 99.52 % is 0.9952 and prints as 99.52 again
        return round(float(row[column]) * scale, 10) if row[column] else None

    parameters = number("params_m", 1e6)
    return PublishedResult(
        model=row["model"],
        group=row["group"],
        training_data=row["training_data"],
        synthetic_images=row["synthetic_images"] or None,
        parameters=None if parameters is None else round(parameters),
        mflops=number("mflops", 1.0),
        accuracies={name: number(column, 0.01) for name, column in COLUMNS.items()},
        source=row["source"],
        verified=row["verified"],
    )


def select_published(**criteria: str) -> list[PublishedResult]:
    """Find published results by the text of their fields.

    Parameters
    ----------
    criteria
        ``model``, ``group``, ``training_data``, ``synthetic_images``, ``source`` or ``verified``: a
        result is chosen when each of these fields begins with the given text.

    Returns
    -------
        The results that match, in the order of the file; at least one.

    Raises
    ------
    SynthDistillError
        There is no such field, or nothing matches (so that a mistyped name is not an empty row).
    """
    allowed = ("model", "group", "training_data", "synthetic_images", "source", "verified")
    for name in criteria:
        if name not in allowed:
            raise SynthDistillError(
                f"published results have no field {name!r}: choose by {', '.join(allowed)}."
            )
    found = [
        result
        for result in published_results()
        if all((getattr(result, k) or "").startswith(v) for k, v in criteria.items())
    ]
    if not found:
        wanted = ", ".join(f"{k} = {v!r}" for k, v in criteria.items())
        known = ", ".join(sorted({result.model for result in published_results()}))
        raise SynthDistillError(f"no published result has {wanted}. Known models: {known}.")
    return found
