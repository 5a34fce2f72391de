"""The backbones of students: timm's models without their classifier, for faces of 112x112."""

import difflib
import functools
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError
from ..weights import State, load_weights

TINYFAR = {"tinyfar-a": "tinynet_a", "tinyfar-b": "tinynet_b", "tinyfar-c": "tinynet_c"}
"""The paper's students and the timm models that they are built on."""

CHOICES = (
    "The three choices for the initialisation are: `imagenet` (timm's weights: run it once with a "
    "connection, they are kept in the cache), `random`, or the path of a file with weights "
    "({url}, copied from another machine, or a student.safetensors)."
)
"""What to do without ImageNet weights."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files in which timm's repositories keep weights."""


def create_backbone(name: str, pretrained: bool = False) -> nn.Module:
    """Make a timm model without its classifier, at random or with its ImageNet weights.

    Parameters
    ----------
    name
        One of :py:data:`TINYFAR` or any timm model name, with or without the tag of its weights.
    pretrained
        Whether to load timm's weights: from the cache, else by download.

    Returns
    -------
        From ``[B, 3, 112, 112]`` to pooled features ``[B, F]``.

    Raises
    ------
    SynthDistillError
        There is no such model (the nearest names are given), it does not take faces, or its weights
        cannot be had.
    """
    _check_name(name)
    timm_name = TINYFAR.get(name, name)
    arguments: dict[str, Any] = {"num_classes": 0}
    config = timm.get_pretrained_cfg(timm_name) if _has_tag(timm_name) else None
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = FACE_SIZE  # vision transformers resample their position embedding
    if pretrained:
        _require_reachable(timm_name, config)
    try:
        return timm.create_model(timm_name, pretrained=pretrained, **arguments)
    except Exception as error:  # timm raises whatever its models and its download happen to raise
        if pretrained:
            raise _unavailable(timm_name, config, error) from error
        raise SynthDistillError(
            f"timm's {timm_name} cannot be made for faces of {FACE_SIZE}x{FACE_SIZE}: "
            f"{_reason(error)}. Choose another model."
        ) from error


def count_features(backbone: nn.Module, name: str) -> int:
    """Count the features that a network computes of a face, by computing them.

    Parameters
    ----------
    backbone
        The network; it is left in training mode.
    name
        Its name, for messages.

    Returns
    -------
        F, where the network maps ``[B, 3, 112, 112]`` to ``[B, F]``.

    Raises
    ------
    SynthDistillError
        The network does not map faces to one vector each.
    """
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(2, 3, FACE_SIZE, FACE_SIZE))
    except Exception as error:  # whatever a stranger's network raises
        raise SynthDistillError(
            f"{name} does not take faces [B, 3, {FACE_SIZE}, {FACE_SIZE}]: {_reason(error)}. "
            "Choose another model, or one that takes them."
        ) from error
    finally:
        backbone.train()
    shape = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 2:
        raise SynthDistillError(
            f"{name} gives {shape} for two faces, one vector for each was expected. "
            "Choose another model."
        )
    return features.shape[1]


def load_backbone(backbone: nn.Module, state: State, path: Path) -> None:
    """Load a state dict of the timm model itself: its classifier is left out.

    Parameters
    ----------
    backbone
        A timm model without classifier.
    state
        Tensors by name.
    path
        Where they come from, for messages.

    Raises
    ------
    SynthDistillError
        They are another model's.
    """
    classifiers = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
    if isinstance(classifiers, str):
        classifiers = (classifiers,)
    unwanted = tuple(f"{classifier}." for classifier in classifiers)
    expected = backbone.state_dict()
    state = {n: t for n, t in state.items() if n in expected or not n.startswith(unwanted)}
    load_weights(backbone, state, path)


def is_cached(name: str) -> bool:
    """Tell whether timm's weights for a model lie in the cache of Hugging Face's library.

    Parameters
    ----------
    name
        One of :py:data:`TINYFAR` or a timm model name.
    """
    config = timm.get_pretrained_cfg(TINYFAR.get(name, name))
    repository = getattr(config, "hf_hub_id", None)
    return repository is not None and any(
        isinstance(try_to_load_from_cache(repository, file), str) for file in WEIGHT_FILES
    )


def _check_name(name: str) -> None:
    """Refuse what is no timm model, with the nearest names."""
    if name in TINYFAR or (timm.is_model(name) and _has_tag(name)):
        return
    base, _, tag = name.partition(".")
    if timm.is_model(name):
        known = ", ".join(timm.list_pretrained(f"{base}.*")) or "none"
        raise SynthDistillError(
            f"timm has no weights {tag!r} for {base}. Weights that it has: {known}."
        )
    names = _model_names()
    near = difflib.get_close_matches(name.lower(), names, n=5, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise SynthDistillError(
        f"there is no student {name!r}: expected {', '.join(TINYFAR)} or a timm model.{hint}"
    )


@functools.cache
def _model_names() -> list[str]:
    return [*TINYFAR, *timm.list_models()]


def _has_tag(timm_name: str) -> bool:
    """Tell whether timm knows the tag in ``model.tag`` (true without a tag)."""
    _, _, tag = timm_name.partition(".")
    try:
        return not tag or timm.get_pretrained_cfg(timm_name, allow_unregistered=False) is not None
    except RuntimeError:
        return False


def _require_reachable(timm_name: str, config: Any) -> None:
    """Fail within seconds when weights are neither cached nor reachable.

    timm's download tries each of several files six times with growing pauses, three quarters of a
    minute in all, before it says that there is no connection.
    """
    repository = getattr(config, "hf_hub_id", None)
    if repository is None or is_cached(timm_name):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, WEIGHT_FILES[0]), timeout=10)
    except HfHubHTTPError:
        return  # somebody answers: timm knows what to do
    except Exception as error:  # of whichever HTTP library is underneath
        raise _unavailable(timm_name, config, error) from error


def _unavailable(timm_name: str, config: Any, error: Exception) -> SynthDistillError:
    repository = getattr(config, "hf_hub_id", None)
    url = f"model.safetensors of https://huggingface.co/{repository}" if repository else "its URL"
    return SynthDistillError(
        f"the ImageNet weights of timm's {timm_name} cannot be had ({_reason(error)}). "
        + CHOICES.format(url=url)
    )


def _reason(error: Exception) -> str:
    """Tell in one line what happened, without torch's advice to load a file unsafely."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0][:200].rstrip(".")
