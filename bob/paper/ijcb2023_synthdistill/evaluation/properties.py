"""Properties of a model other than its accuracy: what it was trained on, and what it costs."""

import contextlib
import csv
import dataclasses
import platform
from pathlib import Path
from typing import Literal

from ..files import SynthDistillError, read_record
from .tables import Quantity


def run_properties(folder: Path) -> dict[str, Quantity | str | None]:
    """Read from a run folder what the model was trained with.

    Parameters
    ----------
    folder
        Holds ``options.json`` and ``log.csv``, if the model was trained here.

    Returns
    -------
        ``images``: generated images that the student learned from, fresh and re-sampled, as logged;
        ``coefficient``: of the re-sampling. Empty for a model that was not trained here.

    Raises
    ------
    SynthDistillError
        A file is there and cannot be read.
    """
    options, log = folder / "options.json", folder / "log.csv"
    values: dict[str, Quantity | str | None] = {}
    try:
        if options.is_file():
            described = read_record(options)["options"]
            values["coefficient"] = f"{described['resampling_coefficient']:g}"
            values["images"] = Quantity(0) if described["epochs"] == 0 else None
        if log.is_file():
            with log.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            values["images"] = Quantity(int(rows[-1]["images"])) if rows else None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SynthDistillError(
            f"cannot read what {folder} was trained with ({options.name}, {log.name}): {error!r}"
        ) from error
    return values


def model_properties(
    path: Path, kind: Literal["student", "teacher"], *, timed: bool = False
) -> dict[str, Quantity | str | None]:
    """Count, and if asked for time, what a model costs.

    Parameters
    ----------
    path
        Its file.
    kind
        What the file is.
    timed
        Whether the time of one image is measured: one thread, batch 1, on this CPU.

    Returns
    -------
        ``parameters``, ``multiply_adds``, ``file_size`` in bytes and, when timed, ``seconds``.

    Raises
    ------
    SynthDistillError
        The file cannot be read.
    """
    from .complexity import measure_complexity

    if kind == "student":
        from ..recognition.student import load_student as load
    else:
        from ..recognition.teacher import load_teacher as load  # type: ignore[assignment]
    found = measure_complexity(load(path), path, timed)
    return {
        name: None if value is None else Quantity(float(value))
        for name, value in dataclasses.asdict(found).items()
    }


COMPLEXITY_NOTE = (
    "Multiply-adds: of convolutions and matrix products, for one 112x112 image, counted by torch's "
    "FLOP counter and halved; one multiplication with its addition is one."
)
TIME_NOTE = "ms an image: median of 50 passes with one thread and batch 1 on {machine}."


def property_notes(properties: set[str]) -> list[str]:
    """Give the sentences that a table with these columns needs."""
    notes = [COMPLEXITY_NOTE] if "multiply_adds" in properties else []
    if "seconds" in properties:
        notes.append(TIME_NOTE.format(machine=_processor()))
    if "mflops" in properties:
        notes.append(
            "MFLOPs are printed as their source does: sources differ in whether a multiply-add is "
            "one or two."
        )
    return notes


def _processor() -> str:
    """Name this machine's CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
