"""Networks in ONNX files, run by onnxruntime on the CPU."""

import functools
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError, reading

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PIXELS = "RGB, [0, 255]"
"""What the metadata of an exported student say of its ``input``. Files that do not say so, such as
InsightFace's, take the range [-1, 1]."""


def need_packages(purpose: str, *names: str) -> None:
    """Say how to install the packages of ONNX that are needed, if one is not there."""
    try:
        for name in names:
            importlib.import_module(name)
    except ImportError as error:
        raise SynthDistillError(
            f"{purpose} needs {', '.join(names)}, which cannot be imported ({error}). Install what "
            "is missing with `pip install 'bob.paper.ijcb2023_synthdistill[deploy]'`."
        ) from error


def open_session(path: Path | str, threads: int = 1) -> "InferenceSession":
    """Open an ONNX file of a recogniser: of one input ``[B, 3, size, size]``, float32.

    ``threads`` compute an operation; 0 is one for each core.
    """
    with reading(path, "an ONNX file"):
        pass
    need_packages(f"the ONNX file {path}", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.log_severity_level = 4  # what is wrong is raised, too
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's have no class in common
        raise SynthDistillError(
            f"{path} is no ONNX file that onnxruntime {onnxruntime.__version__} can compute: "
            f"{str(error)[:200]!a}. Correct the path, or export it again with "
            "`synthdistill-export`."
        ) from error
    taken = [(one.type, one.shape[1:]) for one in session.get_inputs()]
    sizes = [size if isinstance(size, int) else FACE_SIZE for size in taken[0][1]]  # a name: any
    if len(taken) != 1 or taken[0][0] != "tensor(float)" or sizes != [3, sizes[-1], sizes[-1]]:
        found = ", ".join(f"{kind} [B, {', '.join(map(str, rest))}]" for kind, rest in taken)
        raise SynthDistillError(
            f"expected a recogniser of aligned faces [B, 3, {FACE_SIZE}, {FACE_SIZE}], float32, in "
            f"{path}; its input is {found or 'nothing'}. Give another file."
        )
    return session


class OnnxNetwork(nn.Module):
    """The network of an ONNX file: faces ``[B, 3, size, size]`` in [-1, 1] to its first output.

    ``threads`` compute; several may call it at once. There are no gradients.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        super().__init__()
        session = open_session(path, threads)
        self.metadata = session.get_modelmeta().custom_metadata_map
        self._run = functools.partial(session.run, [session.get_outputs()[0].name])
        taken = session.get_inputs()[0]
        self._name = taken.name
        self._one_by_one = taken.shape[0] == 1
        self.size = taken.shape[2] if isinstance(taken.shape[2], int) else FACE_SIZE

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces: ``[B, D]``."""
        if self.metadata.get("input") == PIXELS:
            faces = (faces + 1) * 127.5
        pixels = faces.float().contiguous().cpu().numpy()
        parts = numpy.split(pixels, len(pixels)) if self._one_by_one else [pixels]
        found: list[Any] = [self._run({self._name: part})[0] for part in parts]
        return torch.from_numpy(numpy.concatenate(found)).to(faces.device)
