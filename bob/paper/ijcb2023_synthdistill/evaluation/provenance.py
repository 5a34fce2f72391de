"""What scores are of: the record that an evaluation writes beside them, and what is read from it.

The record ``scores-dev.json`` holds the network's and the benchmark's fingerprints, options and
versions, and the hash of ``scores-dev.csv``. Scores that do not match it, or are of another student
or of other pairs or images than there are now, are refused: their value would be said of the wrong
thing. Scores without a record, as other pipelines leave them, are marked as of unknown origin.
"""

import datetime
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..files import SynthDistillError, read_record, sha256, write_record
from ..machine import PROJECT, package_version

FORMAT = 1
"""Grows when the same network, benchmark and options would give other scores than before."""

PACKAGES = (PROJECT, "bob.bio.base", "numpy", "scipy", "timm", "torch")
"""Whose versions are recorded."""


def write_origin(path: Path, scores: Path, description: dict[str, Any]) -> None:
    """Write the record of scores that are about to be put at ``path``, and are at ``scores``."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"format": FORMAT, **description, "scores_sha256": sha256(scores), "written": now}
    versions = {package: package_version(package) for package in PACKAGES}
    record["versions"] = {"python": platform.python_version(), **versions}
    write_record(path.with_suffix(".json"), record)


class Origin(NamedTuple):
    """The files behind one score file, each with its hash.

    ``network`` is the network's file or name, with the hash that the evaluation recorded; without a
    ``record`` it is the student that lies there now, if one does. ``options`` is the
    ``options.json`` of its run, and ``mark`` what a table has to say of these scores, if anything.
    """

    scores: tuple[Path, str]
    network: tuple[Path | str, str] | None
    options: tuple[Path, str] | None
    record: dict[str, Any] | None
    mark: str = ""

    def describe(self) -> Iterator[str]:
        """List the files, a line for each."""
        yield f"  scores   {self.scores[1]}  {self.scores[0]}"
        if self.network is None:
            yield "  network  unknown: no record, no student.safetensors"
        else:
            note = "" if self.record else "  (lies there now; no record says what was used)"
            yield f"  network  {self.network[1]}  {self.network[0]}{note}"
        if database := (self.record or {}).get("database"):
            yield f"  images   {database['fingerprint']}  {database['description']}"
        if self.options is not None:
            yield f"  options  {self.options[1]}  {self.options[0]}"


def trace(scores: Path, run: Path, fingerprint: Callable[[], str]) -> Origin:
    """Find the files behind a score file, and check that they still are what made it.

    ``run`` may hold ``student.safetensors`` and ``options.json``; ``fingerprint`` gives the
    benchmark's, as it is now.
    """
    record, found = _read(scores.with_suffix(".json")), (scores, sha256(scores))
    here, options = _hashed(run / "student.safetensors"), _hashed(run / "options.json")
    if record is None:
        return Origin(found, here, options, None, "of unknown origin")
    network, database = record["network"], record["database"]
    problem = ""
    if record["scores_sha256"] != found[1]:
        problem = "not what its evaluation wrote: it was changed, or an evaluation ended half-way"
    elif here and here[1] != network["sha256"]:
        problem = f"of another network than {here[0]} is now: it was trained further or replaced"
    elif "fingerprint" in database and database["fingerprint"] != fingerprint():
        problem = f"of other pairs or images than {database['name']} has now (they were: "
        problem += f"{database['description']})"
    if problem:
        raise SynthDistillError(f"{scores} is {problem}. Evaluate again.")
    mark = ""
    if here is None and network["kind"] != "network":
        there = _hashed(Path(network["place"]))
        if there and there[1] != network["sha256"]:
            mark = f"of a former content of {network['place']}"
    return Origin(found, (network["place"], network["sha256"]), options, record, mark)


def _hashed(path: Path) -> tuple[Path, str] | None:
    return (path, sha256(path)) if path.is_file() else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = read_record(path)
        texts = [record["network"][name] for name in ("kind", "place", "sha256")]
        names = ("fingerprint", "name", "description") if record["database"] else ()
        texts += [record["scores_sha256"], *(record["database"][name] for name in names)]
        if not all(isinstance(text, str) for text in texts) or record["format"] != FORMAT:
            raise ValueError("it is of another form")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthDistillError(f"cannot read {path}: {error!r}. Evaluate again.") from error
    return record
