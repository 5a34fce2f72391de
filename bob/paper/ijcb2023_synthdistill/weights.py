"""Weights in files: read without executing anything, checked against the network they are for."""

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from .files import SynthDistillError, atomic_write, reading
from .unpickling import quoted

WRAPPERS = ("state_dict", "state_dict_backbone", "model")
"""Keys under which training scripts (InsightFace's, Lightning's, timm's) nest the state dict."""

LISTED = 8
"""Names that an error message lists before it says how many more there are."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

State = dict[str, torch.Tensor]


def read_weights(path: Path | str, what: str) -> tuple[State, dict[str, str]]:
    """Read a state dict from a safetensors file or a torch file; the content says which it is.

    Gives tensors by name, on the CPU, and the metadata (empty for a torch file). ``what`` says
    what is expected, such as "a teacher", for messages.
    """
    import safetensors

    with reading(path, what) as stream:
        # a length of 8 bytes, then a header in JSON
        if stream.read(9)[8:] != b"{":
            stream.seek(0)
            return parse_torch(stream, path, what), {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {quoted(error)}. Download or "
            "copy it again."
        ) from error


def parse_torch(stream: BinaryIO, path: Path | str, what: str) -> State:
    """Read a state dict that ``torch.save`` wrote, out of the wrappers of training scripts.

    As :py:func:`read_weights`, from a seekable stream; ``path`` is for messages.
    """
    found = load_torch(stream, path, what)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items())
    ):
        described = f"a {type(found).__name__}"
        if isinstance(found, Mapping):
            described = f"a dictionary with {shorten(map(quoted, found)) or 'nothing'}"
        raise SynthDistillError(
            f"expected {what} in {path}: tensors by name; found {described}. Give another file."
        )
    if all(name.startswith("module.") for name in found):  # parallel training
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return dict(found)


def load_torch(stream: BinaryIO, path: Path | str, what: str) -> Any:
    """Read tensors and plain values that ``torch.save`` wrote; nothing of it is executed."""
    try:
        return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message explains how to load it unsafely
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for the code `{quoted(asked[1])}`" if asked else "it holds other things"
        raise SynthDistillError(
            f"{path} is not {what}, or it is damaged: {reason} where only tensors and plain values "
            "belong. Nothing of it was executed. Get a file that holds weights alone, such as "
            "safetensors or a state dict."
        ) from error
    except Exception as error:  # damaged bytes can fail in any way
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {type(error).__name__}. "
            "Download or copy it again."
        ) from error


def check_weights(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path | str) -> None:
    """Check that a state dict is the network's (which may be on the meta device) and makes sense.

    Counters of batch norms may be absent. All else must be there, of the right shape, floating
    point where the network is, finite; variances must not be negative.
    """
    expected = network.state_dict()
    real = {n for n, t in expected.items() if t.is_floating_point() and n in state}
    faults = {
        "missing": [
            n for n in expected if n not in state and not n.endswith("num_batches_tracked")
        ],
        "too many": [quoted(name) for name in state if name not in expected],
        "of another shape": [
            f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ],
        "not floating-point numbers": [
            n for n in real if state[n].dtype not in FLOATS or state[n].layout != torch.strided
        ],
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(n)} {kind}: {shorten(sorted(n))}" for kind, n in faults.items() if n
        )
        raise SynthDistillError(
            f"the tensors in {path} are not those of this network. {told}. Check that the file is "
            "the right one."
        )
    # as they will be in the network: a large float64 becomes infinite there
    broken = [n for n in real if not state[n].to(expected[n].dtype).isfinite().all()]
    negative = [n for n in real if n.endswith("running_var") and (state[n] < 0).any()]
    if broken or negative:
        kind = "values that are not finite" if broken else "negative variances"
        raise SynthDistillError(
            f"{path} holds {kind}, in {shorten(sorted(broken or negative))}: it comes from a "
            "training that diverged, or is damaged. Take another file."
        )


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path | str) -> None:
    """Copy a state dict into a network after :py:func:`check_weights`; meta becomes the CPU."""
    check_weights(network, state, path)
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        # `to_empty` would take the content of buffers that no file holds
        made = {n: torch.empty_like(t, device="cpu") for n, t in network.state_dict().items()}
        network.load_state_dict(made, assign=True)
    counters = {
        name: torch.zeros_like(t) for name, t in network.state_dict().items() if name not in state
    }
    network.load_state_dict({**state, **counters})


def save_weights(path: Path | str, network: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write a network's state dict as safetensors, atomically: equal content gives equal bytes.

    Metadata are text, or become JSON.
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


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Serialise contiguous tensors and metadata as safetensors, always in the same order.

    The library alone writes metadata in an order that changes from call to call.
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


def check_format(metadata: Mapping[str, str], name: str, version: int, path: Path | str) -> None:
    """Refuse a safetensors file of another format than ``name``, or of another version of it."""
    found = metadata.get("format")
    if found != name:
        described = f"the format {found!a}" if found and found != "pt" else "no format of ours"
        raise SynthDistillError(
            f"expected a file of the format {name!r} at {path}; its metadata names {described}. "
            "It is another network's file: correct the path."
        )
    if metadata.get("format_version") != str(version):
        raise SynthDistillError(
            f"{path} is of version {metadata.get('format_version')!a} of the format {name!r}; this "
            f"release reads version {version}. Install the release of this package that wrote it, "
            "or make the file again."
        )


def shorten(names: Iterable[str]) -> str:
    """List the first names and say how many more there are."""
    names = list(names)
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
