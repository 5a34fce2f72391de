"""Read Bob's score files and join them to the pairs and folds of a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from ..files import SynthDistillError

if TYPE_CHECKING:
    import pandas

    from .verification import Verification

_PROBE, _REFERENCE = "probe_template_id", "bio_ref_template_id"


def read_scores(path: Path | str, database: "Verification") -> "pandas.DataFrame":
    """Read the scores of all pairs of a benchmark from Bob's ``scores-dev.csv``.

    Gives the pairs in listed order: columns left, right, genuine, fold, score. A pair that is
    listed several times has been scored once: it gets its score each time. A file of another
    benchmark, or that has not exactly the pairs of this, is refused. Minus infinity is the score of
    pairs that never match: one of their images could not be used.
    """
    scores = _read(Path(path))
    names = scores[_PROBE].str.split("/", n=1).str[0]
    others = names[names != database.name]
    if len(others):
        raise SynthDistillError(
            f"{path} holds the scores of another benchmark: {len(others):,} of {len(names):,} rows "
            f"are of {others.mode().iloc[0][:60]!a}, and {database.name} was expected."
        )
    pairs = database.pairs()
    keys, wanted = _keys(scores, _PROBE, _REFERENCE), _keys(pairs, "left", "right")
    missing, extra = wanted[~wanted.isin(keys)], keys[~keys.isin(wanted)]
    findings = {
        f"of {wanted.nunique():,} pairs are missing": missing,
        "pairs are not in its list": extra,
        "pairs have several scores": keys[keys.duplicated()],
        "scores are not finite numbers": keys[~(scores["score"] < numpy.inf)],
    }
    problems = [
        f"{found.nunique():,} {words} (the first: {' and '.join(found.iloc[0])})"
        for words, found in findings.items()
        if len(found)
    ]
    if problems:
        now = f" The benchmark is now: {database.describe()}." if len(missing) * len(extra) else ""
        raise SynthDistillError(
            f"{path} does not hold the scores of {database.name}: {'; '.join(problems)}.{now} Run "
            "the evaluation again."
        )
    values = dict(zip(keys, scores["score"], strict=True))
    return pairs.assign(score=[values[key] for key in wanted])


def _read(path: Path) -> "pandas.DataFrame":
    import pandas

    try:
        # as text: names like `NA` are names, and numbers are read by Python, to the last digit
        scores = pandas.read_csv(path, dtype=str, keep_default_na=False).fillna("")
    except OSError as error:
        raise SynthDistillError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:  # pandas' errors, and text that is not UTF-8
        raise SynthDistillError(f"{path} is no score file: {str(error)[:200]!a}.") from error
    if absent := [name for name in (_PROBE, _REFERENCE, "score") if name not in scores]:
        raise SynthDistillError(
            f"{path} lacks the columns {', '.join(absent)}. Expected: the scores-dev.csv of `bob "
            "bio pipeline simple`, not Bob's four-column format."
        )
    scores["score"] = scores["score"].map(_number)
    return scores


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _keys(table: "pandas.DataFrame", one: str, other: str) -> "pandas.Series":
    """Name pairs whatever their order."""
    import pandas

    names = zip(table[one], table[other], strict=True)
    return pandas.Series([tuple(sorted(pair)) for pair in names], dtype=object)
