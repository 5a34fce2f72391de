"""Where a measured value comes from: its score file, the model that made it, and the run's options.

A score file that was changed since, or was made with another model than the one that lies beside it
now, is refused: its value would be said of the wrong model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import SynthDistillError, read_record, sha256

EVALUATION = "evaluation.json"
"""Written beside a score file by our chained evaluation. Bob alone does not write it."""


@dataclass(frozen=True)
class Origin:
    """The files behind one score file, each with its hash; None where there is none.

    Parameters
    ----------
    scores
        The score file.
    model
        The model's file, with the hash that the evaluation recorded.
    recorded
        Whether the evaluation recorded which model it used; otherwise that is the file that lies
        there now.
    options
        ``options.json`` of the model's run.
    """

    scores: tuple[Path, str]
    model: tuple[Path, str] | None
    recorded: bool
    options: tuple[Path, str] | None


@dataclass(frozen=True)
class TracedValue:
    """A measured cell (its row, its column, what stands there in base units) and its origins."""

    row: str
    column: str
    value: float
    origins: Sequence[Origin]


def trace(scores: Path, run: Path) -> Origin:
    """Find the files behind a score file, and check that they still are what made it.

    Parameters
    ----------
    scores
        ``RUN/DATABASE/scores-dev.csv``.
    run
        The run folder, which may hold ``student.safetensors`` and ``options.json``.
    """
    record = _read(scores)
    found, student, options = _hashed(scores), run / "student.safetensors", run / "options.json"
    model = _hashed(student) if student.is_file() else None
    recorded = record.get("model", {})
    if record.get("scores_sha256", found[1]) != found[1]:
        raise SynthDistillError(
            f"{scores} was changed after it was written ({EVALUATION} beside it holds another "
            "hash): remove it, and evaluate again."
        )
    if model and recorded.get("sha256", model[1]) != model[1]:
        raise SynthDistillError(
            f"{scores} was made with another student than {student} is now: evaluate again."
        )
    if "sha256" in recorded:
        model = (model[0] if model else Path(recorded.get("path", "?")), recorded["sha256"])
    return Origin(
        found, model, "sha256" in recorded, _hashed(options) if options.is_file() else None
    )


def _hashed(path: Path) -> tuple[Path, str]:
    return path, sha256(path)


def _read(scores: Path) -> dict[str, Any]:
    path = scores.with_name(EVALUATION)
    try:
        record = read_record(path)
        model = record.get("model", {})
        if not all(isinstance(model.get(name, ""), str) for name in ("path", "sha256")):
            raise TypeError("it does not say which model it is about")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SynthDistillError(
            f"cannot read {path}: {error}. Remove it and {scores.name}, and evaluate again."
        ) from error
    return record


def describe_provenance(values: Iterable[TracedValue]) -> str:
    """List where each measured cell comes from, a paragraph for each."""
    lines = []
    for cell in values:
        lines.append(f"{cell.row} | {cell.column}: {cell.value!r}")
        for origin in cell.origins:
            lines.append(f"  scores   {origin.scores[1]}  {origin.scores[0]}")
            if origin.model is not None:
                note = "" if origin.recorded else f"  (lies there now: no {EVALUATION})"
                lines.append(f"  model    {origin.model[1]}  {origin.model[0]}{note}")
            else:
                lines.append(f"  model    not recorded: no {EVALUATION}, no student.safetensors")
            if origin.options is not None:
                lines.append(f"  options  {origin.options[1]}  {origin.options[0]}")
    return "\n".join(lines)
