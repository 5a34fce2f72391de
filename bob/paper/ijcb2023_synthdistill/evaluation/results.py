"""What lies in results folders: models, their score files, and what is measured from them."""

import functools
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..benchmarks.accuracy import summary
from ..benchmarks.benchmark import benchmarks
from ..benchmarks.scores import read_scores
from ..benchmarks.verification import Verification
from ..files import SynthDistillError, nearest, read_record
from .provenance import Origin, TracedValue, trace
from .terminal import exit_when_interrupted

SCORES = "scores-dev.csv"
"""Name that Bob gives to the score file."""

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
            raise SynthDistillError(f"cannot read the results in {folder}: {error}") from error
        if not found:
            raise SynthDistillError(
                f"no model in {folder}: expected MODEL/student.safetensors or "
                f"MODEL/DATABASE/{SCORES} in it."
            )
        models += found
    names = [name for name, _ in models]
    return {name if names.count(name) == 1 else str(folder): folder for name, folder in models}


def _walk(folder: Path, top: Path, depth: int) -> Iterator[tuple[str, Path]]:
    children = sorted(folder.iterdir(), key=_by_numbers)
    trained = any(child.name in ("student.safetensors", "options.json") for child in children)
    if trained or any((child / SCORES).is_file() for child in children):
        yield folder.resolve().name if folder == top else str(folder.relative_to(top)), folder
        return
    for child in children:
        if depth and child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, top, depth - 1)


def _by_numbers(path: Path) -> list[tuple[int, float, str]]:
    """Sort `coefficient-2` before `coefficient-10`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.name)
    return [(i % 2, float(part), "") if i % 2 else (0, 0.0, part) for i, part in enumerate(parts)]


def run_properties(folder: Path) -> dict[str, Any]:
    """Read from ``options.json`` and ``log.csv`` of a run folder what a model was trained with.

    ``images`` are the generated ones that the student learned from, fresh and re-sampled, as
    logged; there is a ``coefficient`` where the ``sampling`` has one. ``identity_kept`` is the
    teacher's cosine between a face and its re-sampled one. Nothing is known of a model
    that was not trained here.
    """
    options, log = folder / "options.json", folder / "log.csv"
    values: dict[str, Any] = {}
    try:
        if options.is_file():
            record = read_record(options)
            described = record["options"]
            values["identity_kept"] = record.get("identity_kept")
            if described["epochs"] and described.get("method", "distillation") == "distillation":
                values["sampling"] = described["sampling"]
                if described["sampling"] not in ("static", "none"):
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


def open_database(name: str) -> Verification:
    """Open pairs by a benchmark's name, a list of one's own (CSV), or a Bob configuration (.py)."""
    if name in benchmarks():
        return Verification(name)
    if not name.endswith((".csv", ".py")) or not Path(name).is_file():
        raise SynthDistillError(
            f"there is no benchmark `{name}`.{nearest(name, benchmarks())} Choose one of "
            f"{', '.join(benchmarks())}, a list of your own (*.csv) or a Python file (*.py)."
        )
    if name.endswith(".csv"):
        return Verification.from_csv(name)
    from clapper.config import load

    try:
        found: Any = load([name], entry_point_group="bob.bio.config")
    except SynthDistillError:
        raise
    except Exception as error:  # whatever a user's code raises
        raise SynthDistillError(f"cannot run {name}: {type(error).__name__}: {error}") from error
    exit_when_interrupted()  # Bob's imports have changed it
    if not isinstance(database := getattr(found, "database", None), Verification):
        raise SynthDistillError(
            f"{name} defines no `database` with pairs and folds. Expected, for example: "
            "`database = PairDatabase('lfw', '/my/folder')`."
        )
    return database


class ScoreReader:
    """Reads score files of many models, each file and each database once.

    ``databases`` are the pairs, by the name of the folder that the scores lie in.
    """

    def __init__(self, databases: Mapping[str, Verification]) -> None:
        self.databases = databases
        self._fingerprint = functools.cache(lambda name: self.databases[name].fingerprint())
        self.trace = functools.cache(self._trace)
        self.read = functools.cache(self._read)

    def title(self, database: str) -> str:
        """Give a database's title without opening it, if it is a benchmark of ours."""
        known = benchmarks().get(database)
        return known.title if known else self.databases[database].title

    def _trace(self, model: Path, database: str) -> Origin:
        """Find what a model's scores on a database are of; refuse what is not so any more."""
        path = model / database / SCORES
        if not path.is_file():
            raise SynthDistillError(f"{path} is missing: the evaluation did not end. Run it again.")
        return trace(path, model, functools.partial(self._fingerprint, database))

    def _read(self, model: Path, database: str) -> pd.DataFrame:
        """Read and check a model's scores on a database."""
        self.trace(model, database)
        return read_scores(model / database / SCORES, self.databases[database])


class Measured(NamedTuple):
    """Cells of a row by key, where each measured value comes from, and what could not be."""

    cells: dict[str, Any]
    traced: list[TracedValue]
    problems: list[str]


def measure(label: str, models: Sequence[Path], metric: str, reader: ScoreReader) -> Measured:
    """Measure a row, a model for each seed, on each of the reader's databases.

    The metric is ``accuracy``, ``eer`` or ``tar@FAR``, the true accept rate at a false one. A row
    of one model shows its value and, of accuracy, the deviation over folds; a row of several seeds
    the mean and the sample standard deviation over seeds, and the number of seeds. A database on
    which a model was never evaluated is an empty cell, and no problem. ``mean`` is that of several
    databases, where there is a value for all of them.
    """
    by_seed: list[Sequence[float]] = []
    measured = Measured({"seeds": str(len(models))} if len(models) > 1 else {}, [], [])
    for database in reader.databases:
        if not any((model / database).is_dir() for model in models):
            continue
        try:
            found = [summary(reader.read(model, database)) for model in models]
        except SynthDistillError as error:
            measured.problems.append(error.message)
            continue
        name, _, far = metric.partition("@")
        values = [one["tar_at_far"][f"{float(far):g}"] if far else one[name] for one in found]
        if None in values:  # too few pairs
            continue
        by_seed.append(values)
        value, deviation = values[0], found[0].get(f"{metric}_std")
        if len(found) > 1:
            value, deviation = statistics.fmean(values), statistics.stdev(values)
        measured.cells.update({database: value, f"{database}_std": deviation})
        if never := sum(one["never_match"] for one in found):
            measured.cells[f"{database}_never_match"] = never
        origins = [reader.trace(model, database) for model in models]
        measured.traced.append(TracedValue(label, database, value, origins))
    if len(by_seed) == len(reader.databases) > 1:
        means = [statistics.fmean(values) for values in zip(*by_seed, strict=True)]
        measured.cells["mean"] = statistics.fmean(means)
        if len(means) > 1:
            measured.cells["mean_std"] = statistics.stdev(means)
    return measured
