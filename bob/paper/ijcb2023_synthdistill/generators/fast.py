"""StyleGAN2 for training on its faces: the plain network's numbers, without the work that is lost.

What differs from :py:mod:`.stylegan2`, none of it by more than rounding in float32:

- only what reaches the crop of the aligned face is computed: each layer has a window, with the halo
  that the layers above it need;
- weights are prepared once: gains folded in, low-pass filter and squared norms ready;
- activations are channels-last. One image at a time passes the high resolutions on a CPU, with a
  weight of its own (small there), so that its activations stay in the cache and no batch of them
  ever exists; elsewhere the activations are scaled instead of the weights;
- colours are doubled by a bilinear interpolation, which is what the filter 1 3 3 1 amounts to.

It has no gradients.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..faces import crop_box
from .layers import FIR, GAIN, LEAK, Linear, StyledConvolution, ToRGB
from .stylegan2 import NOISE_MODES, Block, Generator, Mapping, Noise

SMALL_SIDE = 32
"""Up to this resolution a CPU takes the batch at once: weights outweigh activations there."""

_LAST = torch.channels_last


@dataclass(frozen=True)
class Window:
    """A square part of an activation's rows and columns.

    Parameters
    ----------
    top, left
        The first row and column.
    height, width
        Rows and columns.
    size
        Height and width of the whole activation.
    """

    top: int
    left: int
    height: int
    width: int
    size: int

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.width

    def grow(self, pixels: int) -> "Window":
        """Add a margin, where there is one."""
        return _between(
            self.top - pixels,
            self.left - pixels,
            self.bottom + pixels,
            self.right + pixels,
            self.size,
        )

    def halve(self) -> "Window":
        """Give the part of an activation of half the size that doubling and filtering reads.

        Row y after the doubling is made of rows (y - 3) / 2 to (y + 2) / 2.
        """
        return _between(
            -(-(self.top - 3) // 2),
            -(-(self.left - 3) // 2),
            (self.bottom + 1) // 2 + 1,
            (self.right + 1) // 2 + 1,
            self.size // 2,
        )

    def cut(self, x: torch.Tensor, of: "Window") -> torch.Tensor:
        """Cut this window out of an activation that holds the window ``of``."""
        if self == of:
            return x
        top, left = self.top - of.top, self.left - of.left
        return x[..., top : top + self.height, left : left + self.width]

    def padding_within(self, wider: "Window") -> tuple[int, int, int, int]:
        """Give the rows and columns that a margin of one lacks: left, right, top, bottom."""
        return (
            1 - (self.left - wider.left),
            1 - (wider.right - self.right),
            1 - (self.top - wider.top),
            1 - (wider.bottom - self.bottom),
        )


def _between(top: int, left: int, bottom: int, right: int, size: int) -> Window:
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, size), min(right, size)
    return Window(top, left, bottom - top, right - left, size)


def crop_window(resolution: int) -> Window:
    """Give the part of an image that becomes the aligned face: see :py:mod:`~..faces`."""
    top, left, side = crop_box(resolution)
    return _between(top, left, top + side, left + side, resolution)


def needed_windows(window: Window) -> dict[int, Window]:
    """Give the part of each resolution's activations that a part of the image depends on."""
    windows = {window.size: window}
    size = window.size
    while size > 4:
        wanted = windows[size].grow(1)
        size //= 2
        windows[size] = wanted.halve()
    return windows


class FastMapping(nn.Module):
    """A mapping network whose weights are multiplied by their gains once.

    Parameters
    ----------
    mapping
        The plain one.
    """

    def __init__(self, mapping: Mapping) -> None:
        super().__init__()
        self.num_ws = mapping.num_ws
        self.num_layers = mapping.num_layers
        self.register_buffer("w_avg", mapping.w_avg.detach().clone())
        for index in range(self.num_layers):
            layer = mapping.get_submodule(f"fc{index}")
            assert isinstance(layer, Linear)  # noqa: S101 - for the type checker
            multiplier = layer.multiplier
            gain = multiplier / math.sqrt(layer.weight.shape[1])
            # the rectifier's gain passes through the rectifier
            self.register_buffer(f"weight{index}", layer.weight.detach() * (gain * GAIN))
            self.register_buffer(f"bias{index}", layer.bias.detach() * (multiplier * GAIN))

    @torch.no_grad()
    def forward(
        self,
        z: torch.Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Map z ``[B, z_dim]`` to ws ``[B, num_ws, w_dim]``."""
        x = z.to(torch.float32)
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for index in range(self.num_layers):
            x = F.linear(x, self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}"))
            x = F.leaky_relu_(x, LEAK)
        ws = x.unsqueeze(1).expand(-1, self.num_ws, -1)
        if truncation_psi == 1.0:
            return ws
        pulled = torch.lerp(self.get_buffer("w_avg"), ws, truncation_psi)
        if truncation_cutoff is None:
            return pulled
        return torch.cat([pulled[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)


class FastLayer(nn.Module):
    """A styled convolution or colour layer with prepared weights, on its window.

    Parameters
    ----------
    layer
        The plain one.
    dtype
        Of the activations.
    before, after
        The windows of its input and output.
    """

    affine_weight: torch.Tensor
    affine_bias: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    low_weight: torch.Tensor
    fir: torch.Tensor
    power: torch.Tensor | None
    noise_const: torch.Tensor

    def __init__(
        self,
        layer: StyledConvolution | ToRGB,
        dtype: torch.dtype,
        before: Window,
        after: Window,
    ) -> None:
        super().__init__()
        self.dtype, self.before, self.after = dtype, before, after
        self.limit = layer.conv_clamp
        self.colours = isinstance(layer, ToRGB)
        self.up = isinstance(layer, StyledConvolution) and layer.up
        weight = layer.weight.detach().float()
        inputs = weight.shape[1]
        gain = 1.0 if self.colours else GAIN
        scale = 1.0 / math.sqrt(layer.affine.weight.shape[1])
        shrink = 1.0 / math.sqrt(inputs) if self.colours else 1.0
        self.register_buffer("affine_weight", layer.affine.weight.detach() * (scale * shrink))
        self.register_buffer("affine_bias", layer.affine.bias.detach() * shrink)
        if self.colours:
            self.power = None
        else:
            if dtype == torch.float16:
                # the demodulation undoes any scale: take one that keeps to half precision's range
                weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
                weight = weight / math.sqrt(weight[0].numel())
            self.register_buffer("power", weight.square().sum(dim=(2, 3)).t().contiguous())
        self.register_buffer("bias", (layer.bias.detach() * gain).to(dtype))
        if isinstance(layer, StyledConvolution):
            self.noise_strength = layer.noise_strength.item() * gain
            self.register_buffer("noise_const", layer.noise_const.detach()[None, None] * 1.0)
        if self.up:
            weight = weight.transpose(0, 1)
            taps = torch.tensor(FIR) * (2.0 / sum(FIR))
            fir = torch.outer(taps, taps).expand(weight.shape[1], 1, -1, -1)
            self.register_buffer(
                "fir", fir.to(device=weight.device, dtype=dtype, memory_format=_LAST)
            )
        # a weight for each image is made from float32
        self.register_buffer("weight", (weight * gain).contiguous(memory_format=_LAST))
        self.register_buffer("low_weight", self.weight.to(dtype))

    def styles(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give the scales of inputs ``[B, I]`` and, but for colours, of outputs ``[B, O]``."""
        styles = F.linear(w, self.affine_weight, self.affine_bias)
        if self.power is None:
            return styles, None
        if self.dtype == torch.float16:
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        return styles, (styles.square() @ self.power + 1e-8).rsqrt_()

    def forward(
        self,
        x: torch.Tensor,
        styles: torch.Tensor,
        norms: torch.Tensor | None,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        x
            ``[B, I, before.height, before.width]``, channels-last; is not changed.
        styles, norms
            From :py:meth:`styles`.
        noise
            ``[1 or B, 1, after.height, after.width]``, float32, or None.

        Returns
        -------
            ``[B, O, after.height, after.width]``.
        """
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

    def _own_weight(self, styles: torch.Tensor, norms: torch.Tensor | None) -> torch.Tensor:
        """Scale the weight for one image."""
        if self.up:
            weight = self.weight * styles[0][:, None, None, None]
            if norms is not None:
                weight *= norms[0][:, None, None]
        else:
            weight = self.weight * styles[0][:, None, None]
            if norms is not None:
                weight *= norms[0][:, None, None, None]
        return weight.to(self.dtype)

    def _convolve(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        before, after = self.before, self.after
        if self.colours:
            return F.conv2d(after.cut(x, before), weight, bias)
        if not self.up:
            # inside the image the margin is there, at its edge it is zero
            left, right, top, bottom = after.padding_within(before)
            if left == right == top == bottom >= 0:
                return F.conv2d(x, weight, bias, padding=left)
            return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias)
        # row u of the 2 * size + 1 doubled ones is made of rows (u - 2) / 2 to u / 2
        x = F.conv_transpose2d(x, weight, stride=2)
        whole = 2 * before.size + 1
        first = (max(after.top - 1, 0), max(after.left - 1, 0))
        last = (min(after.bottom + 2, whole), min(after.right + 2, whole))
        x = x[
            ...,
            first[0] - 2 * before.top : last[0] - 2 * before.top,
            first[1] - 2 * before.left : last[1] - 2 * before.left,
        ]
        padding = (
            first[1] - after.left + 1,
            after.right + 2 - last[1],
            first[0] - after.top + 1,
            after.bottom + 2 - last[0],
        )
        if len(set(padding)) == 1:
            return F.conv2d(x, self.fir, bias, padding=padding[0], groups=x.shape[1])
        return F.conv2d(F.pad(x, padding), self.fir, bias, groups=x.shape[1])


Step = tuple[FastLayer, torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""A layer with the styles, norms and noise maps of a batch."""


class FastSynthesis(nn.Module):
    """From ws to the part of the images that becomes faces.

    Parameters
    ----------
    generator
        The plain generator.
    dtype
        Of all layers; None: float32, or what the plain network uses on the device.
    window
        The part of the image that is computed.
    """

    const: torch.Tensor

    def __init__(self, generator: Generator, dtype: torch.dtype | None, window: Window) -> None:
        super().__init__()
        plain = generator.synthesis
        device = plain.get_parameter("b4.const").device
        self.num_ws = plain.num_ws
        self.window = window
        self.resolutions = plain.resolutions
        self.register_buffer("const", plain.get_parameter("b4.const").detach().clone()[None])
        self.windows = needed_windows(window)
        for block in plain.blocks():
            size = block.resolution
            kind = dtype if dtype is not None else plain._dtype(size, device)
            for name, layer in self._layers(block, kind):
                self.add_module(f"b{size}_{name}", layer)

    def _layers(self, block: Block, dtype: torch.dtype) -> list[tuple[str, FastLayer]]:
        after = self.windows[block.resolution]
        layers = []
        middle = after.grow(1)
        if block.num_convolutions == 2:
            before = self.windows[block.resolution // 2]
            layers.append(("conv0", FastLayer(block.conv0, dtype, before, middle)))
        else:
            middle = Window(0, 0, 4, 4, 4)
        layers.append(("conv1", FastLayer(block.conv1, dtype, middle, after)))
        layers.append(("torgb", FastLayer(block.torgb, dtype, after, after)))
        return layers

    @torch.no_grad()
    def forward(
        self, ws: torch.Tensor, noise_mode: str = "random", noise: Noise | None = None
    ) -> torch.Tensor:
        """Make the window of the images.

        Parameters
        ----------
        ws, noise_mode, noise
            As for the plain network: noise maps are drawn whole and in the same order.

        Returns
        -------
            ``[B, 3, window.height, window.width]``, float32, about [-1, 1], not clamped.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is one of {NOISE_MODES}, not {noise_mode!r}")
        ws = ws.to(torch.float32)
        batch = ws.shape[0]
        plan: list[Step] = []
        index = 0
        for size in self.resolutions:
            for name in ("conv0", "conv1", "torgb"):
                layer: FastLayer | None = getattr(self, f"b{size}_{name}", None)
                if layer is None:
                    continue
                # the colours share w with the next block's first convolution
                styles, norms = layer.styles(ws[:, index])
                maps = None
                if name != "torgb":
                    maps = self._noise(layer, batch, noise_mode, noise)
                    index += 1
                plan.append((layer, styles, norms, maps))
        # elsewhere than on a CPU, many small pieces of work take longer than few large ones
        small = SMALL_SIDE if ws.device.type == "cpu" else self.resolutions[-1]
        together = [step for step in plan if step[0].after.size <= small]
        singly = plan[len(together) :]
        x = self.const.expand(batch, -1, -1, -1)
        x, image = self._run(together, slice(None), x, None)
        if not singly:
            return image
        images = image.new_empty(batch, 3, self.window.height, self.window.width)
        for row in range(batch):
            part = slice(row, row + 1)
            images[part] = self._run(singly, part, x[part], image[part])[1]
        return images

    def _run(
        self, plan: list[Step], part: slice, x: torch.Tensor, image: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
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
                before = self.windows[layer.after.size // 2]
                colours += _double(image, before, layer.after)
            image = colours
        assert image is not None  # noqa: S101 - every block has colours
        return x, image

    def _noise(
        self, layer: FastLayer, batch: int, mode: str, noise: Noise | None
    ) -> torch.Tensor | None:
        size = layer.after.size
        if mode == "none":
            return None
        if mode == "const":
            maps = layer.noise_const
        elif noise is not None:
            maps = noise(batch, size)
        else:
            maps = torch.randn(batch, 1, size, size, device=layer.bias.device)
        return layer.after.cut(maps, Window(0, 0, size, size, size))


def _double(image: torch.Tensor, of: Window, to: Window) -> torch.Tensor:
    """Double and filter colours ``[B, 3, ...]`` of the window ``of``, and cut the window ``to``.

    The filter weighs the nearest pixel by 3 / 4 and the next by 1 / 4, as the bilinear
    interpolation does; beyond the image's edge it sees zeros.
    """
    wide = F.interpolate(
        F.pad(image, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False
    )
    top, left = to.top - 2 * (of.top - 1), to.left - 2 * (of.left - 1)
    return wide[..., top : top + to.height, left : left + to.width]


class FastGenerator(nn.Module):
    """A frozen StyleGAN2 that gives only the part of its images that becomes faces.

    Parameters
    ----------
    generator
        The plain one, on its device.
    dtype
        :py:data:`torch.bfloat16` or :py:data:`torch.float16` for the synthesis, or float32; None
        takes what the plain one would use on its device.

    Attributes
    ----------
    window
        The part of the image that ``synthesis`` gives.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.z_dim = generator.z_dim
        self.w_dim = generator.w_dim
        self.num_ws = generator.num_ws
        self.resolution = generator.resolution
        self.window = crop_window(generator.resolution)
        self.mapping = FastMapping(generator.mapping)
        self.synthesis = FastSynthesis(generator, dtype, self.window)
        self.eval()


def accelerate_generator(generator: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Give the fast form of a plain StyleGAN2, and any other generator as it is."""
    if type(generator) is not Generator:
        return generator
    top, left, side = crop_box(generator.resolution)
    inside = min(top, left) >= 0 and max(top, left) + side <= generator.resolution
    return FastGenerator(generator, dtype) if inside else generator
