"""Networks of the user's own, named by the user's code or command line and never by a file.

A *network* is given as a class or function that makes a :py:class:`torch.nn.Module`, as a
:py:func:`functools.partial` of one, or by its name ``package.module:name``.
"""

import ast
import contextlib
import copy
import functools
import importlib
import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError

Network = str | Callable[..., nn.Module]
"""A class, function, partial, or name; a module, too, where copies of it will do."""

IMPORTABLE = (
    "Put it into a module (not into the configuration file) that is installed or whose folder is "
    "in PYTHONPATH, for training and for evaluation."
)


def is_network_name(text: object) -> bool:
    """Tell ``package.module:name`` from a path and from the name of a timm model."""
    dotted = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    return isinstance(text, str) and re.fullmatch(f"{dotted}:{dotted}", text) is not None


def import_network(name: str) -> Any:
    """Import what ``package.module:name``, from the user's code or command line, names."""
    if not is_network_name(name):
        raise SynthDistillError(f"expected a network as package.module:name, found {name!r}")
    module, _, qualified = name.partition(":")
    try:
        return functools.reduce(getattr, qualified.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise SynthDistillError(
            f"the network {name} cannot be imported: {error}. {IMPORTABLE}"
        ) from error


def make_network(network: Network) -> nn.Module:
    """Make a network by what was given for it; a module that is there is copied."""
    name = name_network(network)
    found: Any = import_network(network) if isinstance(network, str) else network
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    try:
        found = found() if callable(found) else found
    except (TypeError, ValueError) as error:
        raise SynthDistillError(f"the network {name} cannot be made: {error}") from error
    if not isinstance(found, nn.Module):
        raise SynthDistillError(
            f"expected a torch module, or a class or function that makes one, at {name}; found "
            f"{type(found).__name__}"
        )
    return found


def name_network(network: Network) -> str:
    """Give ``package.module:name`` of a network: of the function that a partial calls."""
    if isinstance(network, str):
        return network
    if isinstance(network, functools.partial):
        return name_network(network.func)
    qualified = getattr(network, "__qualname__", type(network).__qualname__)
    return f"{network.__module__}:{qualified}"


def network_expression(network: Network) -> tuple[str, str] | None:
    """Write a network as Python, so that a file of configuration can make it again.

    Gives lines of imports (perhaps none) and an expression, such as ``'mine.nets:Tiny'`` with its
    quotes, or ``partial(Tiny, width=5)``; None for the name of a timm model. What another process
    could not make is refused: no module has it, or its arguments are no literals.
    """
    if isinstance(network, str) and not is_network_name(network):
        return None
    name = name_network(network)
    module, _, qualified = name.partition(":")
    target = network.func if isinstance(network, functools.partial) else network
    if (
        module == "__main__"
        or not is_network_name(name)
        or (import_network(name) is not target and not isinstance(target, str))
    ):
        raise SynthDistillError(f"the network {name} cannot be imported by others. {IMPORTABLE}")
    if not isinstance(network, functools.partial):
        return "", repr(name)
    for key, value in {**dict.fromkeys(network.args), **network.keywords}.items():
        with contextlib.suppress(Exception):  # values are anything, and so is what they print
            if key in network.keywords and ast.literal_eval(repr(value)) == value:
                continue
        raise SynthDistillError(
            f"the argument {key!r} of the network {name} cannot be written down: write "
            "partial(Class, name=value), with numbers, text, lists and dictionaries."
        )
    arguments = "".join(f", {key}={value!r}" for key, value in network.keywords.items())
    first = qualified.partition(".")[0]
    imports = f"from functools import partial\n\nfrom {module} import {first}"
    return imports, f"partial({qualified}{arguments})"


def measure_embedding(
    network: nn.Module, name: str, convert: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> int:
    """Count the elements that a network gives for a face, by computing them.

    ``convert`` makes what the network takes of faces in [-1, 1]. Other than ``[B, D]`` is refused.
    """
    try:
        found = _try(network, convert)
    except Exception as error:  # whatever a stranger's network raises
        raise SynthDistillError(
            f"{name} does not take faces [B, 3, {FACE_SIZE}, {FACE_SIZE}]: {reason(error)}. "
            "Choose another model, or one that takes them."
        ) from error
    tensor = isinstance(found, torch.Tensor)
    if not tensor or found.ndim != 2 or len(found) != 2 or not found.is_floating_point():
        shape = f"{found.dtype} {list(found.shape)}" if tensor else f"a {type(found).__name__}"
        raise SynthDistillError(
            f"{name} gives {shape} for two faces, one vector for each was expected. "
            "Choose another model."
        )
    return found.shape[1]


def lay_out(network: nn.Module) -> nn.Module:
    """Lay a network's weights out channels-last, which is faster, unless it cannot compute so.

    A ``view`` behind the last convolution, for instance, takes torch's default layout only. The
    network, on its device, is changed in place.
    """
    expected = _try(network)
    with contextlib.suppress(Exception):  # whatever a stranger's network raises
        network.to(memory_format=torch.channels_last)
        if (_try(network) - expected).norm() <= 1e-2 * expected.norm():
            return network
    return network.to(memory_format=torch.contiguous_format)


def reason(error: Exception) -> str:
    """Tell in one line what happened, without torch's advice to load a file unsafely."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0][:200].rstrip(".")


@torch.no_grad()
def _try(network: nn.Module, convert: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Any:
    """Embed two ramps of grey, moving neither statistics nor random numbers."""
    device = next((p.device for p in network.parameters()), None)
    shape = (2, 3, FACE_SIZE, FACE_SIZE)
    faces = torch.linspace(-1, 1, math.prod(shape), device=device).view(shape)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        return network(faces if convert is None else convert(faces))
    finally:
        for module, training in modes:
            module.training = training
