"""A student as an ONNX file: pixels in, embeddings out, the same numbers as torch's."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..faces import FACE_SIZE, from_uint8
from ..files import SynthDistillError, atomic_write
from ..recognition.onnx_network import PIXELS, need_packages, open_session

INPUT, OUTPUT = "faces", "embeddings"
"""Names of the file's input and output."""

OPSET = 18
"""Version of ONNX's operators: onnxruntime reads it since 1.14, of 2023."""

BATCHES = (1, 7)
"""Numbers of faces that the file is tried with: its batch size is free."""

TOLERANCE = 1e-4
"""Largest deviation from torch's embeddings, relative to their lengths."""


class Deployed(nn.Module):
    """A student behind its normalisation: faces are pixels, RGB, in [0, 255], float32."""

    def __init__(self, student: nn.Module, normalise: bool) -> None:
        super().__init__()
        self.student, self.normalise = student.eval(), normalise

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces: ``[B, D]``, of length 1 if they are to be normalised."""
        embeddings = self.student(from_uint8(faces))
        return F.normalize(embeddings) if self.normalise else embeddings


def export_onnx(
    student: nn.Module, path: Path, normalise: bool = False, metadata: Mapping[str, str] = {}
) -> float:
    """Write a student, on the CPU, as an ONNX file, if it computes what torch does.

    Embeddings get the length 1 if they are to be normalised; ``metadata`` is what the file says of
    itself, besides its input and output. Gives the largest deviation from torch's embeddings,
    relative to their lengths.
    """
    need_packages("the export", "onnx", "onnxscript", "onnxruntime")
    network = Deployed(student, normalise)
    with atomic_write(path) as temporary:
        with quiet():
            program = _translate(network)
        described = {
            "input": PIXELS,
            "input_shape": f"[batch, 3, {FACE_SIZE}, {FACE_SIZE}], float32, an aligned face each",
            "output": "embeddings of length 1" if normalise else "embeddings, not normalised",
            **metadata,
        }
        save_model(program.model_proto, temporary, described)
        deviation = measure_deviation(network, temporary)
        if not deviation <= TOLERANCE:
            raise SynthDistillError(
                f"the ONNX file of this student deviates from torch by {deviation:.1e}, more than "
                f"{TOLERANCE:g}: it is not written. Does the network compute something that "
                "depends on the batch, or draw random numbers?"
            )
    return deviation


def save_model(model: "onnx.ModelProto", path: Path, metadata: Mapping[str, str]) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Write a model with these metadata, without the exporter's notes (the user's paths)."""
    import onnx

    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for part in (*graph.node, *values, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        # by its weights, as the network's author did
        module, _, kind = node.input[1].rpartition(".") if len(node.input) > 1 else ("", "", "")
        if module and kind == "weight":
            node.name = module
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what the tools of torch and onnxruntime print and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            yield
        finally:
            logging.disable(level)


def _translate(network: nn.Module) -> Any:
    """Let torch translate a network."""
    try:
        return torch.onnx.export(
            network,
            # torch takes a batch of one for a constant
            (torch.zeros(2, 3, FACE_SIZE, FACE_SIZE),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"faces": {0: "batch"}},
            verbose=False,
        )
    except Exception as error:  # a stranger's network can fail in any way
        cause: BaseException = error
        while (earlier := cause.__cause__ or cause.__context__) is not None:
            cause = earlier
        told = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
        raise SynthDistillError(
            f"torch cannot write this student as ONNX: {told}. Write that part of the network "
            "otherwise."
        ) from error


@torch.inference_mode()
def measure_deviation(network: nn.Module, path: Path) -> float:
    """Compare an ONNX file with the torch network that it is of, on random pixels."""
    session = open_session(path)
    generator = torch.Generator().manual_seed(0)
    deviations = []
    for batch in BATCHES:
        faces = 255 * torch.rand(batch, 3, FACE_SIZE, FACE_SIZE, generator=generator)
        expected = network(faces)
        found = torch.from_numpy(session.run([OUTPUT], {INPUT: faces.numpy()})[0])
        deviations.append(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())
    return float(torch.stack(deviations).max())
