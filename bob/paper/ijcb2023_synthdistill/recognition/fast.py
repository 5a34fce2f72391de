"""The teacher for inference only: batch norms folded into the convolutions, channels-last.

The numbers are those of :py:mod:`.iresnet` in evaluation mode, but for rounding.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..faces import FACE_SIZE, for_teacher
from .iresnet import Block, IResNet
from .teacher import Teacher

CHUNK = 8
"""Faces that a CPU embeds at a time: enough to use each weight often, few enough for the cache."""

_LAST = torch.channels_last


def scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a batch norm in evaluation mode as x * scale + shift, ``[C]`` each, in float64."""
    assert norm.running_mean is not None  # noqa: S101 - IResNet's norms keep statistics
    assert norm.running_var is not None  # noqa: S101
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def rectify(x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """Apply a PReLU to ``[B, C, H, W]``, channels-last, with :py:func:`repeat_slopes`'s slopes.

    Whole rows at a time: eight bfloat16 channels at a time take torch 30 times as long.
    """
    rows = x.permute(0, 2, 3, 1)
    return F.prelu(rows.flatten(2).flatten(0, 1), slopes).view(rows.shape).permute(0, 3, 1, 2)


def repeat_slopes(prelu: nn.PReLU, side: int, dtype: torch.dtype) -> torch.Tensor:
    """Give a PReLU's slopes for each element of a channels-last row: ``[side * C]``."""
    return prelu.weight.detach().to(dtype).repeat(side)


class FoldedConvolution(nn.Module):
    """A convolution with the norm behind it, and the one before it, folded in.

    The shift of a norm before it does not reach the zeros around the image: it becomes a bias that
    depends on the place.

    Parameters
    ----------
    convolution
        Without a bias.
    after
        The norm of its outputs.
    before
        The norm of its inputs, or None.
    side
        Height and width of the input.
    dtype
        In which it computes.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    map: torch.Tensor | None

    def __init__(
        self,
        convolution: nn.Conv2d,
        after: nn.BatchNorm2d,
        before: nn.BatchNorm2d | None,
        side: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.stride, self.padding = convolution.stride, convolution.padding
        scale, shift = scale_and_shift(after)
        weight = convolution.weight.double() * scale[:, None, None, None]
        bias: torch.Tensor | None = shift
        place = None
        if before is not None:
            scale, shift = scale_and_shift(before)
            shifts = shift[None, :, None, None].expand(1, -1, side, side)
            place = F.conv2d(shifts, weight, bias, self.stride, self.padding)
            place = place.to(dtype).contiguous(memory_format=_LAST)
            weight = weight * scale[None, :, None, None]
            bias = None
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=_LAST))
        self.register_buffer("bias", None if bias is None else bias.to(dtype))
        self.register_buffer("map", place)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve ``[B, I, side, side]``."""
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return x if self.map is None else x.add_(self.map)


class FoldedBlock(nn.Module):
    """A residual block with its norms folded.

    Parameters
    ----------
    block
        The plain one.
    side
        Height and width of the input.
    dtype
        In which it computes.
    """

    def __init__(self, block: Block, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv1 = FoldedConvolution(block.conv1, block.bn2, block.bn1, side, dtype)
        self.register_buffer("slopes", repeat_slopes(block.prelu, side, dtype))
        self.conv2 = FoldedConvolution(block.conv2, block.bn3, None, side, dtype)
        self.downsample = None
        if block.downsample is not None:
            convolution, norm = block.downsample
            assert isinstance(convolution, nn.Conv2d)  # noqa: S101 - for the type checker
            assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101
            self.downsample = FoldedConvolution(convolution, norm, None, side, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, I, side, side]`` to ``[B, O, ...]``."""
        identity = x if self.downsample is None else self.downsample(x)
        x = rectify(self.conv1(x), self.get_buffer("slopes"))
        return self.conv2(x).add_(identity)


class FastTeacher(nn.Module):
    """A frozen teacher for inference.

    Parameters
    ----------
    teacher
        The plain one, on its device.
    dtype
        In which it computes; embeddings are float32.
    """

    def __init__(self, teacher: Teacher, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        network = teacher.network
        self.dtype = dtype
        self.embedding_size = network.embedding_size
        with torch.no_grad():
            self.stem = FoldedConvolution(network.conv1, network.bn1, None, FACE_SIZE, dtype)
            self.register_buffer("slopes", repeat_slopes(network.prelu, FACE_SIZE, dtype))
            blocks = []
            side = FACE_SIZE
            for stage in range(1, len(network.layers) + 1):
                for block in network.get_submodule(f"layer{stage}").children():
                    assert isinstance(block, Block)  # noqa: S101 - for the type checker
                    blocks.append(FoldedBlock(block, side, dtype))
                    side = -(-side // block.conv2.stride[0])
            self.blocks = nn.Sequential(*blocks)
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
        """Embed faces ``[B, 3, 112, 112]`` in [-1, 1]: ``[B, embedding_size]``, float32.

        Gradients reach the faces, where they ask for them; the teacher has no parameters.
        """
        if faces.device.type != "cpu":
            features = self._features(faces)
        else:
            features = torch.cat([self._features(part) for part in faces.split(CHUNK)])
        # of the batch at once: the largest weight is read once
        head = self.get_buffer("head_weight"), self.get_buffer("head_bias")
        return F.linear(features, *head).float()

    def _features(self, faces: torch.Tensor) -> torch.Tensor:
        x = for_teacher(faces).to(dtype=self.dtype, memory_format=_LAST)
        x = self.blocks(rectify(self.stem(x), self.get_buffer("slopes")))
        return x.permute(0, 2, 3, 1).flatten(1)


def accelerate_teacher(teacher: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Give the fast form of a plain teacher, and any other module as it is."""
    if type(teacher) is not Teacher or type(teacher.network) is not IResNet:
        return teacher
    return FastTeacher(teacher, dtype or torch.float32)
