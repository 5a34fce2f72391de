"""Teachers in ONNX files, such as InsightFace's w600k_r50.onnx and glint360k_r100.onnx.

A graph that is an IResNet becomes ours, which has a fast form and runs on CUDA. Its tensors are
taken in the graph's order, since exporters give those that they fold (a norm into the convolution
before it) mere numbers for names; then the embeddings are compared with onnxruntime's. Any other
graph runs as it is by onnxruntime.
"""

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..unpickling import explained
from ..weights import State
from .iresnet import EPS_INSIGHTFACE, norm_without_statistics
from .onnx_network import PIXELS, OnnxNetwork, need_packages
from .own import reason
from .teacher import Teacher, make_iresnet

logger = logging.getLogger(__name__)

WHAT = "a teacher in the ONNX format"

TOLERANCE = 1e-3
"""How far our embeddings may be from onnxruntime's, relative to their norm (1e-6 is usual)."""

PASSED = {"Constant", "Identity", "Sub", "Mul", "Add", "Dropout", "Flatten", "Reshape"}
"""Operators of an IResNet's graph that need no tensors."""


class Node(NamedTuple):
    """An operator of a graph, with those of its inputs that are numbers."""

    operator: str
    numbers: list[Tensor]
    attributes: dict[str, Any]
    source: str
    result: str


Unit = tuple[Tensor, State, int]
"""A convolution's weight, the norm behind it and its stride."""


def load_onnx_teacher(
    path: Path | str,
    mean: float | None = None,
    std: float | None = None,
    colour: Literal["RGB", "BGR"] = "RGB",
) -> Teacher:
    """Load a teacher from an ONNX file, frozen.

    ``mean``, ``std`` and ``colour`` say what faces the graph takes, see :py:class:`.Teacher`. By
    default these are RGB in [-1, 1], or in [0, 255] if the graph begins with a subtraction and a
    multiplication, by which InsightFace's own code tells it, too. The size is the graph's.
    """
    nodes = read_graph(path)
    network = OnnxNetwork(path, threads=torch.get_num_threads())
    # an exported student of ours says itself that it takes pixels, and is given them
    ours = network.metadata.get("input") == PIXELS
    inside = not ours and [node.operator for node in nodes[:2]] == ["Sub", "Mul"]
    offset, factor = 0.0, 1.0
    if inside:
        offset, factor = (node.numbers[0].flatten()[0].item() for node in nodes[:2])
    mean = (0.0 if inside else 127.5) if mean is None else mean
    std = (1.0 if inside else 127.5) if std is None else std
    whole = Teacher(network, mean, std, colour, network.size)
    try:
        # what the graph does to pixels first is done before our network
        iresnet = make_iresnet(name_tensors(nodes), path, EPS_INSIGHTFACE)
        mapped = Teacher(iresnet, mean + offset * std, std / factor, colour, network.size)
        _compare(mapped, whole)
    except Exception as error:  # a graph can differ from an IResNet in any way
        logger.warning(
            "%s is no IResNet that we know (%s): onnxruntime computes it, on the CPU, slower",
            path,
            reason(error),
        )
        return whole
    return mapped


def read_graph(path: Path | str) -> list[Node]:
    """Read the operators of an ONNX file, in their order; only data are read."""
    need_packages(f"{WHAT}, {path},", "onnx")
    import onnx

    def tensor(content: Any) -> Tensor:
        return torch.from_numpy(onnx.numpy_helper.to_array(content).copy())

    with explained(path, WHAT):
        graph = onnx.load(path).graph
        numbers = {content.name: tensor(content) for content in graph.initializer}
        nodes = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                numbers[node.output[0]] = tensor(attributes["value"])
            elif node.op_type in ("Identity", "Unsqueeze") and node.input[0] in numbers:
                numbers[node.output[0]] = numbers[node.input[0]]
            else:
                given = [numbers[name] for name in node.input if name in numbers]
                first, result = node.input[0], node.output[0]
                nodes.append(Node(node.op_type, given, attributes, first, result))
    return nodes


def name_tensors(nodes: list[Node]) -> State:
    """Name the tensors of an IResNet as we do; ``ValueError`` if the operators are of another."""
    convolutions: list[Unit] = []
    shortcuts: list[Unit] = []
    norms, slopes, linear = [], [], []
    convolved = {}
    for node in nodes:
        if node.operator == "Conv":
            weight, bias = [*node.numbers, torch.zeros(len(node.numbers[0]))][:2]
            # a norm that does nothing but add the bias, unless one follows
            norm = norm_without_statistics(torch.ones(len(weight)), bias)
            unit = (weight, norm, node.attributes["strides"][0])
            (shortcuts if weight.shape[-1] == 1 else convolutions).append(unit)
            convolved[node.result] = norm
        elif node.operator == "BatchNormalization":
            weight, bias, mean, variance = node.numbers
            variance = variance + (node.attributes.get("epsilon", 1e-5) - EPS_INSIGHTFACE)
            norm = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
            if node.source in convolved:
                convolved[node.source].update(norm)
            else:
                norms.append(norm)
        elif node.operator == "PRelu":
            slopes.append(node.numbers[0].flatten())
        elif node.operator == "Gemm" and node.attributes.get("transB"):
            linear.append(node.numbers)
        elif node.operator not in PASSED:
            raise ValueError(f"it has the operator {node.operator}")

    starts = [block for block, unit in enumerate(convolutions[2::2]) if unit[2] == 2]
    blocks = len(slopes) - 1
    counts = [len(convolutions), len(shortcuts), len(linear)]
    if counts != [2 * blocks + 1, len(starts), 1]:
        raise ValueError(f"it has {counts} convolutions, shortcuts and linear layers")
    layers = [end - start for start, end in zip(starts, [*starts[1:], blocks], strict=True)]
    weight, bias = linear[0]
    names = [f"layer{s}.{b}" for s, count in enumerate(layers, 1) for b in range(count)]
    pairs = [("conv1", "bn1")]
    for name in names:
        pairs += [(f"{name}.conv1", f"{name}.bn2"), (f"{name}.conv2", f"{name}.bn3")]
    for stage in range(1, len(layers) + 1):
        pairs.append((f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"))
    parts: dict[str, State] = {"fc": {"weight": weight, "bias": bias}}
    for (name, after), (kernel, norm, _) in zip(pairs, convolutions + shortcuts, strict=True):
        parts |= {name: {"weight": kernel}, after: norm}
    # the last norm may have been folded into the linear layer
    nothing = norm_without_statistics(torch.ones(len(bias)), torch.zeros(len(bias)))
    before = [*(f"{name}.bn1" for name in names), "bn2", "features"]
    parts |= zip(before, [*norms, nothing], strict=False)
    rectifiers = ["prelu", *(f"{name}.prelu" for name in names)]
    parts |= {name: {"weight": slope} for name, slope in zip(rectifiers, slopes, strict=True)}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


@torch.no_grad()
def _compare(mapped: nn.Module, whole: nn.Module) -> None:
    faces = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = whole(faces)
    error = ((mapped(faces) - expected).norm() / expected.norm()).item()
    if not error < TOLERANCE:
        raise ValueError(f"our embeddings of two faces are {error:.2g} away from onnxruntime's")
