"""The teacher: an ArcFace IResNet from the files that circulate, or a network of one's own."""

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..faces import FACE_SIZE, for_teacher
from ..files import SynthDistillError, reading
from ..unpickling import explained, quoted
from ..weights import (
    State,
    check_format,
    load_weights,
    read_weights,
    save_weights,
    shorten,
)
from . import adaface
from .ensemble import Ensemble
from .iresnet import EPS_BOB, EPS_INSIGHTFACE, IResNet
from .own import Network, is_network_name, make_network, measure_embedding

logger = logging.getLogger(__name__)

FORMAT = "synthdistill-teacher"
FORMAT_VERSION = 1

BOB_NAME = re.compile(r"iresnet(34|50|100)-[0-9a-f]{8}\.pth")
"""Names of the files in Bob's archive ``iresnet-91a5de61.tar.gz``, and in pytorch-insightface."""


class Teacher(nn.Module):
    """A frozen recogniser, always in evaluation mode: ``train()`` leaves it as it is.

    Parameters
    ----------
    network
        Gives one embedding for each face. It is frozen.
    mean, std
        The network takes ``(pixel - mean) / std`` of pixels in [0, 255]: 127.5 twice is [-1, 1].
    colour
        The order of its three channels.
    size
        Height and width that it takes, if not 112.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: float = 127.5,
        std: float = 128.0,
        colour: Literal["RGB", "BGR"] = "RGB",
        size: int = FACE_SIZE,
    ) -> None:
        super().__init__()
        if colour not in ("RGB", "BGR"):
            raise SynthDistillError(f"a teacher's colour is 'RGB' or 'BGR', not {colour!r}")
        self.network = network.requires_grad_(False)
        self.dtype = torch.float32
        self.convert = functools.partial(
            for_teacher, mean=mean, std=std, bgr=colour == "BGR", size=size
        )
        self.eval()
        if isinstance(network, IResNet):
            self.embedding_size = network.embedding_size
        else:
            name = f"the teacher {type(network).__name__}"
            self.embedding_size = measure_embedding(network, name, self.convert)

    def train(self, mode: bool = True) -> "Teacher":  # noqa: ARG002
        """Stay in evaluation mode."""
        return super().train(False)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Compute in another type from now on; embeddings stay float32."""
        self.network.to(dtype)
        self.dtype = dtype

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed aligned faces ``[B, 3, 112, 112]``, RGB, in [-1, 1].

        Embeddings ``[B, embedding_size]`` are float32 and not normalised.
        """
        return self.network(self.convert(faces).to(self.dtype)).float()


def create_teacher(
    teacher: Path | Network | Sequence[Path | Network],
    combine: Literal["mean", "concatenation"] = "mean",
) -> Teacher | Ensemble:
    """Get a teacher from a file (see :py:func:`load_teacher`) or from a network of the user's own.

    Several become one, an :py:class:`.Ensemble`: ``combine`` says how. A network may be or give a
    :py:class:`Teacher`, which says what faces it takes; any other takes them as they are in this
    package: ``[B, 3, 112, 112]``, RGB, [-1, 1].
    """
    if isinstance(teacher, Sequence) and not isinstance(teacher, str):
        return Ensemble([create_teacher(one) for one in teacher], combine)
    if isinstance(teacher, Path) or (
        isinstance(teacher, str) and (not is_network_name(teacher) or Path(teacher).exists())
    ):
        return load_teacher(teacher)
    network = make_network(teacher)
    if isinstance(network, Teacher | Ensemble):
        return network
    return Teacher(network, std=127.5)


def load_teacher(path: Path | str, eps: float | None = None) -> Teacher:
    """Load a teacher, frozen: Bob's, InsightFace's or one that :py:func:`save_teacher` wrote.

    Parameters
    ----------
    path
        A torch file with a state dict (Bob's ``iresnet100-73e07ba7.pth``, InsightFace's
        ``backbone.pth``), safetensors, or ONNX (see :py:mod:`.onnx_teacher`). The architecture
        (number of blocks, widths, size of the embedding) is read from the tensors.
    eps
        The batch-norm eps, which a state dict does not tell but the embeddings depend on. By
        default: what our safetensors say; else :py:data:`EPS_BOB` for the names in Bob's archive;
        else :py:data:`EPS_INSIGHTFACE` if the counters of the batch norms moved, i.e. PyTorch
        trained the network; else Bob's, since it was converted from MXNet as Bob's was. With
        neither name nor counters to go by, a warning is logged.
    """
    with reading(path, "a teacher") as stream:
        start = stream.read(9)
    if start[:1] == b"\x08" and start[8:] != b"{":  # a protocol buffer
        from .onnx_teacher import load_onnx_teacher

        return load_onnx_teacher(path)
    if start[:2] == b"\x1f\x8b":
        raise SynthDistillError(
            f"{path} is an archive: unpack it (`tar -xzf`) and give the teacher in it, such as "
            "iresnet100-73e07ba7.pth of Bob's."
        )
    state, metadata = read_weights(path, "a teacher")
    with explained(path, "a teacher"):
        renamed = adaface.rename(state)
    if renamed is not None:
        logger.warning("%s is taken for AdaFace's: of BGR in [-1, 1]", path)
        network = make_iresnet(renamed, path, eps or EPS_INSIGHTFACE)
        return Teacher(network, std=127.5, colour="BGR")
    if metadata.get("format", "pt") != "pt":
        check_format(metadata, FORMAT, FORMAT_VERSION, path)
        with explained(path, "a teacher"):
            eps = eps or float(metadata["eps"])
    return Teacher(make_iresnet(state, path, eps or _guess_eps(Path(path).name, state)))


def save_teacher(path: Path | str, network: IResNet, metadata: Mapping[str, Any]) -> None:
    """Write a teacher's network as safetensors; more ``metadata`` are text, or become JSON."""
    ours = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": "iresnet",
        "layers": list(network.layers),
        "widths": list(network.widths),
        "embedding_size": network.embedding_size,
        "eps": network.eps,
        "input": "aligned faces [B, 3, 112, 112], RGB, (pixel - 127.5) / 128",
    }
    save_weights(path, network, {**metadata, **ours})


def _guess_eps(name: str, state: State) -> float:
    if BOB_NAME.fullmatch(name):
        return EPS_BOB
    counters = [t for n, t in state.items() if n.endswith("num_batches_tracked")]
    if any(bool((counter > 0).any()) for counter in counters):
        return EPS_INSIGHTFACE
    if not counters:
        logger.warning(
            f"{name} does not tell where it comes from: a batch-norm eps of {EPS_BOB:g} is "
            f"assumed, as in Bob's teachers. InsightFace's have {EPS_INSIGHTFACE:g}: give eps to "
            "load_teacher, and write the file with save_teacher, which keeps it."
        )
    return EPS_BOB


def make_iresnet(state: State, path: Path | str, eps: float) -> IResNet:
    """Make the network that the names and shapes of the tensors tell, with these weights."""
    layers: list[int] = []
    widths: list[int] = []
    while (first := state.get(f"layer{len(layers) + 1}.0.conv1.weight")) is not None:
        pattern = re.compile(rf"layer{len(layers) + 1}\.(\d+)\.")
        layers.append(len({m[1] for m in map(pattern.match, state) if m}))
        widths.append(first.shape[0] if first.ndim else 0)
    last = state.get("fc.weight")
    if not layers or last is None or last.ndim != 2 or 0 in widths or not last.shape[0]:
        raise SynthDistillError(
            f"expected an IResNet in {path}: tensors named layer1.0.conv1.weight ... fc.weight; "
            f"found {shorten(map(quoted, state))}. It is another network's file: correct the path."
        )
    # on the meta device: nothing is allocated before load_weights has compared all shapes
    with torch.device("meta"):
        network = IResNet(layers, widths, last.shape[0], eps)
    load_weights(network, state, path)
    return network
