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
FORMAT = b"2\n"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``last.ckpt``; the one before becomes ``previous.ckpt``.

    From the first on there is a whole one in the folder at any moment.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    last = folder / LAST
    with atomic_write(last) as temporary:
        with temporary.open("wb") as stream:
            stream.write(MAGIC + FORMAT + hashlib.sha256(payload).hexdigest().encode() + b"\n")
            stream.write(payload)
        if last.exists():
            last.replace(folder / PREVIOUS)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the newest sound checkpoint of a run folder; None where none was ever written."""
    reasons = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists():
            try:
                state = read_checkpoint(path)
            except SynthDistillError as error:
                logger.warning("%s", error.message)
                reasons.append(error.message)
            else:
                if reasons:
                    logger.warning("going on from %s instead", path.name)
                return state
    if reasons:
        raise SynthDistillError(
            f"no sound checkpoint in {folder}: {'; '.join(reasons)}. Restore one from a backup, "
            "or remove these files to start the run again."
        )
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint file and check it against its own checksum."""
    with reading(path, "a checkpoint of synthdistill-train") as stream:
        magic, digest, payload = stream.readline(64), stream.readline(80), stream.read()
    if not magic.startswith(MAGIC):
        raise SynthDistillError(f"{path} is not a checkpoint of synthdistill-train")
    if magic != MAGIC + FORMAT:
        raise SynthDistillError(
            f"{path} is a checkpoint of another format: go on with the version of the package that "
            "began the run (options.json names it), or choose another folder"
        )
    if hashlib.sha256(payload).hexdigest().encode() != digest.strip():
        raise SynthDistillError(f"{path} is truncated or corrupted: its checksum does not fit")
    state = load_torch(io.BytesIO(payload), path, "a checkpoint")
    if not isinstance(state, dict) or not isinstance(state.get("epoch"), int):
        raise SynthDistillError(f"{path} holds something else than the state of a run")
    return state
