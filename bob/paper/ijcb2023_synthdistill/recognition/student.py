"""The students: a timm backbone (TinyFaR: TinyNet) and one linear layer, or a class of one's own.

A student maps aligned faces ``[B, 3, 112, 112]``, RGB, in [-1, 1], to embeddings, not normalised.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import faces as conventions
from ..files import SynthDistillError
from ..weights import (
    State,
    check_format,
    check_weights,
    load_weights,
    read_weights,
    save_weights,
)
from .backbones import count_features, create_backbone, load_backbone
from .custom import CustomStudent, Recipe

EMBEDDING_SIZE = 512
"""Number of elements of the embedding, as of the published teachers."""

FORMAT = "synthdistill-student"
FORMAT_VERSION = 1

INPUT = "aligned faces [B, 3, 112, 112], RGB, [-1, 1]"
"""What a student takes, as the metadata of its file says it."""

OUTPUT = "embeddings [B, embedding_size], not normalised, compared by cosine"
"""What a student gives, as the metadata of its file says it."""


class Student(nn.Module):
    """Compute embeddings with a timm backbone (pooled features) and a linear layer with bias.

    Parameters
    ----------
    architecture
        ``tinyfar-a``, ``tinyfar-b``, ``tinyfar-c`` or the name of a timm model.
    pretrained
        Whether the backbone starts with timm's ImageNet weights instead of random ones.
    embedding_size
        Number of elements of the embedding.

    Raises
    ------
    SynthDistillError
        There is no such model, it does not suit, or its weights cannot be had.
    """

    def __init__(self, architecture: str, pretrained: bool, embedding_size: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding_size = embedding_size
        self.backbone = create_backbone(architecture, pretrained)
        self.linear = nn.Linear(count_features(self.backbone, architecture), embedding_size)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Compute embeddings ``[B, embedding_size]``, not normalised.

        Parameters
        ----------
        faces
            Aligned faces ``[B, 3, 112, 112]``, RGB, in [-1, 1].
        """
        return self.linear(self.backbone(conventions.for_student(faces)))


def create_student(
    name: str | Callable[..., nn.Module],
    initialisation: str | Path = "imagenet",
    embedding_size: int = EMBEDDING_SIZE,
) -> Student | CustomStudent:
    """Make a student. Its parameters come in the order backbone, then the final linear layer.

    Random values are drawn from torch's global generator, on the CPU.

    Parameters
    ----------
    name
        ``tinyfar-a``, ``tinyfar-b``, ``tinyfar-c``, the name of any timm model that takes faces of
        112x112; or a class derived from ``torch.nn.Module``, a function annotated to return one,
        or a partial of these with arguments given by name that JSON can write: it must be
        importable by its module, since a student's file names it instead of containing it.
    initialisation
        ``imagenet``: the backbone's weights from timm (downloaded once), the linear layer at
        random; ``random``: all at random; or a file: a student's, or a state dict of the timm
        model (torch or safetensors; its classifier is left out), the linear layer at random.
    embedding_size
        Number of elements of the embedding.

    Returns
    -------
        In training mode, float32, on the CPU; with ``embedding_size``.

    Raises
    ------
    SynthDistillError
        There is no such model (the nearest names are given) or file, ImageNet weights cannot be
        had (no connection, or none exist), or the model does not suit.
    """
    student: Student | CustomStudent
    if isinstance(name, str):
        student = Student(name, initialisation == "imagenet", embedding_size)
    else:
        recipe = Recipe.of(name)
        if initialisation == "imagenet":
            raise SynthDistillError(
                f"there are no ImageNet weights for {recipe.factory}. Choose the initialisation "
                "`random` (what its constructor gives) or the path of a file with weights."
            )
        student = CustomStudent(recipe, embedding_size)
    if initialisation not in ("imagenet", "random"):
        _start_from(student, Path(initialisation).expanduser())
    return student


def save_student(path: Path | str, student: nn.Module, **metadata: Any) -> None:
    """Write a student as safetensors, with all that is needed to make it again in the metadata.

    Parameters
    ----------
    path
        The file to write.
    student
        Made by :py:func:`create_student` or :py:func:`load_student`.
    metadata
        More to write down, such as its training: text as it is, other values as JSON.

    Raises
    ------
    SynthDistillError
        The student is not one of ours, or the file cannot be written.
    """
    if isinstance(student, CustomStudent):
        how = {"architecture": student.recipe.factory, "arguments": student.recipe.arguments}
    elif isinstance(student, Student):
        how = {"architecture": student.architecture}
    else:
        raise SynthDistillError(
            f"a {type(student).__name__} cannot be saved as a student: its file could not say how "
            "to make it again. Make it with create_student(CLASS, initialisation='random')."
        )
    ours = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **how,
        "embedding_size": student.embedding_size,
        "input": INPUT,
        "output": OUTPUT,
    }
    save_weights(Path(path), student, {**metadata, **ours})


def load_student(path: Path | str) -> Student | CustomStudent:
    """Load a student that :py:func:`save_student` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
        In evaluation mode, float32, on the CPU.

    Raises
    ------
    SynthDistillError
        The file is not there, damaged, another network's or of another version; or its network
        is a user's own and cannot be imported.
    """
    path = Path(path)
    state, metadata = read_weights(path, "a student")
    check_format(metadata, FORMAT, FORMAT_VERSION, path)
    try:
        architecture = metadata["architecture"]
        embedding_size = int(metadata["embedding_size"])
        arguments = json.loads(metadata.get("arguments", "{}"))
        if embedding_size < 1 or not isinstance(arguments, dict):
            raise ValueError
    except (KeyError, ValueError) as error:
        raise SynthDistillError(
            f"the metadata of the student {path} is incomplete or damaged: {dict(metadata)}. "
            "Take another copy."
        ) from error
    student: Student | CustomStudent
    with torch.random.fork_rng(devices=[]):  # loading must not move anybody's random numbers
        try:
            if ":" in architecture:
                recipe = Recipe(architecture, arguments)
                _check_custom_size(recipe, state, path)
                student = CustomStudent(recipe, embedding_size)
            else:
                _check_size(architecture, embedding_size, state, path)
                student = Student(architecture, False, embedding_size)
        except SynthDistillError as error:
            raise SynthDistillError(f"cannot load the student {path}: {error.message}") from error
    load_weights(student, state, path)
    return student.eval()


def read_metadata(path: Path | str) -> Mapping[str, str]:
    """Read the metadata of a student's file: architecture, conventions, training.

    Raises
    ------
    SynthDistillError
        The file is not there or not a student's.
    """
    _, metadata = read_weights(Path(path), "a student")
    check_format(metadata, FORMAT, FORMAT_VERSION, Path(path))
    return metadata


def _check_custom_size(recipe: Recipe, state: State, path: Path) -> None:
    """As :py:func:`_check_size`, for a network of the user's own."""
    recipe.resolve()
    try:
        with torch.device("meta"):
            network = recipe.make()
    except Exception:
        return
    check_weights(network, {n.removeprefix("network."): t for n, t in state.items()}, path)
    try:
        with torch.device("meta"):
            count_features(network, recipe.factory)
    except SynthDistillError as error:
        if error.__cause__ is None:  # it computes something else; others cannot be sketched
            raise


def _check_size(architecture: str, embedding_size: int, state: State, path: Path) -> None:
    """Refuse metadata that claim a network larger than the file, before memory is asked for."""
    linear = state.get("linear.weight")
    if linear is None or linear.ndim != 2 or len(linear) != embedding_size:
        raise SynthDistillError(
            f"embeddings of {embedding_size} elements were expected of its linear layer, found "
            f"{'none' if linear is None else list(linear.shape)}. Take another copy"
        )
    try:
        with torch.device("meta"):
            sketch = Student(architecture, False, embedding_size)
    except SynthDistillError:
        return  # some of timm's models cannot be sketched; building it tells what else is wrong
    check_weights(sketch, state, path)


def _start_from(student: Student | CustomStudent, path: Path) -> None:
    """Load initial weights: a student's file, or (for timm's models) the backbone's state dict."""
    state, metadata = read_weights(path, "initial weights of the student")
    if metadata.get("format", "pt") != "pt":
        check_format(metadata, FORMAT, FORMAT_VERSION, path)
    if set(state) & {"linear.weight", "linear.bias"} or isinstance(student, CustomStudent):
        load_weights(student, state, path)
    else:
        load_backbone(student.backbone, state, path)
