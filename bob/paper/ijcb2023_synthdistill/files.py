"""Write files so that a reader never sees half of one, and name them by their content."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import torch

from .errors import SynthDistillError

TEMPORARY = ".tmp"
"""How the names of files end that are not written to their end."""

MAX_RECORD = 16 * 2**20
"""Bytes of the longest JSON file that is read: ours have a few thousand."""


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success flush it and rename it to ``path``.

    The temporary file is removed when the body raises, and ``path`` keeps its old content.

    Parameters
    ----------
    path
        The file to write. Its folder is made if it does not exist.

    Yields
    ------
        The temporary path, in the same folder (so that the rename is atomic).

    Raises
    ------
    SynthDistillError
        The folder or the file cannot be written: not permitted, disk full, a file in the way.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent
        )
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner can read: give them what a plain open would
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise SynthDistillError(
            f"cannot write {path}: {error.strerror or error}. Nothing that was there is lost: "
            "make room or choose another folder, and run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def reading(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """Open a file of the user's to read its bytes.

    Parameters
    ----------
    path
        The file.
    what
        What is expected there, with its article, for the message.

    Raises
    ------
    SynthDistillError
        It cannot be opened.
    """
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SynthDistillError(
            f"cannot read {path}: {error.strerror or error}. Expected {what}: correct the path."
        ) from error
    with stream:
        yield stream


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that nobody else writes to."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's entry, so that a rename survives a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(path: Path | str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """Read a small JSON file that holds an object.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is much too large, no JSON, or holds something else.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_RECORD + 1)
    if len(content) > MAX_RECORD:
        raise ValueError(f"more than {MAX_RECORD:,} bytes")
    try:
        record = json.loads(content.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError(f"an object was expected, not {type(record).__name__}")
    return record


def is_safetensors(start: bytes) -> bool:
    """Tell by the first bytes of a file: the length of a header in JSON, and the header."""
    return start[8:9] == b"{"


def read_safetensors(
    path: Path | str, what: str
) -> tuple[dict[str, "torch.Tensor"], dict[str, str]]:
    """Read a safetensors file.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, with its article, for messages.

    Returns
    -------
        Tensors by name, on the CPU, and the metadata.

    Raises
    ------
    SynthDistillError
        The file cannot be read or is damaged.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {ascii(str(error))[1:-1]}. "
            "Download or copy it again."
        ) from error


def safetensors_bytes(tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str]) -> bytes:
    """Serialise tensors and metadata as safetensors: the same content gives the same bytes.

    The library writes metadata in an order that changes from call to call.

    Parameters
    ----------
    tensors
        Tensors by name, contiguous.
    metadata
        Text by name.

    Returns
    -------
        The content of a safetensors file.
    """
    import safetensors.torch

    content = safetensors.torch.save(dict(tensors), dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # tensor data begins at a multiple of 8 bytes
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]
