"""What lies in results folders: models, their score files, and what is measured from them."""

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..benchmarks.accuracy import summary
from ..benchmarks.benchmark import benchmarks
from ..benchmarks.scores import read_scores
from ..benchmarks.verification import Verification
from ..files import SynthDistillError, nearest, read_record
from .provenance import Origin, trace
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


class Scores(NamedTuple):
    """A model's scores, as :py:func:`.read_scores` gives them with the pairs, and their origin."""

    pairs: pd.DataFrame
    origin: Origin


def read_model(
    model: Path, database: Verification, fingerprint: Callable[[], str] | None = None
) -> Scores:
    """Read and check a model's scores on a database; refuse what is not of these any more.

    ``fingerprint`` gives the database's where it is remembered: computing it reads all images.
    """
    path = model / database.name / SCORES
    if not path.is_file():
        raise SynthDistillError(f"{path} is missing: the evaluation did not end. Run it again.")
    origin = trace(path, model, fingerprint or database.fingerprint)
    return Scores(read_scores(path, database), origin)


def measure(scores: Mapping[str, Sequence[Scores]], metric: str, benchmarks: int) -> dict[str, Any]:
    """Measure a row, a model for each seed, on each benchmark: its cells by key.

    The metric is ``accuracy``, ``eer`` or ``tar@FAR``, the true accept rate at a false one, which
    too few pairs leave unknown. One model shows its value and, of accuracy, the deviation over
    folds; several seeds the mean and the sample standard deviation over seeds. ``mean`` is that of
    several ``benchmarks``, where there is a value for all of them.
    """
    cells: dict[str, Any] = {}
    by_seed: list[list[float]] = []

    def put(key: str, values: list[float], deviation: float | None = None) -> None:
        several = len(values) > 1
        cells[key] = statistics.fmean(values)
        cells[f"{key}_std"] = statistics.stdev(values) if several else deviation

    name, _, far = metric.partition("@")
    for benchmark, seeds in scores.items():
        found = [summary(one.pairs) for one in seeds]
        values = [one["tar_at_far"][f"{float(far):g}"] if far else one[name] for one in found]
        if None not in values:
            by_seed.append(values)
            put(benchmark, values, found[0].get(f"{metric}_std"))
            if never := sum(one["never_match"] for one in found):
                cells[f"{benchmark}_never_match"] = never
    if len(by_seed) == benchmarks > 1:
        put("mean", [statistics.fmean(values) for values in zip(*by_seed, strict=True)])
    return cells
