"""StyleGAN2 and 3 in plain PyTorch, the safe reader of NVIDIA's pickles, and our own files.

Nothing heavy is imported before a function is called.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import SynthDistillError, reading

if TYPE_CHECKING:
    from ..weights import State
    from . import stylegan2, stylegan3

    Generator = stylegan2.Generator | stylegan3.Generator

FORMAT = 1
"""Number of the format of our files; it grows when older programs could not read newer files."""

REAL = ("mapping_multiplier", "conv_clamp", "output_scale", "input_rate")
"""The options that are no whole numbers."""

WHAT = "a generator as `synthdistill-convert` writes it"


def load_generator(path: Path | str) -> "Generator":
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
        raise SynthDistillError(
            f"{path} holds no generator: expected NVIDIA's pickle or a safetensors file, found "
            f"{_guess(start)}."
        )
    return generator.eval().requires_grad_(False)


def save_generator(path: Path | str, generator: "Generator") -> None:
    """Write a generator's weights and options as safetensors, atomically."""
    from ..weights import save_weights

    architecture = type(generator).__module__.rpartition(".")[2]
    metadata = {"architecture": architecture, "format": str(FORMAT), "options": generator.options}
    save_weights(path, generator, metadata)


def create(architecture: str, options: dict[str, Any]) -> "Generator":
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


def _read_safetensors(path: Path | str) -> "Generator":
    from ..unpickling import explained
    from ..weights import load_weights, read_weights

    tensors, metadata = read_weights(path, WHAT)
    with explained(path, WHAT):
        options = _check_options(metadata, tensors, path)
        generator = create(metadata["architecture"], options)
        if generator.options != options:
            raise ValueError(f"its options are not {', '.join(generator.options)}")
        load_weights(generator, tensors, path)
    return generator


def _check_options(metadata: dict[str, str], tensors: "State", path: Path | str) -> dict[str, Any]:
    """Check what the metadata say, and give the options of the network."""
    from ..unpickling import quoted
    from ..weights import shorten

    if (found := metadata.get("architecture")) not in ("stylegan2", "stylegan3"):
        raise SynthDistillError(
            f"{path} is not {WHAT}: it is a safetensors file of "
            f"{quoted(found) if found else 'an unnamed network'}, with the tensors "
            f"{shorten(map(quoted, sorted(tensors)))}."
        )
    number = metadata.get("format", "")
    if not number.isdecimal() or int(number) > FORMAT:
        raise SynthDistillError(
            f"{path} is of format '{quoted(number)}', and this program reads formats up to "
            f"{FORMAT}. Update bob.paper.ijcb2023_synthdistill."
        )
    options = json.loads(metadata["options"])
    for name, value in options.items():
        if name == "layers" and isinstance(value, list):
            continue  # they are checked where they are made
        real = name in REAL and type(value) is float
        whole = type(value) is int or (name == "conv_clamp" and value is None)
        if not whole and not (real and math.isfinite(value)):
            raise ValueError(f"its {name} is {value!r}")
    # layers are built before they are compared with the file: no more than it can fill
    layers = max(options["mapping_layers"], len(options.get("layers", [])))
    if layers > len(tensors) or options["resolution"] > 2 ** len(tensors):
        raise ValueError("its options ask for more layers than it has tensors")
    return options


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
