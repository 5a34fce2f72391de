"""Read the generators that NVIDIA publishes, without executing the code that they carry.

A published file is a pickle of a dictionary; ``G_ema`` is the generator. Each of its modules is
written with the source code of its class, which the published reader executes. This reader does not
look at it: it takes the tensors and a few plain attributes, and puts them in our own network.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import SynthDistillError
from ..unpickling import (
    NUMPY,
    PLAIN,
    Allowed,
    Inert,
    NumpyArray,
    explained,
    quoted,
    read_pickle,
)
from ..weights import State, load_torch, load_weights
from . import create
from .stylegan2 import FIR, BaseGenerator, low_pass_filter

WHAT = "a StyleGAN2 or StyleGAN3 pickle as NVIDIA publishes it"

COMMON = {
    "Generator",
    "MappingNetwork",
    "SynthesisNetwork",
    "SynthesisLayer",
    "FullyConnectedLayer",
}
CLASSES = {
    "stylegan2": COMMON | {"SynthesisBlock", "ToRGBLayer"},
    "stylegan3": COMMON | {"SynthesisInput"},
}
"""The classes of a generator of each architecture."""


UNALIGNED = re.compile(r"(ffhq|metfaces)-?u", re.IGNORECASE)
"""FFHQ-U and the like, in the name of a file or of the data that it was trained on: the position
and the roll of their faces are random."""


class PersistentObject(Inert):
    """An object that was written with its source code, which nobody looks at."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.class_name: str = description["class_name"]
        self.state: dict[str, Any] = description["state"]


class StoredTensor(Inert):
    """A tensor as it was pickled: a view of a storage, which is a torch file in the pickle."""

    def __init__(
        self, content: bytes, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
    ) -> None:
        self.content, self.view = content, (size, stride, offset)

    def read(self, path: Path | str) -> Tensor:
        """Read the numbers; ``path`` is for messages."""
        storage = load_torch(io.BytesIO(self.content), path, WHAT)
        flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
        return flat.as_strided(*self.view)


ALLOWED: Allowed = {
    **PLAIN,
    **NUMPY,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_tensor_v2"): StoredTensor,
    ("torch.storage", "_load_from_bytes"): lambda content: content,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): PersistentObject,
    ("dnnlib.util", "EasyDict"): dict,
    ("dnnlib", "EasyDict"): dict,
}
"""All that a published file asks for."""


def read_generator(path: Path | str) -> BaseGenerator:
    """Read the generator ``G_ema`` of a pickle as stylegan2-ada-pytorch and stylegan3 write it."""

    def refuse_tensorflow(*_: Any) -> None:
        raise SynthDistillError(
            f"{path} holds a network of NVIDIA's TensorFlow code. Expected {WHAT} by its PyTorch "
            "code (stylegan2-ada-pytorch or stylegan3): get it from there."
        )

    allowed = {**ALLOWED, ("dnnlib.tflib.network", "Network"): refuse_tensorflow}
    content = read_pickle(path, allowed, what=WHAT)
    with explained(path, WHAT):
        if not isinstance(content, dict) or not isinstance(content.get("G_ema"), PersistentObject):
            keys = [f"'{quoted(key)}'" for key in content] if isinstance(content, dict) else []
            raise SynthDistillError(
                f"{path} is not {WHAT}: it has no generator under the name 'G_ema'; found: "
                f"{', '.join(keys[:10]) or 'no names at all'}."
            )
        modules = _walk(content["G_ema"])
        architecture = _find_architecture(modules, path)
        tensors = _read_tensors(modules, path)
        if "mapping.embed.weight" in tensors:
            raise SynthDistillError(
                f"{path} holds a generator that takes a class as well as z (mapping.embed). "
                "Expected an unconditional one."
            )
        w_dim, z_dim = tensors["mapping.fc0.weight"].shape
        # one for all layers
        (clamp,) = {m.state["conv_clamp"] for m in modules.values() if "conv_clamp" in m.state}
        options = {
            "z_dim": z_dim,
            "w_dim": w_dim,
            "mapping_layers": sum(name.startswith("mapping.fc") for name in modules),
            "mapping_multiplier": float(modules["mapping.fc0."].state["bias_gain"]),
            "conv_clamp": None if clamp is None else float(clamp),
        }
        find = {"stylegan2": _find_stylegan2, "stylegan3": _find_stylegan3}[architecture]
        generator = create(architecture, {**options, **find(modules, tensors)})
        load_weights(generator, tensors, path)
        data = content.get("training_set_kwargs") or {}
        generator.aligned = not UNALIGNED.search(f"{Path(path).name} {data.get('path')}")
    return generator


def _walk(module: PersistentObject, name: str = "") -> dict[str, PersistentObject]:
    """List all modules by name, which ends in a dot."""
    if not isinstance(module, PersistentObject):
        raise TypeError(f"{name!r} is no module")
    if module.state.get("activation", "lrelu") not in ("lrelu", "linear"):
        raise ValueError(f"the activation of {name!r} is another than in StyleGAN")
    modules = {name: module}
    for key, child in module.state["_modules"].items():
        modules |= _walk(child, f"{name}{key}.")
    return modules


def _find_architecture(modules: dict[str, PersistentObject], path: Path | str) -> str:
    found = {module.class_name for module in modules.values()}
    architecture = "stylegan3" if "SynthesisInput" in found else "stylegan2"
    others = found - CLASSES[architecture] | {modules[""].class_name} - {"Generator"}
    if others:
        names = ", ".join(f"`{quoted(name)}`" for name in sorted(others)[:5])
        raise SynthDistillError(
            f"{path} holds another network than StyleGAN2 or StyleGAN3: it has modules of class "
            f"{names}. Expected {WHAT}, such as stylegan2-ffhq-256x256.pkl."
        )
    return architecture


def _read_tensors(modules: dict[str, PersistentObject], path: Path | str) -> State:
    """Read all parameters and buffers, but for the low-pass filters, which are checked."""
    fir = low_pass_filter() / 4
    tensors = {}
    for module_name, module in modules.items():
        for key, stored in (module.state["_parameters"] | module.state["_buffers"]).items():
            if stored is None:
                continue
            tensor = stored.read(path)
            if key != "resample_filter":
                tensors[f"{module_name}{key}"] = tensor
            elif tensor.shape != fir.shape or not torch.allclose(tensor.float(), fir):
                raise SynthDistillError(
                    f"{path} holds a StyleGAN2 with another low-pass filter than {list(FIR)} "
                    f"({quoted(module_name)}), which this package does not know."
                )
    return tensors


def _find_stylegan2(modules: dict[str, PersistentObject], tensors: State) -> dict[str, Any]:
    """Derive the sizes from names and shapes, and take from attributes what shapes do not tell."""
    blocks = {
        int(name.removeprefix("synthesis.b").removesuffix(".")): module.state
        for name, module in modules.items()
        if module.class_name == "SynthesisBlock"
    }
    channels = [tensors[f"synthesis.b{size}.conv1.weight"].shape[0] for size in blocks]
    resolution = max(blocks)
    return {
        "resolution": resolution,
        # any base and maximum that give these channels will do: loading checks that they do
        "channel_base": tensors[f"synthesis.b{resolution}.conv1.weight"].shape[0] * resolution,
        "channel_max": max(channels),
        "num_fp16_res": sum(state["use_fp16"] is True for state in blocks.values()),
    }


def _find_stylegan3(modules: dict[str, PersistentObject], tensors: State) -> dict[str, Any]:
    """As for StyleGAN2; the layers are in the order of their numbers."""
    layers = {
        int(name.removeprefix("synthesis.L").split("_")[0]): name
        for name, module in modules.items()
        if module.class_name == "SynthesisLayer"
    }
    source, turn = modules["synthesis.input."].state, tensors["synthesis.input.transform"][:2, :2]
    if not torch.allclose(turn @ turn.T, torch.eye(2), atol=1e-3):
        raise ValueError("its images are scaled, not only turned and shifted (input.transform)")
    return {
        "resolution": modules["synthesis."].state["img_resolution"],
        "output_scale": float(modules["synthesis."].state["output_scale"]),
        "input_size": _ints(source["size"])[0],
        "input_rate": float(source["sampling_rate"]),
        "layers": [
            _describe_layer(layers[number], modules[layers[number]].state, tensors)
            for number in sorted(layers)
        ],
    }


def _describe_layer(name: str, state: dict[str, Any], tensors: State) -> dict[str, Any]:
    """Give the options of :py:class:`.stylegan3.LayerOptions`."""
    outputs, inputs, kernel, _ = tensors[f"{name}weight"].shape
    none = torch.empty(1)
    up_filter, down_filter = (
        tensors.get(f"{name}{which}_filter", none) for which in ("up", "down")
    )
    before, after, *others = _ints(state["padding"])
    if others != [before, after]:
        raise ValueError(f"the layer {name} treats rows and columns differently")
    return {
        "name": name.removeprefix("synthesis.").removesuffix("."),
        "inputs": inputs,
        "outputs": outputs,
        "kernel": kernel,
        "up": state["up_factor"],
        "up_taps": len(up_filter),
        "down": state["down_factor"],
        "down_taps": len(down_filter),
        "radial": down_filter.ndim == 2,
        "before": before,
        "after": after,
        "half": state["use_fp16"] is True,
    }


def _ints(value: Any) -> list[int]:
    """Give the numbers of a list or an array."""
    return [int(number) for number in (value.value if isinstance(value, NumpyArray) else value)]
