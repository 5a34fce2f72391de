"""Name a network without holding it: a recipe travels to the workers, the weights never do."""

import dataclasses
import functools
import importlib
import inspect
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..files import STUDENT, TEACHER, SynthDistillError, require_path, sha256

if TYPE_CHECKING:
    import torch

Kind = Literal["student", "teacher", "network"]

_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class NetworkRecipe:
    """How to get a network. Picklable and hashable; nothing is opened before it is asked to.

    Parameters
    ----------
    kind
        ``"student"`` (a ``student.safetensors``), ``"teacher"`` (a teacher's file) or
        ``"network"`` (anything importable).
    source
        The file (made absolute, so that a worker started elsewhere finds it), or, for a
        ``"network"``, ``"package.module:name"`` of a :py:class:`torch.nn.Module` or of a function
        without arguments that returns one. It takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1]
        and gives ``[B, D]``. ``None``: the file named by ``bob config set``.
    """

    kind: Kind
    source: Path | str | None = None

    def __post_init__(self) -> None:
        if self.kind != "network":
            if self.source is not None:
                object.__setattr__(self, "source", Path(self.source).expanduser().absolute())
        elif ":" not in str(self.source):
            raise SynthDistillError(
                f"expected the name of a network as package.module:name, found {self.source!r}"
            )

    def __str__(self) -> str:
        return f"{self.kind} {self.source or '(configured)'}"

    def path(self) -> Path:
        """Find the file, as given or as configured."""
        if self.source is None:
            key = STUDENT if self.kind == "student" else TEACHER
            found = require_path(key, f"the {self.kind}'s file")
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
        """
        if self.kind == "network":
            source = inspect.getsourcefile(self._import()[0])
            return f"{self.source} {sha256(source) if source else 'without source'}"
        return _sha256(*_state(self.path()))

    def load(self, device: str) -> "torch.nn.Module":
        """Give the network, ready for inference: loaded once in a process, again if it changed."""
        state = () if self.kind == "network" else _state(self.path())
        with _lock:  # threads of one worker wait for the first instead of all loading
            return _load(self, device, state)

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


def _state(path: Path) -> tuple[Path, int, int]:
    return path, path.stat().st_mtime_ns, path.stat().st_size


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, modified: int, size: int) -> str:  # noqa: ARG001 - keys of the cache
    return sha256(path)


# the network at work, and the one before it where several are evaluated in one process
@functools.lru_cache(maxsize=2)
def _load(recipe: NetworkRecipe, device: str, state: tuple) -> "torch.nn.Module":
    """Load a network once for each state of its file."""
    import torch

    from ..allocator import keep_buffers

    # dask's workers are started with an allocator that gives back every buffer (it sets
    # MALLOC_TRIM_THRESHOLD_): clearing the pages anew took most of their time
    keep_buffers()
    network: object
    if recipe.kind == "student":
        from ..recognition.student import load_student

        network = load_student(state[0])
    elif recipe.kind == "teacher":
        from ..recognition.teacher import load_teacher

        network = load_teacher(state[0])
    else:
        network = recipe._import()[1]
        if callable(network) and not isinstance(network, torch.nn.Module):
            network = network()
    if not isinstance(network, torch.nn.Module):
        raise SynthDistillError(
            f"expected a torch module, or a function that returns one, at {recipe.source}; "
            f"found {type(network).__name__}"
        )
    from ..recognition.own import lay_out

    return lay_out(network.eval().requires_grad_(False).to(device))
