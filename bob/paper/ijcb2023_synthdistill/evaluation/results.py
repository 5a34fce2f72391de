"""What lies in results folders: models, their score files, and what is measured from them."""

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmarks import accuracy
from ..benchmarks.scores import read_scores
from ..benchmarks.verification import Verification
from ..files import SynthDistillError, read_record
from .provenance import Origin, TracedValue, trace

SCORES = "scores-dev.csv"
"""Name that Bob gives to the score file."""

METRICS = ("accuracy", "eer", "tar@1e-2", "tar@1e-3", "tar@1e-4")
"""What a table can show of a benchmark; ``tar@FAR`` is the true accept rate at a false one."""

MAX_DEPTH = 3


def find_models(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the folders of models, by name, in folders or up to three levels below them.

    A model's folder holds ``student.safetensors``, ``options.json`` and ``log.csv`` if it was
    trained here, and a folder for each database that it was evaluated on.
    """
    models: list[tuple[str, Path]] = []
    for folder in folders:
        try:
            found = list(_walk(folder, folder, MAX_DEPTH))
        except OSError as error:
            raise SynthDistillError(
                f"cannot read the results folder {folder}: {error.strerror}"
            ) from error
        if not found:
            raise SynthDistillError(
                f"no model in {folder}: expected MODEL/student.safetensors (from "
                f"synthdistill-train) or MODEL/DATABASE/{SCORES} (from bob bio pipeline simple "
                "... -o MODEL/DATABASE) in it."
            )
        models += found
    names = [name for name, _ in models]
    return {name if names.count(name) == 1 else str(folder): folder for name, folder in models}


def _walk(folder: Path, top: Path, depth: int) -> Iterator[tuple[str, Path]]:
    children = sorted(folder.iterdir())
    trained = any(child.name in ("student.safetensors", "options.json") for child in children)
    if trained or any((child / SCORES).is_file() for child in children):
        name = folder.resolve().name if folder == top else str(folder.relative_to(top))
        yield name, folder
        return
    for child in children:
        if depth and child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, top, depth - 1)


def run_properties(folder: Path) -> dict[str, Any]:
    """Read from a run folder's ``options.json`` and ``log.csv`` what a model was trained with.

    Returns
    -------
        ``images``: generated images that the student learned from, fresh and re-sampled, as logged;
        ``coefficient``: of the re-sampling. Empty for a model that was not trained here.
    """
    options, log = folder / "options.json", folder / "log.csv"
    values: dict[str, Any] = {}
    try:
        if options.is_file():
            described = read_record(options)["options"]
            values["coefficient"] = f"{described['resampling_coefficient']:g}"
            values["images"] = 0 if described["epochs"] == 0 else None
        if log.is_file():
            logged = pd.read_csv(log)["images"]
            values["images"] = int(logged.iloc[-1]) if len(logged) else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise SynthDistillError(
            f"cannot read what {folder} was trained with ({options.name}, {log.name}): {error!r}"
        ) from error
    return values


def measure(scores: pd.DataFrame, metric: str) -> tuple[float | None, float | None]:
    """Compute a metric of one score file (columns genuine, fold and score, a row for each pair).

    Returns
    -------
        A fraction, None when the number of pairs does not allow the metric; and of ``accuracy`` the
        population deviation over folds.
    """
    score, genuine = scores["score"].to_numpy(), scores["genuine"].to_numpy()
    if metric == "accuracy":
        found = accuracy.ten_fold_accuracy(score, genuine, scores["fold"].to_numpy())
        return float(found.accuracy), float(found.std)
    if metric == "eer":
        return float(accuracy.eer(score, genuine)), None
    rate = accuracy.tar_at_far(score, genuine, float(metric.partition("@")[2]))
    return None if rate is None else float(rate), None


class ScoreReader:
    """Reads score files of many models, each file and each database once.

    Parameters
    ----------
    load_database
        Gives the pairs of a benchmark by its name.
    """

    def __init__(self, load_database: Callable[[str], Any] | None = None) -> None:
        self._load = functools.cache(load_database or Verification)
        self._fingerprint = functools.cache(lambda database: self._load(database).fingerprint())
        self.trace = functools.cache(self._trace)
        self.read = functools.cache(self._read)

    def _trace(self, model: Path, database: str) -> Origin:
        """Find what a model's scores on a database are of; refuse what is not so any more."""
        path = model / database / SCORES
        if not path.is_file():
            raise SynthDistillError(f"{path} is missing: the evaluation did not end. Run it again.")
        return trace(path, model, functools.partial(self._fingerprint, database))

    def _read(self, model: Path, database: str) -> pd.DataFrame:
        """Read and check a model's scores on a database."""
        self.trace(model, database)
        return read_scores(model / database / SCORES, self._load(database))


@dataclass(frozen=True)
class Entry:
    """A row to be measured: label, a model's folder for each seed, section, and cells by key."""

    label: str
    models: Sequence[Path]
    section: str = ""
    values: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass
class Measured:
    """Measured rows, where their values come from, and what could not be measured.

    Parameters
    ----------
    rows
        As :py:class:`.tables.Table` has them. A cell that could not be measured is empty.
    traced
        Every measured cell.
    problems
        What was wrong, naming the file, a sentence each.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    traced: list[TracedValue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def measure_entries(
    entries: Sequence[Entry], databases: Sequence[str], metric: str, reader: ScoreReader
) -> Measured:
    """Measure rows: a column for each database.

    A row of one model shows its value and, of accuracy, the deviation over folds; a row of several
    seeds the mean and the sample standard deviation over seeds, and the number of seeds. A database
    on which a model was never evaluated is an empty cell, and no problem.
    """
    if metric not in METRICS:
        raise SynthDistillError(f"unknown metric {metric!r}: expected one of {', '.join(METRICS)}")
    measured = Measured()
    for entry in entries:
        row: dict[str, Any] = {"section": entry.section, "model": entry.label}
        row |= {"kind": "measured", "source": ""}
        row |= {"seeds": str(len(entry.models))} if len(entry.models) > 1 else {}
        row |= entry.values
        for database in databases:
            if not any((model / database).is_dir() for model in entry.models):
                continue
            try:
                found = [measure(reader.read(m, database), metric) for m in entry.models]
            except SynthDistillError as error:
                if error.message not in measured.problems:
                    measured.problems.append(error.message)
                continue
            value, deviation = found[0]
            if len(found) > 1:
                values = [value for value, _ in found if value is not None]
                whole = len(values) == len(found)
                value = statistics.fmean(values) if whole else None
                deviation = statistics.stdev(values) if whole else None
            if value is None:
                continue
            row |= {database: value, f"{database}_std": deviation}
            origins = [reader.trace(model, database) for model in entry.models]
            measured.traced.append(TracedValue(entry.label, database, value, origins))
        measured.rows.append(row)
    return measured
