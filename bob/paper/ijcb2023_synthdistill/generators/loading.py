"""Recognise a generator's file by its content, and load it."""

from pathlib import Path

from ..files import SynthDistillError, reading
from . import nvidia, weights
from .stylegan2 import Generator


def load_generator(path: Path | str) -> Generator:
    """Load a generator: see :py:func:`bob.paper.ijcb2023_synthdistill.generators.load_generator`.

    Parameters
    ----------
    path
        NVIDIA's pickle or our safetensors.

    Returns
    -------
        The generator, frozen, in evaluation mode, float32, on the CPU.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is damaged or hostile, or holds another network.
    """
    with reading(path, "a generator, such as NVIDIA's stylegan2-ffhq-256x256.pkl") as stream:
        start = stream.read(16)
    if start[8:9] == b"{":
        generator = weights.read_generator(path)
    elif start[:1] == b"\x80":  # every pickle of protocol 2 or later
        generator = nvidia.read_generator(path)
    else:
        raise SynthDistillError(
            f"{path} holds no generator: expected NVIDIA's pickle or a safetensors file, found "
            f"{_guess(start)}."
        )
    return generator.eval().requires_grad_(False)


def _guess(start: bytes) -> str:
    """Name what a file seems to be, from its first bytes."""
    if not start:
        return "an empty file"
    if start.startswith(b"PK"):
        return "a zip archive (a PyTorch checkpoint?)"
    if start.startswith(b"version https://"):
        return "a pointer of Git LFS: fetch the file itself"
    if start.lstrip().startswith(b"<"):
        return "a web page: the download asked for something first"
    return f"a file that starts with {start[:8]!r}"
