"""Our own file of a generator: safetensors, with all that is needed to build the network."""

import json
from pathlib import Path
from typing import Any

import torch

from .. import unpickling
from ..files import SynthDistillError, atomic_write
from ..weights import read_weights, safetensors_bytes
from .stylegan2 import Generator

ARCHITECTURE = "stylegan2"
FORMAT = 1
"""Number of the format of our files; it grows when older programs could not read newer files."""

WHAT = "a generator as `synthdistill-convert` writes it"

OPTIONS: dict[str, tuple[type, ...]] = {
    "z_dim": (int,),
    "w_dim": (int,),
    "resolution": (int,),
    "channel_base": (int,),
    "channel_max": (int,),
    "mapping_layers": (int,),
    "mapping_multiplier": (int, float),
    "conv_clamp": (int, float, type(None)),
    "num_fp16_res": (int,),
}
"""The options of a generator in a file's metadata, and their types."""


def save_generator(path: Path | str, generator: Generator) -> None:
    """Write a generator as safetensors, atomically.

    Parameters
    ----------
    path
        The file to write.
    generator
        The generator. Its options and weights are written; a precision chosen by
        :py:meth:`~.stylegan2.Generator.half_in` is not.

    Raises
    ------
    SynthDistillError
        The file cannot be written.
    """
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in generator.state_dict().items()
    }
    metadata = {
        "architecture": ARCHITECTURE,
        "format": str(FORMAT),
        "options": json.dumps(generator.options),
    }
    content = safetensors_bytes(tensors, metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def read_generator(path: Path | str) -> Generator:
    """Read a generator that :py:func:`save_generator` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
        The generator, in float32 on the CPU.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is damaged, or holds another network.
    """
    return unpickling.run(lambda: _read(path), path=path, what=WHAT)


def _read(path: Path | str) -> Generator:
    tensors, metadata = read_weights(path, WHAT)
    options = _check(metadata, list(tensors), path)
    with torch.device("meta"):
        generator = Generator(**options)
    return fill(generator, tensors, path)


def _check(metadata: dict[str, str], names: list[str], path: Path | str) -> dict[str, Any]:
    """Check what the metadata say, and give the options of the network."""
    if metadata.get("architecture") != ARCHITECTURE:
        found = metadata.get("architecture")
        raise SynthDistillError(
            f"{path} is not {WHAT}: it is a safetensors file of "
            f"{ascii(found)[:60] if found else 'an unnamed network'}, with {len(names)} tensors "
            f"(first: {', '.join(map(ascii, sorted(names)[:3]))})."
        )
    number = metadata.get("format", "")
    if not number.isdecimal() or int(number) > FORMAT:
        raise SynthDistillError(
            f"{path} is of format {number[:20]!a}, and this program reads formats up to {FORMAT}. "
            "Update bob.paper.ijcb2023_synthdistill."
        )
    options = json.loads(metadata["options"])
    if not isinstance(options, dict) or options.keys() != OPTIONS.keys():
        raise ValueError(f"its options are not {', '.join(OPTIONS)}")
    for name, types in OPTIONS.items():
        if type(options[name]) not in types:
            raise ValueError(f"its {name} is of type {type(options[name]).__name__}")
    # layers are built before they are compared with the file: no more than it can fill
    if options["mapping_layers"] > len(names) or options["resolution"] > 2 ** len(names):
        raise ValueError("its options ask for more layers than it has tensors")
    return options


def fill(generator: Generator, tensors: dict[str, torch.Tensor], path: Path | str) -> Generator:
    """Put tensors in a generator that was built without any (on the device ``meta``).

    Parameters
    ----------
    generator
        The network: its parameters and buffers say what must be there.
    tensors
        Name to tensor; they are used, not copied.
    path
        Where they come from, for the message.

    Returns
    -------
        The same generator.

    Raises
    ------
    SynthDistillError
        Tensors are missing, left over, of another shape, or not finite.
    """
    expected = generator.state_dict()
    wrong = [
        f"{name} is {list(tensors[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    problems = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unknown": sorted(map(ascii, tensors.keys() - expected.keys())),
        "of another shape": wrong,
        "not finite": [name for name, tensor in tensors.items() if not _is_finite(tensor)],
    }
    if any(problems.values()):
        words = "; ".join(
            f"{len(names)} {problem}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for problem, names in problems.items()
            if names
        )
        raise SynthDistillError(
            f"{path} holds tensors that do not make a StyleGAN2 of {generator.resolution}x"
            f"{generator.resolution} pixels: {words}."
        )
    generator.load_state_dict(
        {name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True
    )
    return generator


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
