"""Read Bob's score files and join them to the pairs and folds of a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..files import SynthDistillError

if TYPE_CHECKING:
    import pandas

_PROBE, _REFERENCE = "probe_template_id", "bio_ref_template_id"


class HasPairs(Protocol):
    """What is needed of a database: a ``PairDatabase`` or a ``Verification``."""

    name: str

    def pairs(self) -> "pandas.DataFrame":
        """List all pairs: left, right, genuine, fold."""

    def describe(self) -> str:
        """Say what was found where."""


def read_scores(path: Path | str, database: HasPairs) -> "pandas.DataFrame":
    """Read the scores of all pairs of a benchmark.

    A pair that is listed several times has been scored once: it gets its score each time. Which
    image of a pair was the probe does not matter.

    Parameters
    ----------
    path
        ``scores-dev.csv`` as ``bob bio pipeline simple`` writes it.
    database
        The benchmark that was scored.

    Returns
    -------
        The pairs in listed order: columns left, right, genuine, fold, score.

    Raises
    ------
    SynthDistillError
        The file cannot be read or is no such file; it is of another benchmark; pairs are missing,
        not in the list, or twice in the file; a score is not a finite number.
    """
    path = Path(path)
    scores = _read(path)
    _check_database(path, database, scores)
    pairs = database.pairs()
    keys = _keys(scores[_PROBE], scores[_REFERENCE])
    wanted = _keys(pairs["left"], pairs["right"])
    distinct, known = set(keys), set(wanted)
    missing = [key for key in dict.fromkeys(wanted) if key not in distinct]
    extra = [key for key in dict.fromkeys(keys) if key not in known]
    problems = []
    if missing:
        problems.append(f"{len(missing):,} of {len(known):,} pairs are missing{_first(missing)}")
    if extra:
        problems.append(f"{len(extra):,} pairs are not in its list{_first(extra)}")
    if len(distinct) != len(keys):
        twice = [key for key, count in keys.value_counts().items() if count > 1]
        problems.append(f"{len(twice):,} pairs have several scores{_first(twice)}")
    values = dict(zip(keys, scores["score"], strict=True))
    bad = [key for key, value in values.items() if not abs(value) < float("inf")]
    if bad:
        problems.append(f"{len(bad):,} scores are not finite numbers{_first(bad)}")
    if problems:
        hint = (
            " Were they made from another file of this benchmark? Now there is: "
            f"{database.describe()}."
            if missing and extra
            else ""
        )
        raise SynthDistillError(
            f"{path} does not hold the scores of {database.name}: {'; '.join(problems)}.{hint} Run "
            "the evaluation again."
        )
    return pairs.assign(score=[values[key] for key in wanted])


def _read(path: Path) -> "pandas.DataFrame":
    import pandas

    try:
        # as text: names like `NA` are names, and numbers are read by Python, to the last digit
        scores = pandas.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8", on_bad_lines="error"
        )
    except OSError as error:
        raise SynthDistillError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:  # pandas' errors, and text that is not UTF-8
        raise SynthDistillError(f"{path} is no score file: {str(error)[:200]!a}.") from error
    absent = [name for name in (_PROBE, _REFERENCE, "score") if name not in scores.columns]
    if absent:
        raise SynthDistillError(
            f"{path} lacks the columns {', '.join(absent)}. Expected: the scores-dev.csv of `bob "
            "bio pipeline simple`, which names both images of each pair. Bob's four-column format "
            "does not: run the evaluation without --write-column-scores."
        )
    # numbers that are none become NaN, and are counted
    scores["score"] = [_number(text) for text in scores["score"]]
    return scores


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return float("nan")


def _keys(one: "pandas.Series", other: "pandas.Series") -> "pandas.Series":
    """Name pairs whatever their order."""
    import pandas

    return pandas.Series(
        [
            (left, right) if left <= right else (right, left)
            for left, right in zip(one, other, strict=True)
        ],
        dtype=object,
    )


def _check_database(path: Path, database: HasPairs, scores: "pandas.DataFrame") -> None:
    """Name the benchmark that the scores are of, if it is another one."""
    names = [str(template).partition("/")[0] for template in scores[_PROBE]]
    others = [name for name in names if name != database.name]
    if others:
        raise SynthDistillError(
            f"{path} holds the scores of another benchmark: {len(others):,} of {len(names):,} rows "
            f"are of {max(set(others), key=others.count)[:60]!a}, and {database.name} was "
            "expected."
        )


def _first(keys: list[tuple[str, str]]) -> str:
    return f" (the first: {keys[0][0]} and {keys[0][1]})"
