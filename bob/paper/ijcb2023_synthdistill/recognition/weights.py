"""Weights of recognisers in files: read without executing anything, checked against a network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from .. import unpickling
from ..errors import SynthDistillError
from ..files import atomic_write, is_safetensors, read_safetensors, reading, safetensors_bytes
from ..torch_files import read_torch

WRAPPERS = ("state_dict", "state_dict_backbone", "model")
"""Keys under which training scripts (InsightFace's, Lightning's, timm's) nest the state dict."""

LISTED = 8
"""Names that an error message lists before it says how many more there are."""

State = dict[str, torch.Tensor]


def read_weights(path: Path, what: str) -> tuple[State, dict[str, str]]:
    """Read a state dict from a safetensors file or a torch file, told apart by their content.

    Parameters
    ----------
    path
        The file.
    what
        What is expected in it, for messages, such as "a teacher".

    Returns
    -------
        Tensors by name, on the CPU, and the metadata (empty for a torch file).

    Raises
    ------
    SynthDistillError
        There is no such file, it is damaged, it holds something other than named tensors, or it is
        a pickle that asks for code.
    """
    with reading(path, what) as stream:
        if is_safetensors(stream.read(9)):
            return read_safetensors(path, what)
        stream.seek(0)
        return parse_torch(stream, path, what), {}


def parse_torch(content: BinaryIO, path: Path, what: str) -> State:
    """Read a state dict from a torch file; nothing of it is executed.

    Parameters
    ----------
    content
        The content, readable in any order.
    path
        The file, for messages.
    what
        What is expected in it, for messages.

    Returns
    -------
        Tensors by name, on the CPU, out of the wrappers that training scripts put around them.

    Raises
    ------
    SynthDistillError
        As :py:func:`read_weights`.
    """
    form = f"{what} (safetensors, or what `torch.save(model.state_dict(), PATH)` writes)"
    found = unpickling.run(lambda: read_torch(content), path=path, what=form)
    return _plain(found, path, what)


def _plain(found: Any, path: Path, what: str) -> State:
    """Take the state dict out of its wrappers and remove the prefix of parallel training."""
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items())
    ):
        raise SynthDistillError(
            f"expected {what} in {path}: a state dict, i.e. tensors by name; found "
            f"{_describe(found)}. Save it with `torch.save(model.state_dict(), PATH)`."
        )
    if all(name.startswith("module.") for name in found):
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return dict(found)


def _describe(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a dictionary with {shorten(list(map(str, found)))}" if found else "an empty one"
    return f"a {type(found).__name__}"


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy a state dict into a network, after checking that it is the network's.

    The counters of batch norms (``num_batches_tracked``) may be absent: they are of no use.

    Parameters
    ----------
    network
        Built; if on the meta device, it is moved to the CPU.
    state
        Tensors by name; floating-point ones are converted to the network's type.
    path
        Where they come from, for messages.

    Raises
    ------
    SynthDistillError
        Names are missing or too many, shapes differ, or values are not finite. The network is as
        it was.
    """
    check_weights(network, state, path)
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        network.to_empty(device="cpu")
    counters = {
        name: torch.zeros_like(t) for name, t in network.state_dict().items() if name not in state
    }
    network.load_state_dict({**state, **counters})


def check_weights(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Check that a state dict is the network's, which may be on the meta device.

    Raises
    ------
    SynthDistillError
        Names are missing or too many, shapes differ, or values are not finite.
    """
    expected = network.state_dict()
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in expected]
    misshaped = [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or extra or misshaped:
        faults = [
            f"{len(names)} {kind}: {shorten(names)}"
            for kind, names in (
                ("missing", missing),
                ("too many", extra),
                ("of another shape", misshaped),
            )
            if names
        ]
        raise SynthDistillError(
            f"the tensors in {path} are not those of this network. {'; '.join(faults)}. Check "
            "that the file is the right one."
        )
    broken = [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise SynthDistillError(
            f"{path} holds values that are not finite, in {shorten(broken)}: it comes from a "
            "training that diverged, or is damaged. Take another file."
        )


def shorten(names: list[str]) -> str:
    """List the first names and say how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def save_weights(path: Path, network: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write a network's state dict as safetensors, atomically.

    Parameters
    ----------
    path
        The file to write.
    network
        Its tensors are written in their own type, in the usual memory layout.
    metadata
        Text as it is, other values as JSON.

    Raises
    ------
    SynthDistillError
        The file cannot be written; what was there is kept.
    """
    state = {
        # a copy of its own for each: safetensors refuses shared memory
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    content = safetensors_bytes(state, text)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def check_format(metadata: Mapping[str, str], name: str, version: int, path: Path) -> None:
    """Refuse a safetensors file of another format, or of another version of it.

    Parameters
    ----------
    metadata
        Of the file.
    name, version
        The format that is expected.
    path
        The file, for messages.

    Raises
    ------
    SynthDistillError
        The format is another one, or none.
    """
    found = metadata.get("format")
    if found != name:
        described = f"the format {found!r}" if found and found != "pt" else "no format of ours"
        raise SynthDistillError(
            f"expected a file of the format {name!r} at {path}; its metadata names {described}. "
            "It is another network's file: correct the path."
        )
    if metadata.get("format_version") != str(version):
        raise SynthDistillError(
            f"{path} is of version {metadata.get('format_version')} of the format {name!r}; this "
            f"release reads version {version}. Install the release of this package that wrote it, "
            "or make the file again."
        )
