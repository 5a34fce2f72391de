"""Checkpoints: everything a resume needs, whole or absent, checked when read.

A checkpoint is a line with the format, a line with the SHA-256 of the rest, and what ``torch.save``
makes of tensors and plain values. Nothing of it is executed.
"""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from ..files import SynthDistillError, atomic_write, reading
from ..weights import load_torch

logger = logging.getLogger(__name__)

MAGIC = b"synthdistill checkpoint "
FORMAT = 2
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``last.ckpt``, and keep the one before as ``previous.ckpt``.

    After the first there is at least one whole checkpoint in the folder at any moment.

    Parameters
    ----------
    folder
        The run folder.
    state
        Tensors and plain values only.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    digest = hashlib.sha256(payload).hexdigest()
    with atomic_write(folder / LAST) as temporary:
        with temporary.open("wb") as stream:
            stream.write(MAGIC + f"{FORMAT}\n{digest}\n".encode())
            stream.write(payload)
        _keep_previous(folder)


def _keep_previous(folder: Path) -> None:
    """Give the present ``last.ckpt`` a second name, if it is a sound one."""
    last, previous = folder / LAST, folder / PREVIOUS
    try:
        _read_payload(last)
    except SynthDistillError:
        return  # there is none, or a damaged one, which must not take the place of a sound one
    spare = folder / f".{PREVIOUS}.link"
    spare.unlink(missing_ok=True)
    try:
        spare.hardlink_to(last)
    except OSError:
        # a file system without hard links: the rename leaves a moment with only `previous`
        last.replace(previous)
        return
    spare.replace(previous)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the newest sound checkpoint of a run folder; None where none was ever written."""
    reasons = []
    for name in (LAST, PREVIOUS):
        if not (folder / name).exists():
            continue
        try:
            state = read_checkpoint(folder / name)
        except SynthDistillError as error:
            logger.warning("%s", error.message)
            reasons.append(error.message)
            continue
        if reasons:
            logger.warning("going on from %s instead", name)
        return state
    if reasons:
        raise SynthDistillError(
            f"no sound checkpoint in {folder}: {'; '.join(reasons)}. Restore one from a backup, "
            "or remove these files to start the run again."
        )
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint file and check it against its own checksum."""
    state = load_torch(io.BytesIO(_read_payload(path)), path, "a checkpoint")
    if not isinstance(state, dict) or not isinstance(state.get("iteration"), int):
        raise SynthDistillError(f"{path} holds something else than the state of a run")
    return state


def _read_payload(path: Path) -> bytes:
    with reading(path, "a checkpoint of synthdistill-train") as stream:
        magic, digest, payload = stream.readline(64), stream.readline(80), stream.read()
    version = magic.removeprefix(MAGIC).strip().decode("ascii", "replace")
    if not magic.startswith(MAGIC) or not magic.endswith(b"\n"):
        raise SynthDistillError(f"{path} is not a checkpoint of synthdistill-train")
    if version != str(FORMAT):
        raise SynthDistillError(
            f"{path} has format {version}, this version of the package reads format {FORMAT}: go "
            "on with the version that began the run (options.json names it), or choose another "
            "folder"
        )
    if hashlib.sha256(payload).hexdigest().encode() != digest.strip():
        raise SynthDistillError(f"{path} is truncated or corrupted: its checksum does not fit")
    return payload
