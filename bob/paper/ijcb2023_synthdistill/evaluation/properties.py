"""Properties of a model other than its accuracy: what it was trained on, and what it costs."""

import csv
import json
from pathlib import Path

from ..errors import SynthDistillError
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
            described = json.loads(options.read_text(encoding="utf-8"))["options"]
            values["coefficient"] = f"{described['resampling_coefficient']:g}"
            values["images"] = Quantity(0) if described["epochs"] == 0 else None
        if log.is_file():
            with log.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            values["images"] = Quantity(int(rows[-1]["images"])) if rows else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthDistillError(
            f"cannot read what {folder} was trained with ({options.name}, {log.name}): {error!r}"
        ) from error
    return values
