"""Read the generators that NVIDIA publishes, without executing the code that they carry.

A published file is a pickle of a dictionary; ``G_ema`` is the generator. Each of its modules is
written with the source code of its class, which the published reader executes. This reader does not
look at it: it takes the tensors and a few plain attributes, and puts them in our own network.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .. import unpickling
from ..files import SynthDistillError
from .layers import FIR
from .stylegan2 import Generator
from .tensors import TORCH, StoredTensor
from .weights import fill

WHAT = "a StyleGAN2 pickle as NVIDIA publishes it"

CLASSES = {
    "Generator",
    "MappingNetwork",
    "SynthesisNetwork",
    "SynthesisBlock",
    "SynthesisLayer",
    "ToRGBLayer",
    "FullyConnectedLayer",
}
"""The classes of a StyleGAN2 generator."""

KNOWN = {"architecture": ("skip",), "activation": ("lrelu", "linear")}
"""Attributes of modules and the values for which our network is the same."""

MAX_MODULES = 10_000
"""More modules than any generator has; a pickle can nest them in themselves."""


class PersistentObject:
    """An object that was written together with its source code.

    Parameters
    ----------
    description
        ``class_name``, ``state`` (the attributes), and the source, which nobody looks at.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description

    @property
    def class_name(self) -> str:
        """Name of the class."""
        name = self.description["class_name"]
        if not isinstance(name, str):
            raise TypeError("a class name is no text")
        return name

    @property
    def state(self) -> dict[str, Any]:
        """The attributes."""
        return self.description["state"]


def _easy_dict() -> dict[str, Any]:
    return {}


ALLOWED: unpickling.Allowed = {
    **unpickling.PLAIN,
    **unpickling.NUMPY,
    **TORCH,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): PersistentObject,
    ("dnnlib.util", "EasyDict"): _easy_dict,
    ("dnnlib", "EasyDict"): _easy_dict,
}
"""All that a published file asks for."""


def read_generator(path: Path | str) -> Generator:
    """Read the generator ``G_ema`` of a pickle as stylegan2-ada-pytorch and stylegan3 write it.

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
        The file cannot be read, asks for anything unusual, or holds another network.
    """

    def refuse_tensorflow(*_: Any) -> None:
        raise SynthDistillError(
            f"{path} holds a network of NVIDIA's TensorFlow code. Expected {WHAT} by its PyTorch "
            "code (stylegan2-ada-pytorch or stylegan3): get it from there."
        )

    allowed = {**ALLOWED, ("dnnlib.tflib.network", "Network"): refuse_tensorflow}
    content = unpickling.read_pickle(path, allowed, what=WHAT)
    return unpickling.run(lambda: _build(content, path), path=path, what=WHAT)


def _build(content: Any, path: Path | str) -> Generator:
    if not isinstance(content, dict) or not isinstance(content.get("G_ema"), PersistentObject):
        keys = sorted(map(ascii, content)) if isinstance(content, dict) else []
        raise SynthDistillError(
            f"{path} is not {WHAT}: it has no generator under the name 'G_ema'; found: "
            f"{', '.join(keys[:10]) or 'no names at all'}."
        )
    modules = dict(_walk(content["G_ema"]))
    _check_classes(modules, path)
    tensors = _read_tensors(modules, path)
    options = _find_options(modules, tensors, path)
    with torch.device("meta"):
        generator = Generator(**options)
    return fill(generator, tensors, path)


def _walk(root: PersistentObject) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each module, ending in a dot, and its attributes with its class added."""
    waiting = [("", root)]
    for _ in range(MAX_MODULES):
        if not waiting:
            return
        name, module = waiting.pop()
        if not isinstance(module, PersistentObject):
            raise TypeError(f"{name!a} is no module")
        yield name, {**module.state, "class": module.class_name}
        waiting += [(f"{name}{key}.", child) for key, child in module.state["_modules"].items()]
    raise ValueError(f"there are more than {MAX_MODULES:,} modules")


def _check_classes(modules: dict[str, dict[str, Any]], path: Path | str) -> None:
    others = {attributes["class"] for attributes in modules.values()} - CLASSES
    if modules[""]["class"] != "Generator":
        others.add(modules[""]["class"])
    if others:
        names = ", ".join(f"`{ascii(name)[1:-1]}`" for name in sorted(others)[:5])
        kind = "StyleGAN3" if "SynthesisInput" in others else "another network than StyleGAN2"
        raise SynthDistillError(
            f"{path} holds {kind}: it has modules of class {names}. Expected {WHAT}, such as "
            "stylegan2-ffhq-256x256.pkl."
        )
    for name, attributes in modules.items():
        for attribute, known in KNOWN.items():
            found = attributes.get(attribute, known[0])
            if found not in known:
                words = f"'{ascii(found)[1:41]}" if isinstance(found, str) else type(found).__name__
                raise SynthDistillError(
                    f"{path} holds a StyleGAN2 of another kind: the {attribute} of its module "
                    f"{name!a} is {words}. Expected {' or '.join(known)}."
                )


def _read_tensors(modules: dict[str, dict[str, Any]], path: Path | str) -> dict[str, torch.Tensor]:
    """Read all parameters and buffers, but for the low-pass filters, which are checked."""
    stored = {
        f"{name}{key}": tensor
        for name, attributes in modules.items()
        for group in ("_parameters", "_buffers")
        for key, tensor in attributes[group].items()
        if tensor is not None
    }
    taps = torch.tensor(FIR)
    fir = torch.outer(taps, taps) / taps.sum().square()
    tensors = {}
    left = Path(path).stat().st_size
    for name, stored_tensor in stored.items():
        if not isinstance(stored_tensor, StoredTensor):
            raise TypeError(f"{name!a} is no tensor")
        tensor = stored_tensor.read()
        left -= tensor.nbytes  # tensors may share numbers: together they are no more than the file
        if left < 0:
            raise ValueError("the tensors are larger than the file")
        if not name.endswith("resample_filter"):
            tensors[name] = tensor.to(torch.float32)
        elif tensor.shape != fir.shape or not torch.allclose(tensor.float(), fir):
            raise SynthDistillError(
                f"{path} holds a StyleGAN2 with another low-pass filter than {list(FIR)} "
                f"({ascii(name)[1:-1]}), which this package does not know."
            )
    return tensors


def _find_options(
    modules: dict[str, dict[str, Any]], tensors: dict[str, torch.Tensor], path: Path | str
) -> dict[str, Any]:
    """Derive the sizes from names and shapes, and take from attributes what shapes do not tell."""
    if "mapping.embed.weight" in tensors:
        raise SynthDistillError(
            f"{path} holds a generator that takes a class as well as z (mapping.embed). Expected "
            "an unconditional one."
        )
    blocks = {
        int(name.removeprefix("synthesis.b").removesuffix(".")): attributes
        for name, attributes in modules.items()
        if attributes["class"] == "SynthesisBlock"
    }
    channels = {size: tensors[f"synthesis.b{size}.conv1.weight"].shape[0] for size in blocks}
    resolution = max(blocks)
    w_dim, z_dim = tensors["mapping.fc0.weight"].shape
    mapping = [name for name in modules if name.startswith("mapping.fc")]
    clamps = {
        _number(attributes["conv_clamp"])
        for attributes in modules.values()
        if attributes["class"] in ("SynthesisLayer", "ToRGBLayer")
    }
    if len(clamps) != 1:
        raise ValueError(f"the layers have different clamps: {clamps}")
    return {
        "z_dim": z_dim,
        "w_dim": w_dim,
        "resolution": resolution,
        # any base and maximum that give these channels will do: `fill` checks that they do
        "channel_base": channels[resolution] * resolution,
        "channel_max": max(channels.values()),
        "mapping_layers": len(mapping),
        "mapping_multiplier": _number(modules["mapping.fc0."]["bias_gain"]),
        "conv_clamp": clamps.pop(),
        "num_fp16_res": sum(attributes["use_fp16"] is True for attributes in blocks.values()),
    }


def _number(value: Any) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise TypeError("a number was expected")
    return None if value is None else float(value)
