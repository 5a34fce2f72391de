"""StyleGAN3 for training on its faces: the plain network's images, without the work that is lost.

What differs from :py:mod:`.stylegan3`, none of it by more than rounding in float32:

- only the window of the image that :py:func:`~..faces.crop` reads is computed, the rest is zero:
  each layer has a window, with the margin that the layers above it need;
- up- and down-sampling are products with banded matrices, which leave out what a window does not
  need. A CPU passes a block of an image at a time through both and the leaky ReLU in between, so
  that these many samples stay in the cache and no image of them ever exists;
- a radial filter is a sum of few separable ones;
- weights are prepared once; activations are channels-last, and scaled instead of the weights.

It has no gradients.
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..faces import crop_box
from .stylegan2 import GAIN, LEAK, Noise
from .stylegan3 import Layer, Synthesis

BLOCK = 32
"""Rows and columns of a layer's output that a CPU makes at a time."""

PRECISION = 1e-6
"""Of a radial filter: separable parts that are smaller, relative to the largest, are left out."""

_LAST = torch.channels_last

Window = tuple[slice, slice]
"""Rows and columns of an activation."""


class Axis(NamedTuple):
    """The filters of rows, or of columns.

    ``up`` ``[T, n]`` leads from what is convolved to the higher sampling rate, each of ``downs``
    ``[m, T]`` from there to a part of the output.
    """

    up: Tensor
    downs: list[Tensor]


class Block(NamedTuple):
    """The part of an axis that makes ``target`` of ``source``."""

    source: slice
    up: Tensor
    downs: list[Tensor]
    target: slice


def make_axes(layer: Layer, size: int) -> tuple[Axis, Axis]:
    """Write a layer's filters as matrices, for activations ``size`` high and wide."""
    o = layer.options
    inputs = torch.eye(size + o.kernel - 1)[:, None]
    taps = layer.up_filter.float().cpu() * (o.up * math.sqrt(GAIN))
    cut = [o.before + 1 - o.up_taps, o.after + o.up - o.up_taps]
    up = F.pad(F.conv_transpose1d(inputs, taps[None, None], stride=o.up), cut)[:, 0].t()
    taps = layer.down_filter.float().cpu()
    rows, columns = taps[None], taps[None]
    if o.radial:
        left, sizes, right = torch.linalg.svd(taps.double())
        kept = sizes > PRECISION * sizes[0]
        rows, columns = (left * sizes).t()[kept].float(), right[kept].float()
    samples = torch.eye(len(up))[:, None]

    def downs(filters: Tensor) -> list[Tensor]:
        each = F.conv1d(samples, filters[:, None], stride=o.down)
        return [matrix.t() for matrix in each.unbind(dim=1)]

    return Axis(up, downs(rows)), Axis(up, downs(columns))


def _reach(*matrices: Tensor) -> slice:
    """Give the columns from the first to the last in which there is something."""
    used = sum(matrix.abs().sum(dim=0) for matrix in matrices).nonzero()  # type: ignore[union-attr]
    return slice(int(used[0]), int(used[-1]) + 1)


def divide(axis: Axis, window: slice, size: int) -> tuple[list[Block], slice]:
    """Cut an axis into blocks of at most ``size`` outputs of a window.

    The blocks count from the beginning of the window, and from that of the inputs that it needs,
    which are given, too.
    """

    def cut(target: slice) -> Block:
        downs = [down[target] for down in axis.downs]
        middle = _reach(*downs)
        source = _reach(axis.up[middle])
        return Block(source, axis.up[middle, source], [d[:, middle] for d in downs], target)

    def moved(span: slice, first: int) -> slice:
        return slice(span.start - first, span.stop - first)

    starts = range(window.start, window.stop, size)
    blocks = [cut(slice(start, min(start + size, window.stop))) for start in starts]
    needed = slice(blocks[0].source.start, blocks[-1].source.stop)
    return [
        block._replace(
            source=moved(block.source, needed.start), target=moved(block.target, window.start)
        )
        for block in blocks
    ], needed


class InferenceLayer(nn.Module):
    """A plain layer with prepared weights, for inputs ``size`` high and wide.

    It computes the window ``after`` of its output from the window ``before`` of its input.
    """

    weight: Tensor
    power: Tensor
    bias: Tensor
    scale: Tensor

    def __init__(
        self, layer: Layer, dtype: torch.dtype, size: int, axes: tuple[Axis, Axis], after: Window
    ) -> None:
        super().__init__()
        self.dtype, self.after, self.colours = dtype, after, layer.colours
        self.limit = layer.conv_clamp
        self.affine = layer.affine
        weight = layer.weight.detach()
        device = weight.device
        scale = layer.magnitude_ema.rsqrt()
        if self.colours:
            scale = scale / math.sqrt(weight[0].numel())
        elif dtype == torch.float16:
            # the demodulation undoes any scale: take one that keeps to half precision's range
            weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
            weight = weight / math.sqrt(weight[0].numel())
        self.register_buffer("scale", scale)
        self.register_buffer("power", weight.square().sum(dim=(2, 3)).t().contiguous())
        self.register_buffer("weight", weight.to(dtype, memory_format=_LAST))
        self.register_buffer("bias", layer.bias.detach().to(dtype)[:, None, None])

        self.before, self.padding, self.blocks = after, [0, 0, 0, 0], []
        if self.colours:
            return
        margin, before = layer.options.kernel - 1, []
        for axis, window in zip(axes, after, strict=True):
            length = window.stop - window.start
            blocks, needed = divide(axis, window, BLOCK if device.type == "cpu" else length)
            self.blocks.append(
                [
                    block._replace(
                        up=block.up.to(device, dtype).contiguous(),
                        downs=[down.to(device, dtype).contiguous() for down in block.downs],
                    )
                    for block in blocks
                ]
            )
            # sample y of the convolution, with zeros around its input, is of rows y - margin to y
            first, last = max(needed.start - margin, 0), min(needed.stop, size)
            before.append(slice(first, last))
            around = [first - needed.start + margin, needed.stop - last]
            # of columns first
            self.padding = around + self.padding[:2]
        self.before = before[0], before[1]

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Transform the windows of activations ``[B, inputs, ...]``; w is ``[B, w_dim]``."""
        styles = self.affine(w)
        if self.dtype == torch.float16 and not self.colours:
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        x = F.pad(x * (styles * self.scale).to(x.dtype)[:, :, None, None], self.padding)
        x = F.conv2d(x, self.weight)
        if self.colours:
            return (x + self.bias).clamp_(-self.limit, self.limit)
        norms = (styles.square() @ self.power + 1e-8).rsqrt().to(x.dtype)
        x = torch.addcmul(self.bias, x, norms[:, :, None, None])
        height, width = (span.stop - span.start for span in self.after)
        made = x.new_empty(x.shape[0], height, width, x.shape[1])
        together = 1 if x.device.type == "cpu" else len(x)
        for part, target in zip(
            x.permute(0, 2, 3, 1).split(together), made.split(together), strict=True
        ):
            self._filter(part, target)
        return made.permute(0, 3, 1, 2)

    def _filter(self, x: Tensor, made: Tensor) -> None:
        """Apply filters and leaky ReLU to ``[B, H, W, C]``, into ``made``."""
        for rows in self.blocks[0]:
            strip = (rows.up @ x[:, rows.source].flatten(2)).unflatten(2, x.shape[2:])
            for columns in self.blocks[1]:
                y = columns.up @ strip[:, :, columns.source]
                y = F.leaky_relu_(y, LEAK).clamp_(-self.limit, self.limit)
                parts = [
                    down @ (across @ y).flatten(2)
                    for down, across in zip(rows.downs, columns.downs, strict=True)
                ]
                block = made[:, rows.target, columns.target]
                block.copy_(sum(parts[1:], parts[0]).view(block.shape))


class InferenceSynthesis(nn.Module):
    """From ws to images that are zero outside of the crop's window."""

    def __init__(self, plain: Synthesis, dtype: torch.dtype | None, resolution: int) -> None:
        super().__init__()
        self.input, self.output_scale, self.resolution = plain.input, plain.output_scale, resolution
        described = []
        size = plain.input.size
        for layer in (cast(Layer, plain.get_submodule(name)) for name in plain.names):
            # colours have no filters
            axes = (Axis(torch.empty(0), []),) * 2 if layer.colours else make_axes(layer, size)
            described.append((layer, size, axes))
            size = size if layer.colours else len(axes[0].downs[0])
        self.window = window = crop_box(resolution)
        layers: list[InferenceLayer] = []
        for layer, size, axes in reversed(described):
            half = layer.options.half and layer.weight.device.type == "cuda"
            kind = dtype or plain.precision or (torch.float16 if half else torch.float32)
            layers.insert(0, InferenceLayer(layer, kind, size, axes, window))
            window = layers[0].before
        self.first = window
        self.layers = nn.ModuleList(layers)

    @torch.no_grad()
    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "random",  # noqa: ARG002
        noise: Noise | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Make images as the plain synthesis does."""
        ws = ws.to(torch.float32)
        x = self.input(ws[:, 0])[:, :, *self.first]
        for layer, w in zip(self.layers, ws[:, 1:].unbind(dim=1), strict=True):
            x = layer(x.to(layer.dtype, memory_format=_LAST), w)
        images = torch.zeros(len(ws), 3, self.resolution, self.resolution, device=ws.device)
        images[:, :, *self.window] = x.to(torch.float32) * self.output_scale
        return images
