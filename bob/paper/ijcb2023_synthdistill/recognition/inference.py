"""Teachers for inference: batch norms folded into the convolutions, channels-last.

The numbers are those of :py:mod:`.iresnet` in evaluation mode, but for rounding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..faces import FACE_SIZE
from .iresnet import Block, IResNet
from .teacher import Teacher

CHUNK = 16
"""Faces that a CPU embeds at a time: enough to use each weight often, few enough for the cache."""

_LAST = torch.channels_last


def for_inference(teacher: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Give the folded form of an IResNet teacher on its device, any other module as it is.

    It computes in ``dtype``, by default float32; embeddings are float32 all the same.
    """
    if type(teacher) is not Teacher or type(teacher.network) is not IResNet:
        return teacher
    return FoldedTeacher(teacher, dtype or torch.float32)


def scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a batch norm in evaluation mode as x * scale + shift, ``[C]`` each, in float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def rectify(x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """Apply a PReLU to ``[B, C, H, W]``, channels-last, with the slopes of a row ``[W * C]``.

    Whole rows, since eight bfloat16 channels at a time take torch 30 times as long.
    """
    rows = x.permute(0, 2, 3, 1)
    return F.prelu(rows.flatten(2).flatten(0, 1), slopes).view(rows.shape).permute(0, 3, 1, 2)


class FoldedConvolution(nn.Module):
    """A convolution of ``[B, I, side, side]`` with the norm ``after`` it and the one ``before``.

    The shift of a norm before it does not reach the zeros around the image: it becomes a bias that
    depends on the place. A PReLU may follow.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    map: torch.Tensor | None
    slopes: torch.Tensor | None

    def __init__(
        self,
        convolution: nn.Conv2d,
        after: nn.BatchNorm2d,
        side: int,
        dtype: torch.dtype,
        before: nn.BatchNorm2d | None = None,
        prelu: nn.PReLU | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.padding = convolution.stride, convolution.padding
        scale, bias = scale_and_shift(after)
        weight = convolution.weight.double() * scale[:, None, None, None]
        place = slopes = None
        if before is not None:
            scale, shift = scale_and_shift(before)
            shifts = shift[None, :, None, None].expand(1, -1, side, side)
            place = F.conv2d(shifts, weight, bias, self.stride, self.padding)
            place = place.to(dtype).contiguous(memory_format=_LAST)
            weight = weight * scale[None, :, None, None]
        if prelu is not None:
            slopes = prelu.weight.detach().to(dtype).repeat(side)
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=_LAST))
        self.register_buffer("bias", bias.to(dtype) if place is None else None)
        self.register_buffer("map", place)
        self.register_buffer("slopes", slopes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if self.map is not None:
            x = x.add_(self.map)
        return x if self.slopes is None else rectify(x, self.slopes)


class FoldedBlock(nn.Module):
    """A residual block for inputs of height and width ``side``."""

    def __init__(self, block: Block, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        first, second = (block.conv1, block.bn2), (block.conv2, block.bn3)
        self.conv1 = FoldedConvolution(*first, side, dtype, block.bn1, block.prelu)
        self.conv2 = FoldedConvolution(*second, side, dtype)
        down: Any = block.downsample
        self.downsample = down and FoldedConvolution(down[0], down[1], side, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        identity = x if self.downsample is None else self.downsample(x)
        return self.conv2(self.conv1(x)).add_(identity)


class FoldedTeacher(nn.Module):
    """A frozen IResNet teacher for inference: see :py:func:`for_inference`."""

    head_weight: torch.Tensor
    head_bias: torch.Tensor

    def __init__(self, teacher: Teacher, dtype: torch.dtype) -> None:
        super().__init__()
        network: Any = teacher.network
        self.convert = teacher.convert
        self.dtype = dtype
        self.embedding_size = teacher.embedding_size
        with torch.no_grad():
            stem = network.conv1, network.bn1
            self.stem = FoldedConvolution(*stem, FACE_SIZE, dtype, prelu=network.prelu)
            self.blocks = nn.Sequential()
            side = FACE_SIZE
            for stage in range(1, len(network.layers) + 1):
                for block in network.get_submodule(f"layer{stage}"):
                    self.blocks.append(FoldedBlock(block, side, dtype))
                    side = -(-side // block.conv2.stride[0])
            self._fold_head(network, side)
        self.eval()

    def _fold_head(self, network: IResNet, side: int) -> None:
        """Fold the last norms into the linear layer, which then reads channels-last."""
        scale, shift = (value.float() for value in scale_and_shift(network.bn2))
        # in float32 and in place: this weight is the largest tensor of the network by far
        weight = network.fc.weight.unflatten(1, (len(scale), side, side)).permute(0, 2, 3, 1)
        bias = network.fc.bias + weight.sum(dim=(1, 2)) @ shift
        weight = weight.contiguous().mul_(scale)
        scale, shift = (value.float() for value in scale_and_shift(network.features))
        weight.mul_(scale[:, None, None, None])
        self.register_buffer("head_weight", weight.flatten(1).to(self.dtype))
        self.register_buffer("head_bias", (bias * scale + shift).to(self.dtype))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces: ``[B, embedding_size]``, float32. Gradients reach the faces."""
        parts = faces.split(CHUNK) if faces.device.type == "cpu" else [faces]
        features = [self._features(part) for part in parts]
        # of the batch at once: the largest weight is read once
        return F.linear(torch.cat(features), self.head_weight, self.head_bias).float()

    def _features(self, faces: torch.Tensor) -> torch.Tensor:
        x = self.convert(faces).to(dtype=self.dtype, memory_format=_LAST)
        return self.blocks(self.stem(x)).permute(0, 2, 3, 1).flatten(1)
