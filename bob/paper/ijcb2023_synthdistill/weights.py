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

State = dict[str, torch.Tensor]


class _Ignored:
    """What a checkpoint of Lightning names beside its weights: nothing is done with it."""

    def __setstate__(self, state: Any) -> None:
        pass


_LIGHTNING = "pytorch_lightning.callbacks."
IGNORED = {
    f"{_LIGHTNING}model_checkpoint.ModelCheckpoint": _Ignored,
    f"{_LIGHTNING}lr_monitor.LearningRateMonitor": _Ignored,
    f"{_LIGHTNING}early_stopping.EarlyStopping": _Ignored,
    "pytorch_lightning.utilities.parsing.AttributeDict": dict,
    "argparse.Namespace": _Ignored,
}
"""Names in the checkpoints of Lightning, such as AdaFace's, and the inert classes for them."""


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
            return _read_torch(stream, path, what), {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {quoted(error)}. Download or "
            "copy it again."
        ) from error


def _read_torch(stream: BinaryIO, path: Path | str, what: str) -> State:
    """Read a state dict out of the wrappers of training scripts."""
    found = load_torch(stream, path, what)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    named = found if isinstance(found, Mapping) else {}
    if not named or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in named.items()
    ):
        names = f" with {shorten(map(quoted, named))}" if named else ""
        raise SynthDistillError(
            f"expected {what} in {path}: tensors by name; found a {type(found).__name__}{names}. "
            "Give another file."
        )
    if all(name.startswith("module.") for name in named):  # parallel training
        return {name.removeprefix("module."): tensor for name, tensor in named.items()}
    return dict(named)


def load_torch(stream: BinaryIO, path: Path | str, what: str) -> Any:
    """Read tensors and plain values that ``torch.save`` wrote; nothing of it is executed."""
    try:
        with torch.serialization.safe_globals([(made, name) for name, made in IGNORED.items()]):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message explains how to load it unsafely
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for the code `{quoted(asked[1])}`" if asked else "it holds other things"
        raise SynthDistillError(
            f"{path} is not {what}, or it is damaged: {reason} where only tensors and plain values "
            "belong. Nothing of it was executed. Get a file of weights alone."
        ) from error
    except Exception as error:  # damaged bytes can fail in any way
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {type(error).__name__}. "
            "Download or copy it again."
        ) from error


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path | str) -> None:
    """Copy a state dict into a network; one on the device meta gets it on the CPU.

    Counters of batch norms may be absent. All else must be there, of the right shape, floating
    point where the network is, and finite; else the network stays as it was.
    """
    expected = network.state_dict()
    counters = {n for n in expected if n.endswith("num_batches_tracked")}
    both = [n for n in expected if n in state]
    real = [n for n in both if expected[n].is_floating_point()]
    faults = {
        "missing": expected.keys() - state.keys() - counters,
        "too many": [quoted(name) for name in state.keys() - expected.keys()],
        "of another shape": [
            f"{n} {list(state[n].shape)} instead of {list(expected[n].shape)}"
            for n in both
            if state[n].shape != expected[n].shape
        ],
        "not floating-point numbers": [n for n in real if not state[n].is_floating_point()],
    }
    if any(faults.values()):
        told = (f"{len(n)} {kind}: {shorten(sorted(n))}" for kind, n in faults.items() if n)
        raise SynthDistillError(
            f"the tensors in {path} are not those of this network. {'; '.join(told)}. Check that "
            "the file is the right one."
        )
    # as they will be in the network: a large float64 becomes infinite there
    broken = [n for n in real if not state[n].to(expected[n].dtype).isfinite().all()]
    if broken:
        raise SynthDistillError(
            f"{path} holds values that are not finite, in {shorten(sorted(broken))}: its training "
            "diverged, or it is damaged."
        )
    if any(tensor.is_meta for tensor in expected.values()):
        # `to_empty` would take the content of buffers that no file holds
        made = {n: torch.empty_like(t, device="cpu") for n, t in expected.items()}
        network.load_state_dict(made, assign=True)
    zeros = {n: torch.zeros((), dtype=torch.int64) for n in counters - state.keys()}
    network.load_state_dict({**state, **zeros})


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
    found, number = metadata.get("format", "none"), metadata.get("format_version")
    if found != name:
        raise SynthDistillError(f"{path}: its format is {found!a}, expected was {name!r}.")
    if number != str(version):
        raise SynthDistillError(
            f"{path} is of version {number!a} of the format {name!r}; this release reads "
            f"{version}. Install the one that wrote it, or make the file again."
        )


def shorten(names: Iterable[str], listed: int = 8) -> str:
    """List the first names and say how many more there are."""
    names = list(names)
    more = len(names) - listed
    return ", ".join(names[:listed]) + (f" and {more} more" if more > 0 else "")
