"""What lies in results folders: models, their score files, and what is measured from them."""

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.accuracy import eer, tar_at_far, ten_fold_accuracy
from ..benchmarks.benchmark import benchmarks
from ..benchmarks.scores import read_scores
from ..benchmarks.verification import Verification
from ..files import SynthDistillError
from .provenance import TracedValue, trace
from .records import SCORES
from .tables import METRICS, Quantity, Row

if TYPE_CHECKING:
    import pandas as pd

MAX_DEPTH = 3


@dataclass(frozen=True)
class Model:
    """A model in a results folder.

    Parameters
    ----------
    name
        Its folder's name under the results folder.
    folder
        Holds ``student.safetensors``, ``options.json`` and ``log.csv`` if it was trained here, and
        a folder for each database it was evaluated on.
    scores
        For each database the score file that is there, or should be there.
    strange
        Score files in folders that are not named after a database.
    """

    name: str
    folder: Path
    scores: Mapping[str, Path]
    strange: Sequence[Path] = ()

    @classmethod
    def at(cls, folder: Path, name: str = "") -> "Model | None":
        """Look at a folder: the model that it holds, None when it holds none."""
        children = [child for child in sorted(folder.iterdir()) if child.is_dir()]
        scored = [child for child in children if (child / SCORES).is_file()]
        known = {name: folder / name / SCORES for name in benchmarks() if (folder / name).is_dir()}
        trained = any((folder / name).is_file() for name in ("student.safetensors", "options.json"))
        if not (trained or scored):
            return None
        strange = [child / SCORES for child in scored if child.name not in benchmarks()]
        return cls(name or folder.resolve().name, folder, known, strange)


def find_models(folders: Sequence[Path]) -> list[Model]:
    """Find the models under results folders.

    Parameters
    ----------
    folders
        Each a model's folder, or a folder with models up to three levels below.

    Returns
    -------
        In order of folder and name.

    Raises
    ------
    SynthDistillError
        A folder does not exist, cannot be read, or holds no model.
    """
    models: list[Model] = []
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
    names = [model.name for model in models]
    return [
        model
        if names.count(model.name) == 1
        else Model(str(model.folder), model.folder, model.scores, model.strange)
        for model in models
    ]


def _walk(folder: Path, top: Path, depth: int) -> Iterator[Model]:
    model = Model.at(folder, "" if folder == top else str(folder.relative_to(top)))
    if model is not None:
        yield model
        return
    for child in sorted(folder.iterdir()):
        if depth and child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, top, depth - 1)


def measure(scores: "pd.DataFrame", metric: str) -> Quantity | None:
    """Compute a metric of one score file.

    Parameters
    ----------
    scores
        Columns ``genuine``, ``fold`` and ``score``, a row for each pair.
    metric
        One of :py:data:`.tables.METRICS`.

    Returns
    -------
        A fraction, of ``accuracy`` with the population deviation over folds; None when the number
        of pairs does not allow the metric.
    """
    score, genuine = scores["score"].to_numpy(), scores["genuine"].to_numpy()
    if metric == "accuracy":
        accuracy, deviation, _ = ten_fold_accuracy(score, genuine, scores["fold"].to_numpy())
        return Quantity(float(accuracy), float(deviation))
    if metric == "eer":
        return Quantity(float(eer(score, genuine)))
    rate = tar_at_far(score, genuine, float(metric.partition("@")[2]))
    return None if rate is None else Quantity(float(rate))


class ScoreReader:
    """Reads score files of many models, each file and each database once.

    Parameters
    ----------
    load_database
        Gives the pairs of a benchmark by its name.
    """

    def __init__(self, load_database: Callable[[str], Any] = Verification) -> None:
        self._load = functools.cache(load_database)
        self._read: Callable[[Path, str], pd.DataFrame] = functools.cache(self._read_file)
        self.trace = functools.cache(trace)

    def _read_file(self, path: Path, database: str) -> "pd.DataFrame":
        return read_scores(path, self._load(database))

    def read(self, model: Model, database: str) -> "pd.DataFrame":
        """Read and check a model's scores on a database.

        Raises
        ------
        SynthDistillError
            The score file is missing, incomplete, corrupt, of another database or model.
        """
        path = model.scores.get(database, model.folder / database / SCORES)
        if not path.is_file():
            raise SynthDistillError(f"{path} is missing: the evaluation did not end. Run it again.")
        self.trace(path, model.folder)
        return self._read(path, database)


@dataclass(frozen=True)
class Entry:
    """A row to be measured.

    Parameters
    ----------
    label
        What stands in the first column.
    models
        One for each seed.
    section
        The row's section.
    values
        Cells that do not come from scores.
    """

    label: str
    models: Sequence[Model]
    section: str = ""
    values: Mapping[str, Quantity | str | None] = field(default_factory=dict)


@dataclass
class Measured:
    """Measured rows, where their values come from, and what could not be measured.

    Parameters
    ----------
    rows
        The rows. A cell that could not be measured is empty.
    traced
        Every measured cell.
    problems
        What was wrong, naming the file, a sentence each.
    """

    rows: list[Row] = field(default_factory=list)
    traced: list[TracedValue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def measure_entries(
    entries: Sequence[Entry], databases: Sequence[str], metric: str, reader: ScoreReader
) -> Measured:
    """Measure rows.

    A row of one model shows its value and, of accuracy, the deviation over folds; a row of several
    seeds the mean and the sample standard deviation over seeds, and the number of seeds.

    Parameters
    ----------
    entries
        The rows.
    databases
        The columns.
    metric
        One of :py:data:`.tables.METRICS`.
    reader
        Reads the score files.

    Returns
    -------
        The rows with what was found. A database on which a model was never evaluated is an empty
        cell, and no problem.
    """
    if metric not in METRICS:
        raise SynthDistillError(f"unknown metric {metric!r}: expected one of {', '.join(METRICS)}")
    measured = Measured()
    for entry in entries:
        values: dict[str, Quantity | str | None] = dict(entry.values)
        if len(entry.models) > 1:
            values.setdefault("seeds", str(len(entry.models)))
        for database in databases:
            if not any(database in model.scores for model in entry.models):
                continue
            try:
                value = _measure_cell(entry, database, metric, reader)
            except SynthDistillError as error:
                if error.message not in measured.problems:
                    measured.problems.append(error.message)
                continue
            if value is None:
                continue
            values[database] = value
            origins = [reader.trace(m.scores[database], m.folder) for m in entry.models]
            measured.traced.append(TracedValue(entry.label, database, value.value, origins))
        measured.rows.append(Row(entry.label, values, "measured", entry.section))
    return measured


def _measure_cell(entry: Entry, database: str, metric: str, reader: ScoreReader) -> Quantity | None:
    found = [measure(reader.read(model, database), metric) for model in entry.models]
    if len(found) == 1:
        return found[0]
    values = [quantity.value for quantity in found if quantity is not None]
    if len(values) < len(found):
        return None
    return Quantity(statistics.fmean(values), statistics.stdev(values))
