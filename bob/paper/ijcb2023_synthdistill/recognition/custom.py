"""A student of the user's own: named in the file by its import path, never contained in it."""

import functools
import importlib
import inspect
import json
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .. import faces as conventions
from ..files import SynthDistillError
from .backbones import count_features

RULE = (
    "expected a class derived from torch.nn.Module, or a function annotated to return one "
    "(`def make(...) -> torch.nn.Module`), at the top of a module that Python can import"
)
"""What may be a student; so narrow because a student's file names what will be called."""


@dataclass(frozen=True)
class Recipe:
    """How to make a network again: what to import and call, with which arguments.

    Parameters
    ----------
    factory
        ``package.module:qualified.name``.
    arguments
        Arguments by name, such as JSON can write.
    """

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, factory: Callable[..., Any]) -> "Recipe":
        """Describe a callable, and check that it will be found again.

        Parameters
        ----------
        factory
            A class, a function or a partial of these.

        Raises
        ------
        SynthDistillError
            It cannot be imported by its name, makes no module, or has arguments that JSON cannot
            write. Better now than after the training.
        """
        arguments: dict[str, Any] = {}
        target = factory
        if isinstance(factory, functools.partial):
            target, arguments = factory.func, dict(factory.keywords)
            if factory.args:
                raise SynthDistillError(
                    f"the student's arguments {factory.args!r} have no names: write "
                    "partial(Class, name=value)"
                )
        name = getattr(target, "__qualname__", None)
        if name is None:
            raise SynthDistillError(f"{RULE}; found {target!r}")
        recipe = cls(f"{target.__module__}:{name}", arguments)
        try:
            json.dumps(arguments)
        except (TypeError, ValueError) as error:
            raise SynthDistillError(
                f"the arguments {arguments!r} of the student {recipe.factory} cannot be written "
                f"into its file as JSON: {error}. Use numbers, text, lists and dictionaries."
            ) from error
        if recipe.resolve() is not target:
            raise SynthDistillError(
                f"importing {recipe.factory} gives another object than the configuration has: give "
                "the student's class a name of its own"
            )
        return recipe

    def resolve(self) -> Callable[..., Any]:
        """Import the factory.

        Raises
        ------
        SynthDistillError
            It cannot be imported, or is not what may be a student.
        """
        module_name, _, qualified = self.factory.partition(":")
        if module_name.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
            # importing some of Python's own modules does things, and none holds a network
            raise SynthDistillError(f"{RULE}; found {self.factory}, of Python itself")
        try:
            found: Any = importlib.import_module(module_name)
            for name in qualified.split("."):
                found = getattr(found, name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise SynthDistillError(
                f"the student's network {self.factory} cannot be imported: {error}. Put it into a "
                "module (not into the configuration file) that is installed or whose folder is in "
                "PYTHONPATH, for training and for evaluation."
            ) from error
        if not _makes_module(found):
            raise SynthDistillError(f"{RULE}; found {self.factory}, which is {found!r}")
        return found

    def make(self) -> nn.Module:
        """Call the factory.

        Raises
        ------
        SynthDistillError
            It cannot be imported, refuses the arguments, or gives something else.
        """
        factory = self.resolve()
        try:
            network = factory(**self.arguments)
        except (TypeError, ValueError) as error:
            raise SynthDistillError(
                f"the student {self.factory} refuses the arguments {self.arguments!r}: {error}"
            ) from error
        if not isinstance(network, nn.Module):
            raise SynthDistillError(f"{RULE}; {self.factory} gave {type(network).__name__}")
        return network


def _makes_module(found: Any) -> bool:
    """Tell whether an object is a class of modules or says that it returns one."""
    if inspect.isclass(found):
        return issubclass(found, nn.Module)
    if not inspect.isfunction(found):
        return False
    try:
        returned = typing.get_type_hints(found).get("return")
    except Exception:  # annotations are code of strangers
        return False
    return inspect.isclass(returned) and issubclass(returned, nn.Module)


class CustomStudent(nn.Module):
    """Wrap a network of the user's own, so that its file can say how to make it again.

    Parameters
    ----------
    recipe
        What to import and call.
    embedding_size
        Number of elements of the embedding that the network must give.

    Raises
    ------
    SynthDistillError
        The network cannot be made, or does not map faces to embeddings of this size.
    """

    def __init__(self, recipe: Recipe, embedding_size: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.embedding_size = embedding_size
        self.network = recipe.make()
        found = count_features(self.network, recipe.factory)
        if found != embedding_size:
            raise SynthDistillError(
                f"{recipe.factory} gives embeddings of {found} elements, {embedding_size} were "
                "expected: the teacher's number"
            )

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Compute embeddings ``[B, embedding_size]`` of faces ``[B, 3, 112, 112]`` in [-1, 1]."""
        return self.network(conventions.for_student(faces))
