"""Files: the one exception for users, whole or nothing when writing, and where things lie."""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import click

TEMPORARY = ".tmp"
"""How the names of files end that are still being written."""

CONFIGURATION = "bobrc.toml"
"""Bob's configuration file, in ``$XDG_CONFIG_HOME`` (by default ``~/.config``)."""

GENERATOR = "bob.paper.ijcb2023_synthdistill.generator"
TEACHER = "bob.paper.ijcb2023_synthdistill.teacher"
STUDENT = "bob.paper.ijcb2023_synthdistill.student"
ONNX = "bob.paper.ijcb2023_synthdistill.onnx"
DETECTOR = "bob.paper.ijcb2023_synthdistill.detector"
"""Keys for ``bob config set KEY PATH``; those of the benchmarks stand with the benchmarks."""


class SynthDistillError(click.ClickException):
    """A mistake or an accident that the user can mend.

    The message says what was expected, what was found, where, and what to do next. As a
    :py:class:`click.ClickException` it ends our commands *and* Bob's with these words and status 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Escape control characters: names that strangers gave must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of ``names`` a mistyped one may have meant: a sentence, or nothing."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a path beside ``path`` for a new file or folder, which on success becomes ``path``.

    If the body raises, ``path`` keeps its old content. Its folder is made if there is none.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        with contextlib.suppress(OSError):  # so that the rename survives a power cut
            _flush(path.parent)
    except OSError as error:
        raise SynthDistillError(
            f"cannot write {path}: {error.strerror or error}. Nothing that was there is lost: "
            "make room or choose another folder, and run the same command again."
        ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(NotADirectoryError):
                temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that nobody else writes to."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def reading(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """Open a user's file to read its bytes; ``what`` (with its article) is expected there."""
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SynthDistillError(
            f"cannot read {path}: {error.strerror or error}. Expected {what}: correct the path."
        ) from error
    with stream:
        yield stream


def sha256(path: Path | str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; raise ``OSError`` or ``ValueError``."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"an object was expected, not {type(record).__name__}")
    return record


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write an object as a JSON file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def configured_path(key: str) -> Path | None:
    """Look up a path that ``bob config set KEY PATH`` wrote: existing or not, None if not set."""
    value = _configuration().get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise SynthDistillError(
            f"expected a path under {key} in Bob's configuration, found {value!r}. Set it with "
            f"`bob config set {key} PATH`."
        )
    return None if value is None else Path(value).expanduser()


def require_path(key: str, what: str) -> Path:
    """Look up a path that must be set and exist; ``what`` it leads to is for the message."""
    path = configured_path(key)
    if path is None:
        raise SynthDistillError(
            f"it is not known where {what} is. Tell with `bob config set {key} PATH`; "
            "`synthdistill-fetch --check` shows all that is missing."
        )
    if not path.exists():
        raise SynthDistillError(
            f"expected {what} at {path}, but there is nothing. Tell where it is with `bob config "
            f"set {key} PATH`."
        )
    return path


def configure_path(key: str, path: Path) -> Path:
    """Set a key as ``bob config set`` does, to an absolute path; give the configuration file."""
    defaults = _configuration()
    try:
        defaults[key] = str(path.expanduser().absolute())
    except KeyError as error:
        raise SynthDistillError(
            f"cannot set {key} in {defaults.path}: {error.args[0]}. Correct the file in an editor."
        ) from error
    # clapper's own write() moves the file away first and expects the folder to exist
    with atomic_write(defaults.path) as temporary:
        temporary.write_text(str(defaults), encoding="utf-8")
    return defaults.path


def _configuration() -> Any:
    """Read Bob's configuration file, as Bob does but without importing Bob."""
    from clapper.rc import UserDefaults

    try:
        return UserDefaults(CONFIGURATION)
    except (ValueError, TypeError, OSError) as error:
        raise SynthDistillError(
            f"cannot read Bob's configuration file {CONFIGURATION} (in $XDG_CONFIG_HOME or "
            f"~/.config): {error}. Correct it in an editor."
        ) from error


def bob_pipeline(
    what: str, kind: str, file: str, name: str = "pipeline.py", imports: str = "", network: str = ""
) -> str:
    """Write the config module ``name``, for Bob, of the model in ``file`` beside it.

    ``kind`` is ``student`` or ``onnx``; ``imports`` and ``network`` are the code that makes a
    network of the user's own.
    """
    return f'''"""{what} for Bob: `bob bio pipeline simple -p {name} ...`."""

import inspect
from pathlib import Path
{imports}
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import {kind}_pipeline

# Bob loads configurations without __file__: the code itself knows where it stands
_here = Path(inspect.currentframe().f_code.co_filename).resolve().parent

pipeline = {kind}_pipeline(_here / "{file}"{network})
'''
