"""StyleGAN2 in plain PyTorch, the safe reader of NVIDIA's pickles, and our own files of it.

Nothing heavy is imported before a function is called.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stylegan2 import Generator


def load_generator(path: Path | str) -> "Generator":
    """Load a generator: NVIDIA's pickle or our safetensors; the content says which, not the name.

    Nothing that a file holds is executed.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
        The generator, frozen, in evaluation mode, float32, on the CPU: a module with ``z_dim``,
        ``w_dim``, ``num_ws`` and ``resolution``, whose ``mapping`` makes ws of z and whose
        ``synthesis`` makes images of ws.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is damaged or hostile, or holds another network.
    """
    from .loading import load_generator

    return load_generator(path)


def save_generator(path: Path | str, generator: "Generator") -> None:
    """Write a generator as safetensors, atomically.

    Parameters
    ----------
    path
        The file to write.
    generator
        The generator; its options are written with its weights.

    Raises
    ------
    SynthDistillError
        The file cannot be written.
    """
    from .weights import save_generator

    save_generator(path, generator)
