"""The record beside a score file: what was evaluated on what, and whether it still is that."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from ..files import atomic_write, read_record, sha256
from .network import NetworkRecipe
from .provenance import EVALUATION

SCORES = "scores-dev.csv"
"""Name that Bob gives to the score file."""

FORMAT = 1
"""Grows when the same model, database and options would give other scores than before."""

_PACKAGES = (
    "bob.paper.ijcb2023_synthdistill",
    "bob.bio.base",
    "bob.pipelines",
    "dask",
    "numpy",
    "scipy",
    "timm",
    "torch",
)


def describe(recipe: NetworkRecipe, name: str, database: Any, mirror: bool) -> dict[str, Any]:
    """Describe an evaluation by all that its scores depend on.

    Parameters
    ----------
    recipe
        The network.
    name
        The database's name.
    database
        A Bob database.
    mirror
        Whether mirrored images are embedded too.

    Raises
    ------
    SynthDistillError
        The model's or the database's files are not there or wrong.
    """
    source = recipe.source if recipe.kind == "network" else recipe.path()
    return {
        "format": FORMAT,
        "model": {"kind": recipe.kind, "path": str(source), "sha256": recipe.fingerprint()},
        "database": {"name": name, "fingerprint": fingerprint(database)},
        "mirror": mirror,
    }


def fingerprint(database: Any) -> str:
    """Give a digest of a database: our own say one; of others the names of all samples and pairs.

    Raises
    ------
    SynthDistillError
        The database's files are not there or wrong.
    """
    if hasattr(database, "fingerprint"):
        return database.fingerprint()
    digest = hashlib.sha256()
    for sets in (database.references(group="dev"), database.probes(group="dev")):
        for one in sets:
            keys = [str(sample.key) for sample in one.samples]
            line = [str(one.template_id), keys, [str(r) for r in getattr(one, "references", ())]]
            digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def is_current(folder: Path, description: dict[str, Any]) -> bool:
    """Tell whether a folder holds the complete scores of an evaluation.

    The model's place does not matter, its content does. Versions are recorded, not compared.

    Parameters
    ----------
    folder
        ``RESULTS/MODEL/DATABASE``.
    description
        What :py:func:`describe` gives.
    """
    try:
        record = read_record(folder / EVALUATION)
        return _identity(record) == _identity(description) and (
            record["scores_sha256"] == sha256(folder / SCORES)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_record(folder: Path, description: dict[str, Any], seconds: float) -> None:
    """Write the record of the scores that lie in a folder.

    Parameters
    ----------
    folder
        ``RESULTS/MODEL/DATABASE``, with its score file.
    description
        What :py:func:`describe` gave before the evaluation.
    seconds
        How long it took.
    """
    record = {
        **description,
        "scores_sha256": sha256(folder / SCORES),
        "seconds": round(seconds, 3),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
    }
    with atomic_write(folder / EVALUATION) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _identity(record: dict[str, Any]) -> tuple:
    """Pick what makes two evaluations the same."""
    model, database = record["model"], record["database"]
    return (
        record["format"],
        record["mirror"],
        *(model[key] for key in ("kind", "sha256")),
        *(database[key] for key in ("name", "fingerprint")),
    )
