"""Where a measured value comes from: its score file, the model that made it, and the run's options.

A score file that was changed since, or was made with another model than the one that lies beside it
now, is refused: its value would be said of the wrong model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import SynthDistillError, read_record, sha256

EVALUATION = "evaluation.json"
"""Written beside a score file by our chained evaluation. Bob alone does not write it."""


@dataclass(frozen=True)
class Origin:
    """The files behind one score file.

    Parameters
    ----------
    scores
        The score file.
    scores_sha256
        Its hash.
    model
        The model's file, None when nothing says which it was.
    model_sha256
        Its hash, as the evaluation recorded it; without a record that of the file that lies there.
    recorded
        Whether the evaluation recorded which model it used.
    options
        ``options.json`` of the model's run, None for a model that was not trained here.
    options_sha256
        Its hash.
    """

    scores: Path
    scores_sha256: str
    model: Path | None
    model_sha256: str | None
    recorded: bool
    options: Path | None
    options_sha256: str | None


def read_evaluation(scores: Path) -> dict[str, Any] | None:
    """Read the record beside a score file.

    Returns
    -------
        What ``evaluation.json`` holds, None where there is none.

    Raises
    ------
    SynthDistillError
        It is there and cannot be read.
    """
    path = scores.with_name(EVALUATION)
    try:
        record = read_record(path)
        _check_model(record.get("model", {}))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SynthDistillError(
            f"cannot read {path}: {error}. Remove it and {scores.name}, and evaluate again."
        ) from error
    return record


def _check_model(model: Any) -> None:
    if not isinstance(model, dict) or not all(
        isinstance(model.get(name, ""), str) for name in ("path", "sha256")
    ):
        raise ValueError("it does not say which model it is about")


def trace(scores: Path, run: Path) -> Origin:
    """Find the files behind a score file, and check that they still are what made it.

    Parameters
    ----------
    scores
        ``RUN/DATABASE/scores-dev.csv``.
    run
        The run folder, which may hold ``student.safetensors`` and ``options.json``.

    Returns
    -------
        The files and their hashes.

    Raises
    ------
    SynthDistillError
        The score file was changed after it was written, or the student beside it is not the one
        that made it.
    """
    record = read_evaluation(scores)
    digest = sha256(scores)
    student = run / "student.safetensors"
    model: Path | None = student if student.is_file() else None
    model_digest = sha256(student) if model else None
    recorded = (record or {}).get("model", {})
    if record is not None:
        if record.get("scores_sha256", digest) != digest:
            raise SynthDistillError(
                f"{scores} was changed after it was written ({EVALUATION} beside it holds another "
                "hash): remove it, and evaluate again."
            )
        if model_digest and recorded.get("sha256", model_digest) != model_digest:
            raise SynthDistillError(
                f"{scores} was made with another student than {student} is now: evaluate again."
            )
        if recorded.get("path"):
            model = model or Path(recorded["path"])
            model_digest = recorded.get("sha256", model_digest)
    options = run / "options.json"
    has_options = options.is_file()
    return Origin(
        scores=scores,
        scores_sha256=digest,
        model=model,
        model_sha256=model_digest,
        recorded="sha256" in recorded,
        options=options if has_options else None,
        options_sha256=sha256(options) if has_options else None,
    )


@dataclass(frozen=True)
class TracedValue:
    """A measured cell and the files behind it.

    Parameters
    ----------
    row, column
        Where the cell stands.
    value
        What stands there, in base units.
    origins
        One for each seed.
    """

    row: str
    column: str
    value: float
    origins: Sequence[Origin]


def describe_provenance(values: Sequence[TracedValue]) -> str:
    """List where each measured cell comes from, as text.

    Parameters
    ----------
    values
        The cells.

    Returns
    -------
        A paragraph for each cell.
    """
    lines = []
    for cell in values:
        lines.append(f"{cell.row} | {cell.column}: {cell.value!r}")
        for origin in cell.origins:
            lines.append(f"  scores   {origin.scores_sha256}  {origin.scores}")
            if origin.model_sha256 is not None:
                note = "" if origin.recorded else f"  (lies there now: no {EVALUATION})"
                lines.append(f"  model    {origin.model_sha256}  {origin.model}{note}")
            else:
                lines.append(f"  model    not recorded: no {EVALUATION}, no student.safetensors")
            if origin.options is not None:
                lines.append(f"  options  {origin.options_sha256}  {origin.options}")
    return "\n".join(lines)
