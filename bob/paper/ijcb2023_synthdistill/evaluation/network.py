"""Name a network without holding it: a recipe travels to the workers, the weights never do."""

import dataclasses
import functools
import hashlib
import threading
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import torch

from ..allocator import keep_buffers
from ..files import ONNX, STUDENT, TEACHER, SynthDistillError, require_path, sha256
from ..recognition.onnx_network import OnnxNetwork
from ..recognition.own import Network, lay_out, make_network, measure_embedding, name_network
from ..recognition.student import load_student
from ..recognition.teacher import load_teacher

KEYS = {
    "student": (STUDENT, "train one with `synthdistill-train`"),
    "teacher": (TEACHER, "get it with `synthdistill-fetch`"),
    "onnx": (ONNX, "make one with `synthdistill-export`"),
}

_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class NetworkRecipe:
    """How to get a network. It can be pickled, and nothing is opened before it is asked to.

    ``source`` is the file, ``None`` the one named by ``bob config set``; or what makes a network of
    one's own with its weights, of the kind ``network``: ``"package.module:name"``, a class or a
    function; it takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1] and gives ``[B, D]``. ``network``
    makes the network of a student that is no timm model: see ``load_student``.
    """

    kind: Literal["student", "teacher", "onnx", "network"]
    source: Path | Network | None = None
    network: Network | None = None

    def __post_init__(self) -> None:
        if self.kind != "network" and self.source is not None:
            # absolute, so that a worker started elsewhere finds it
            path = Path(str(self.source)).expanduser().absolute()
            object.__setattr__(self, "source", path)

    def __str__(self) -> str:
        """Name the file, or the network as ``package.module:name``."""
        if self.kind == "network":
            return name_network(self.source)  # type: ignore[arg-type]
        return str(self.source or f"the configured {self.kind}")

    def path(self) -> Path:
        """Find the file, as given or as configured."""
        key, command = KEYS[self.kind]
        path = Path(str(self.source or require_path(key, f"the {self.kind}'s file")))
        if not path.is_file():
            what = "a folder" if path.is_dir() else "nothing"
            raise SynthDistillError(
                f"expected the {self.kind}'s file, found {what} at {path}: {command}, or correct "
                "the path."
            )
        return path

    def fingerprint(self) -> str:
        """Compute what tells this network from others: the SHA-256 of its file, or its weights."""
        if self.kind != "network":
            return sha256(self.path())
        digest = hashlib.sha256()
        for name, tensor in self.load("cpu").state_dict().items():
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def load(self, device: str) -> torch.nn.Module:
        """Give the network, ready for inference: loaded once in a process, again if it changed."""
        path = None if self.kind == "network" else self.path()
        state = path and (path.stat().st_mtime_ns, path.stat().st_size)
        with _lock:  # threads of one worker wait for the first instead of all loading
            # as bytes, for the recipe itself need not be hashable
            return _load(cloudpickle.dumps(self), device, path, state)


# the network at work, and the one before it where several are evaluated in one process
@functools.lru_cache(maxsize=2)
def _load(pickled: bytes, device: str, path: Path, state: Any) -> torch.nn.Module:  # noqa: ARG001
    """Load a network once for each state of its file."""
    # dask's workers are started with an allocator that gives back every buffer (it sets
    # MALLOC_TRIM_THRESHOLD_): clearing the pages anew took most of their time
    keep_buffers()
    recipe: NetworkRecipe = cloudpickle.loads(pickled)
    network: torch.nn.Module
    if recipe.kind == "student":
        network = load_student(path, recipe.network)
    elif recipe.kind == "teacher":
        network = load_teacher(path)
    else:
        onnx = recipe.kind == "onnx"
        network = OnnxNetwork(path) if onnx else make_network(recipe.source)  # type: ignore[arg-type]
        measure_embedding(network, str(recipe))
    return lay_out(network.eval().requires_grad_(False).to(device))
