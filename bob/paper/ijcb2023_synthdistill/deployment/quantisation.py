"""Eight-bit weights and activations for an exported student, calibrated on generated faces.

Ranges of activations are those that generated faces have: no photograph is needed here either. What
eight bits cost is measured operation by operation; those that cost most are computed in float32.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .. import faces as conventions
from ..files import atomic_write
from ..generators import load_generator
from ..recognition.onnx_network import open_session
from .onnx_export import INPUT, quiet, save_model

PROBES = 64
"""Generated faces, none of those of the calibration, on which the damage is measured."""

WANTED = 0.999
"""Mean cosine between embeddings in 8 bits and in float32, at which no more operations are kept in
float32 (nor more than half of them): see doc/deployment.md for what it is worth in accuracy."""

STEP = 4
"""Operations that are put back to float32 at a time."""

SEED = 2023

OPERATIONS = ["Conv", "Gemm", "MatMul", "Add", "Relu", "Clip"]
"""Operations that are computed in 8 bits. SiLU, hard swish, sigmoids and the product of a squeeze
and excitation stay in float32: 8 bits harm them most, and make them no faster."""


class Quantised(NamedTuple):
    """What 8 bits cost: cosines to the float embeddings, and the operations kept in float32.

    ``damage`` is what each operation costs alone, 1 - mean cosine, the worst first: some at its
    beginning are ``kept``.
    """

    mean_cosine: float
    least_cosine: float
    kept: int
    damage: dict[str, float]


@torch.inference_mode()
def generate_faces(generator: Path, count: int) -> np.ndarray:
    """Generate aligned faces as pixels: ``[count, 3, 112, 112]``, RGB, [0, 255], float32."""
    network, numbers = load_generator(generator), torch.Generator().manual_seed(SEED)
    batches = []
    for start in range(0, count, 16):
        z = torch.randn(min(16, count - start), network.z_dim, generator=numbers)
        images = network.synthesis(network.mapping(z), noise_mode="const")
        batches.append(conventions.to_uint8(conventions.crop(images)))
    return torch.cat(batches).float().numpy()


def quantise(model: Path, path: Path, faces: np.ndarray) -> Quantised:
    """Write the exported student ``model`` with 8-bit weights (per channel) and activations.

    It is in the QDQ form that onnxruntime's providers share. Of the faces, those of
    :py:func:`generate_faces`, the last :py:data:`PROBES` measure, the others calibrate.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    calibration, probes = faces[:-PROBES], faces[-PROBES:]
    expected = _embed(model, probes)
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as temporary:
        prepared = Path(folder) / "model.onnx"
        with quiet():
            # its optimisation would take hard swishes apart, whose parts 8 bits harm
            quant_pre_process(model, prepared, skip_optimization=True, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node

        def cosines(**chosen: Sequence[str]) -> torch.Tensor:
            """Write the model with the chosen nodes in 8 bits, and compare its embeddings."""
            batches = np.array_split(calibration, max(1, len(calibration) // 4))
            given = ({INPUT: batch} for batch in batches)
            with quiet():
                quantize_static(
                    prepared,
                    temporary,
                    SimpleNamespace(get_next=lambda: next(given, None)),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=OPERATIONS,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    # calibrated once
                    calibration_cache_path=Path(folder) / "ranges.json",
                    **chosen,
                )
            return F.cosine_similarity(_embed(temporary, probes), expected)

        # of all probes: an operation may harm few faces, and those badly
        damage = {
            node.name: round(1 - float(cosines(nodes_to_quantize=[node.name]).mean()), 6)
            for node in nodes
            if node.op_type in OPERATIONS
        }
        worst, kept = sorted(damage, key=lambda name: -damage[name]), 0
        while not (found := cosines(nodes_to_exclude=worst[:kept])).mean() >= WANTED:
            if kept > len(worst) // 2:  # then it is hardly smaller
                break
            kept += STEP
        own = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
        save_model(onnx.load(temporary), temporary, own)
    ordered = {name: damage[name] for name in worst}
    return Quantised(float(found.mean()), float(found.min()), kept, ordered)


def _embed(path: Path, faces: np.ndarray) -> torch.Tensor:
    session = open_session(path)
    embeddings = [session.run(None, {INPUT: face[None]})[0] for face in faces]
    return torch.from_numpy(np.concatenate(embeddings))
