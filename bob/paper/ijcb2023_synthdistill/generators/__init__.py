"""StyleGAN2 and 3 in plain PyTorch, the safe reader of NVIDIA's pickles, and our own files.

Nothing heavy is imported before a function is called.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import SynthDistillError, reading

if TYPE_CHECKING:
    from .stylegan2 import BaseGenerator

FORMAT = "1"
"""Of our files; another number would tell older programs to refuse them."""

WHAT = "a generator as `synthdistill-convert` writes it"

OTHERS = {
    b"PK": "a zip archive (a PyTorch checkpoint?)",
    b"version https://": "a pointer of Git LFS: fetch the file itself",
    b"<": "a web page: the download asked for something first",
}
"""What people take for a generator's file, by its first bytes."""


def load_generator(path: Path | str) -> "BaseGenerator":
    """Load a generator: NVIDIA's pickle or our safetensors; the content says which, not the name.

    Nothing that a file holds is executed.

    Returns
    -------
        The generator, frozen, in evaluation mode, float32, on the CPU: a module with ``z_dim``,
        ``w_dim``, ``num_ws`` and ``resolution``, whose ``mapping`` makes ws of z and whose
        ``synthesis`` makes images of ws.
    """
    with reading(path, "a generator, such as NVIDIA's stylegan2-ffhq-256x256.pkl") as stream:
        start = stream.read(16)
    if start[8:9] == b"{":
        generator = _read_safetensors(path)
    elif start[:1] == b"\x80":  # every pickle of protocol 2 or later
        from . import nvidia

        generator = nvidia.read_generator(path)
    else:
        guesses = (name for mark, name in OTHERS.items() if start.lstrip().startswith(mark))
        raise SynthDistillError(
            f"{path} holds no generator: expected NVIDIA's pickle or a safetensors file, found "
            f"{next(guesses, f'a file that starts with {start[:8]!r}')}."
        )
    return generator.eval().requires_grad_(False)


def create_generator(generator: Any) -> Any:
    """Get a generator from a file (see :py:func:`load_generator`), or from a callable.

    Several, or pairs of one and its share, become one, a :py:class:`.Mixture`. Faces that are not
    aligned are refused.
    """
    if isinstance(generator, list | tuple):
        from .mixture import Mixture

        pairs = [one if isinstance(one, list | tuple) else (one, 1.0) for one in generator]
        return Mixture([create_generator(one) for one, _ in pairs], [share for _, share in pairs])
    made = generator() if callable(generator) else load_generator(generator)
    if not getattr(made, "aligned", True):
        raise SynthDistillError(
            f"the faces of {generator} are not aligned, as those of FFHQ-U: the crop would miss "
            "their eyes. Take a generator of FFHQ: `synthdistill-fetch generator` has five."
        )
    return made


def save_generator(path: Path | str, generator: "BaseGenerator") -> None:
    """Write a generator's weights and options as safetensors, atomically."""
    from ..weights import save_weights

    architecture = type(generator).__module__.rpartition(".")[2]
    metadata = {"architecture": architecture, "format": FORMAT, "options": generator.options}
    metadata |= {} if generator.aligned else {"aligned": "false"}
    save_weights(path, generator, metadata)


def create(architecture: str, options: dict[str, Any]) -> "BaseGenerator":
    """Make a generator without numbers (on the device ``meta``), and check that its sizes fit.

    ``architecture`` is ``stylegan2`` or ``stylegan3``, the name of its module.
    """
    import torch

    from . import stylegan2, stylegan3

    with torch.device("meta"):
        if architecture == "stylegan2":
            return stylegan2.Generator(**options)
        generator = stylegan3.Generator(**options)
        images = generator.synthesis(torch.empty(1, generator.num_ws, generator.w_dim))
        if images.shape != (1, 3, generator.resolution, generator.resolution):
            raise ValueError(f"it would give images of {list(images.shape)}")
        return generator


def _read_safetensors(path: Path | str) -> "BaseGenerator":
    from ..unpickling import explained, quoted
    from ..weights import load_weights, read_weights, shorten

    tensors, metadata = read_weights(path, WHAT)
    architecture = metadata.get("architecture", "an unnamed network")
    if architecture not in ("stylegan2", "stylegan3"):
        raise SynthDistillError(
            f"{path} is not {WHAT}: it is a safetensors file of {quoted(architecture)}, with the "
            f"tensors {shorten(map(quoted, sorted(tensors)))}."
        )
    if metadata.get("format") != FORMAT:
        raise SynthDistillError(
            f"{path} is of format '{quoted(metadata.get('format'))}', and this program reads "
            f"format {FORMAT}. Update bob.paper.ijcb2023_synthdistill."
        )
    with explained(path, WHAT):
        generator = create(architecture, json.loads(metadata["options"]))
        load_weights(generator, tensors, path)
    generator.aligned = metadata.get("aligned") != "false"
    return generator
