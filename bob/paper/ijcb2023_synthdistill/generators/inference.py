"""StyleGAN2 for training on its faces: the plain network's images, without the work that is lost.

What differs from :py:mod:`.stylegan2`, none of it by more than rounding in float32:

- only the window of the image that :py:func:`~..faces.crop` reads is computed, the rest is zero:
  each layer has a window, with the margin that the layers above it need;
- weights are prepared once: gains folded in, low-pass filter and squared norms ready;
- activations are channels-last. One image at a time passes the high resolutions on a CPU, with a
  weight of its own (small there), so that its activations stay in the cache and no batch of them
  ever exists; elsewhere the activations are scaled instead of the weights;
- colours are doubled by a bilinear interpolation, which is what the filter 1 3 3 1 amounts to.

It has no gradients.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..faces import crop_box
from . import stylegan3, stylegan3_inference
from .stylegan2 import (
    GAIN,
    LEAK,
    BaseGenerator,
    Generator,
    Linear,
    Mapping,
    Noise,
    StyledConvolution,
    Synthesis,
    ToRGB,
    noise_maps,
)

SMALL_SIDE = 32
"""Up to this resolution a CPU takes the batch at once: weights outweigh activations there."""

_LAST = torch.channels_last

Window = tuple[slice, slice]
"""Rows and columns of an activation."""


def for_inference(generator: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Give the fast form of a plain StyleGAN on its device, and any other generator as it is.

    It has the interface of the plain one. ``dtype`` is the precision of the synthesis; None: what
    the plain one uses on its device.
    """
    if type(generator) is Generator:
        return InferenceGenerator(generator, InferenceSynthesis(generator.synthesis, dtype))
    if type(generator) is stylegan3.Generator:
        plain = generator.synthesis
        synthesis = stylegan3_inference.InferenceSynthesis(plain, dtype, generator.resolution)
        return InferenceGenerator(generator, synthesis)
    return generator


class InferenceGenerator(nn.Module):
    """A frozen StyleGAN whose images are zero where :py:func:`~..faces.crop` does not look."""

    def __init__(self, generator: BaseGenerator, synthesis: nn.Module) -> None:
        super().__init__()
        self.z_dim = generator.z_dim
        self.w_dim = generator.w_dim
        self.num_ws = generator.num_ws
        self.resolution = generator.resolution
        self.noise_pixels = generator.noise_pixels
        self.mapping = InferenceMapping(generator.mapping)
        self.synthesis = synthesis
        self.eval()


def needed_windows(resolution: int) -> dict[int, Window]:
    """Give the part of each resolution's activations that the crop of the image depends on."""
    windows = {resolution: crop_box(resolution)}
    while resolution > 4:
        window = _grow(windows[resolution], resolution)
        resolution //= 2
        # row y after doubling and filtering is made of rows (y - 3) / 2 to (y + 2) / 2
        rows, columns = (
            slice(max(-(-(span.start - 3) // 2), 0), min((span.stop + 1) // 2 + 1, resolution))
            for span in window
        )
        windows[resolution] = rows, columns
    return windows


def _grow(window: Window, size: int) -> Window:
    """Add a margin of one, where the activation, ``size`` high and wide, has one."""
    rows, columns = (slice(max(s.start - 1, 0), min(s.stop + 1, size)) for s in window)
    return rows, columns


class InferenceMapping(Mapping):
    """A mapping network whose weights are multiplied by their gains once."""

    def __init__(self, plain: Mapping) -> None:
        nn.Module.__init__(self)
        self.num_ws = plain.num_ws
        self.num_layers = plain.num_layers
        self.register_buffer("w_avg", plain.w_avg.detach().clone())
        for index in range(plain.num_layers):
            layer = cast(Linear, plain.get_submodule(f"fc{index}"))
            gain = layer.multiplier / math.sqrt(layer.weight.shape[1])
            # the gain behind the leaky ReLU passes through it
            self.register_buffer(f"weight{index}", layer.weight.detach() * (gain * GAIN))
            self.register_buffer(f"bias{index}", layer.bias.detach() * (layer.multiplier * GAIN))

    def layer(self, index: int, x: Tensor) -> Tensor:
        """Pass features ``[B, inputs]`` through a layer and its leaky ReLU."""
        x = F.linear(x, self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}"))
        return F.leaky_relu_(x, LEAK)

    forward = torch.no_grad()(Mapping.forward)


class InferenceLayer(nn.Module):
    """A plain layer with prepared weights, computing in ``dtype`` from one window to another.

    ``size`` is the height and width of the whole output, of which the window ``after`` is computed.
    """

    affine_weight: Tensor
    affine_bias: Tensor
    weight: Tensor
    low_weight: Tensor
    bias: Tensor
    fir: Tensor | None
    power: Tensor | None
    noise_const: Tensor

    def __init__(
        self,
        layer: StyledConvolution | ToRGB,
        dtype: torch.dtype,
        size: int,
        before: Window,
        after: Window,
    ) -> None:
        super().__init__()
        self.dtype, self.size, self.after = dtype, size, after
        self.limit = layer.conv_clamp
        self.colours = isinstance(layer, ToRGB)
        weight = layer.weight.detach().float()
        power = fir = None
        gain, shrink = 1.0, 1.0 / math.sqrt(weight.shape[1])
        # the shapes in which the scales of inputs and outputs multiply a weight
        self.shapes = [(-1, 1, 1), (-1, 1, 1, 1)]
        if isinstance(layer, StyledConvolution):
            gain, shrink = GAIN, 1.0
            if dtype == torch.float16:
                # the demodulation undoes any scale: take one that keeps to half precision's range
                weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
                weight = weight / math.sqrt(weight[0].numel())
            power = weight.square().sum(dim=(2, 3)).t().contiguous()
            self.noise_strength = layer.noise_strength.item() * gain
            self.register_buffer("noise_const", layer.noise_const.detach().clone())
            if layer.fir is not None:
                weight = weight.transpose(0, 1)
                self.shapes.reverse()
                fir = layer.fir.expand(weight.shape[1], 1, -1, -1)
                fir = fir.to(dtype=dtype, memory_format=_LAST)
        self.register_buffer("power", power)
        self.register_buffer("fir", fir)
        scale = 1.0 / math.sqrt(layer.affine.weight.shape[1])
        self.register_buffer("affine_weight", layer.affine.weight.detach() * (scale * shrink))
        self.register_buffer("affine_bias", layer.affine.bias.detach() * shrink)
        self.register_buffer("bias", (layer.bias.detach() * gain).to(dtype))
        # a weight for each image is made from float32
        self.register_buffer("weight", (weight * gain).contiguous(memory_format=_LAST))
        self.register_buffer("low_weight", self.weight.to(dtype))

        # what the last convolution reads, and how many zeros it adds to each side: inside the image
        # the margin is there, at the image's edge it is zero
        margin = weight.shape[-1] // 2
        kept, padding = [], []
        for old, new in zip(before, after, strict=True):
            first, last = old.start, old.stop
            if fir is not None:
                # row u of the size + 1 doubled ones is made of rows (u - 2) / 2 to u / 2
                first, last = max(new.start - 1, 0), min(new.stop + 2, size + 1)
                kept.append(slice(first - 2 * old.start, last - 2 * old.start))
            padding.append(
                (first - new.start + margin, new.stop + margin + (fir is not None) - last)
            )
        self.kept = kept
        self.padding = (*padding[1], *padding[0])

    def styles(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the scales of inputs ``[B, I]`` and, but for colours, of outputs ``[B, O]``."""
        styles = F.linear(w, self.affine_weight, self.affine_bias)
        if self.power is None:
            return styles, None
        if self.dtype == torch.float16:
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        return styles, (styles.square() @ self.power + 1e-8).rsqrt_()

    def forward(
        self, x: Tensor, styles: Tensor, norms: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Convolve ``x``, which is not changed; styles and norms are those of the w."""
        if x.shape[0] == 1:
            x = self._convolve(x, self._own_weight(styles, norms), self.bias)
        else:
            x = self._convolve(x * styles.to(x.dtype)[:, :, None, None], self.low_weight, None)
            bias = self.bias[:, None, None]
            if norms is None:
                x.add_(bias)
            else:
                torch.addcmul(bias, x, norms.to(x.dtype)[:, :, None, None], out=x)
        if noise is not None:
            x.add_((noise * self.noise_strength).to(x.dtype))
        if not self.colours:
            x = F.leaky_relu_(x, LEAK)
        return x if self.limit is None else x.clamp_(-self.limit, self.limit)

    def _own_weight(self, styles: Tensor, norms: Tensor | None) -> Tensor:
        """Scale the weight for one image."""
        weight = self.weight * styles[0].view(self.shapes[0])
        if norms is not None:
            weight *= norms[0].view(self.shapes[1])
        return weight.to(self.dtype)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        groups = 1
        if self.fir is not None:
            x = F.conv_transpose2d(x, weight, stride=2)[:, :, *self.kept]
            weight, groups = self.fir, x.shape[1]
        if len(set(self.padding)) == 1 and self.padding[0] >= 0:
            return F.conv2d(x, weight, bias, padding=self.padding[0], groups=groups)
        return F.conv2d(F.pad(x, self.padding), weight, bias, groups=groups)


Step = tuple[InferenceLayer, Tensor, Tensor | None, Tensor | None]
"""A layer with the styles, norms and noise of a batch."""


class InferenceSynthesis(nn.Module):
    """From ws to images that are zero outside of the crop's window."""

    const: Tensor

    def __init__(self, plain: Synthesis, dtype: torch.dtype | None) -> None:
        super().__init__()
        const = plain.get_parameter("b4.const").detach()
        self.num_ws = plain.num_ws
        self.resolution = plain.resolutions[-1]
        self.register_buffer("const", const.clone()[None])
        self.windows = needed_windows(self.resolution)
        self.layers = nn.ModuleList()
        before: Window = (slice(0, 4), slice(0, 4))
        for block in plain.blocks():
            size, window = block.resolution, self.windows[block.resolution]
            kind = dtype or plain.dtype(size, const.device)
            for layer in block.convolutions():
                after = window if layer is block.conv1 else _grow(window, size)
                self.layers.append(InferenceLayer(layer, kind, size, before, after))
                before = after
            self.layers.append(InferenceLayer(block.torgb, kind, size, window, window))

    @torch.no_grad()
    def forward(self, ws: Tensor, noise_mode: str = "random", noise: Noise | None = None) -> Tensor:
        """Make images as the plain synthesis does; noise is drawn whole and in the same order."""
        ws = ws.to(torch.float32)
        batch = ws.shape[0]
        plan: list[Step] = []
        index = 0
        for layer in cast(list[InferenceLayer], self.layers):
            # the colours share w with the next block's first convolution
            styles, norms = layer.styles(ws[:, index])
            maps = None
            if not layer.colours:
                maps = noise_maps(layer.noise_const, batch, noise_mode, noise)
                maps = None if maps is None else maps[:, :, *layer.after]
                index += 1
            plan.append((layer, styles, norms, maps))
        # elsewhere than on a CPU, many small pieces of work take longer than few large ones
        small = SMALL_SIDE if ws.device.type == "cpu" else self.resolution
        together = [step for step in plan if step[0].size <= small]
        singly = plan[len(together) :]
        images = torch.zeros(batch, 3, self.resolution, self.resolution, device=ws.device)
        window = images[:, :, *self.windows[self.resolution]]
        x, image = self._run(together, slice(None), self.const.expand(batch, -1, -1, -1), None)
        if not singly:
            window.copy_(image)
            return images
        for row in range(batch):
            part = slice(row, row + 1)
            window[part] = self._run(singly, part, x[part], image[part])[1]
        return images

    def compile(self, **settings: Any) -> None:
        """Compile the layers, but not what draws the noise, which no compiler can follow."""
        self._run = torch.compile(self._run, **settings)  # type: ignore[method-assign]

    def _run(
        self, plan: list[Step], part: slice, x: Tensor, image: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pass the images ``part`` of the batch through a number of layers."""
        for layer, styles, norms, maps in plan:
            x = x.to(dtype=layer.dtype, memory_format=_LAST)
            if maps is not None and maps.shape[0] > 1:
                maps = maps[part]
            y = layer(x, styles[part], None if norms is None else norms[part], maps)
            if not layer.colours:
                x = y
                continue
            colours = y.to(torch.float32, memory_format=torch.contiguous_format)
            if image is not None:
                colours += _double(image, self.windows[layer.size // 2], layer.after)
            image = colours
        assert image is not None  # noqa: S101 - every block has colours
        return x, image


def _double(image: Tensor, before: Window, after: Window) -> Tensor:
    """Double and filter colours ``[B, 3, ...]`` of the window ``before``, and cut ``after``.

    The filter weighs the nearest pixel by 3 / 4 and the next by 1 / 4, as the bilinear
    interpolation does; beyond the image's edge it sees zeros.
    """
    wide = F.interpolate(
        F.pad(image, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False
    )
    rows, columns = (
        slice(new.start - 2 * (old.start - 1), new.stop - 2 * (old.start - 1))
        for old, new in zip(before, after, strict=True)
    )
    return wide[:, :, rows, columns]
