"""Name a network without holding it: a recipe travels to the workers, the weights never do."""

import dataclasses
import functools
import importlib
import inspect
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..files import SynthDistillError, sha256

if TYPE_CHECKING:
    import torch

Kind = Literal["student", "teacher", "network"]

CONFIGURED = {
    "student": "bob.paper.ijcb2023_synthdistill.student",
    "teacher": "bob.paper.ijcb2023_synthdistill.teacher",
}
"""Keys of ``bob config set`` that name the file when a recipe does not."""

_KEPT = 2
"""Networks that one process keeps: the one at work, and the one before it in a chain."""

_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class NetworkRecipe:
    """How to get a network: its kind and its file, or the name of a function that makes it.

    A recipe is small, picklable and hashable, and opens nothing until it is asked to.

    Parameters
    ----------
    kind
        ``"student"`` (a ``student.safetensors``), ``"teacher"`` (a teacher's file) or
        ``"network"`` (anything importable).
    source
        The file (made absolute, so that a worker started elsewhere finds it), or, for a
        ``"network"``, ``"package.module:name"`` of a :py:class:`torch.nn.Module` or of a function
        without arguments that returns one. It takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1]
        and gives ``[B, D]``. ``None``: the file named by ``bob config set`` (see
        :py:data:`CONFIGURED`), looked up when it is needed.
    """

    kind: Kind
    source: Path | str | None = None

    def __post_init__(self) -> None:
        if self.kind == "network":
            if ":" not in str(self.source):
                raise SynthDistillError(
                    f"expected the name of a network as package.module:name, found {self.source!r}"
                )
        elif self.source is not None:
            object.__setattr__(self, "source", Path(self.source).expanduser().absolute())

    def __str__(self) -> str:
        return f"{self.kind} {self.source or '(configured)'}"

    def path(self) -> Path:
        """Find the file.

        Raises
        ------
        SynthDistillError
            Nothing is configured, or there is no such file.
        """
        if self.source is None:
            from ..files import require_path

            found = require_path(CONFIGURED[self.kind], f"the {self.kind}'s file")
        else:
            found = Path(self.source)
        if not found.is_file():
            raise SynthDistillError(
                f"expected the {self.kind}'s file, found "
                f"{'a folder' if found.is_dir() else 'nothing'} at {found}. "
                + (
                    "Train one with `synthdistill-train`, or correct the path."
                    if self.kind == "student"
                    else "Get it with `synthdistill-fetch`, or correct the path."
                )
            )
        return found

    def fingerprint(self) -> str:
        """Compute what tells this network from others: the SHA-256 of its file.

        For a network by name it is the SHA-256 of the module that defines it; weights that this
        module reads from elsewhere are not seen.

        Raises
        ------
        SynthDistillError
            The file or module is not there.
        """
        if self.kind == "network":
            module = self._import()[0]
            source = inspect.getsourcefile(module)
            return f"{self.source} {sha256(source) if source else 'without source'}"
        path = self.path()
        return _sha256(path, path.stat().st_mtime_ns, path.stat().st_size)

    def load(self, device: str) -> "torch.nn.Module":
        """Give the network, ready for inference: loaded once in a process, again if it changed.

        Parameters
        ----------
        device
            Where it has to be, as for :py:class:`torch.device`.

        Raises
        ------
        SynthDistillError
            The file is not there, of another format, or the name is not that of a network.
        """
        stamp: tuple[int, ...] = ()
        recipe = self
        if self.kind != "network":
            path = self.path()
            recipe = NetworkRecipe(self.kind, path)
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
        with _lock:  # threads of one worker wait for the first instead of all loading
            return _load(recipe, device, stamp)

    def _import(self) -> tuple[types.ModuleType, object]:
        """Import the module of a network by name; return it and the named object."""
        module_name, _, name = str(self.source).partition(":")
        try:
            module = importlib.import_module(module_name)
            return module, functools.reduce(getattr, name.split("."), module)
        except (ImportError, AttributeError) as error:
            raise SynthDistillError(
                f"expected a network at {self.source}: {error}. Write package.module:name of a "
                "torch module, or of a function that returns one, installed or in PYTHONPATH."
            ) from error


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, modified: int, size: int) -> str:  # noqa: ARG001
    """Hash a file once for each of its states (the last two are keys of the cache only)."""
    return sha256(path)


@functools.lru_cache(maxsize=_KEPT)
def _load(recipe: NetworkRecipe, device: str, stamp: tuple[int, ...]) -> "torch.nn.Module":  # noqa: ARG001
    """Load a network once for each state of its file (``stamp`` is a key of the cache only)."""
    import torch

    from ..allocator import keep_buffers

    # dask's workers are started with an allocator that gives back every buffer (it sets
    # MALLOC_TRIM_THRESHOLD_): clearing the pages anew took most of their time
    keep_buffers()
    network: object
    if recipe.kind == "student":
        from ..recognition.student import load_student

        network = load_student(recipe.path())
    elif recipe.kind == "teacher":
        from ..recognition.teacher import load_teacher

        network = load_teacher(recipe.path())
    else:
        network = recipe._import()[1]
        if isinstance(network, Callable) and not isinstance(network, torch.nn.Module):  # type: ignore[arg-type]
            network = network()  # type: ignore[operator]
    if not isinstance(network, torch.nn.Module):
        raise SynthDistillError(
            f"expected a torch module, or a function that returns one, at {recipe.source}; "
            f"found {type(network).__name__}"
        )
    # channels-last convolutions are faster on CPUs and on CUDA devices alike
    return network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
