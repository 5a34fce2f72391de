"""StyleGAN2 in plain PyTorch: from latent vectors to images.

The network of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020),
with skip connections, under the tensor names of the published generators, so that their weights
fit. This is the reference: small, readable, on any device, differentiable. In equations x are
activations, s styles and W weights.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
GAIN = math.sqrt(2.0)
"""Slope of the leaky ReLU below zero, and the gain that keeps the variance behind it."""

FIR = (1.0, 3.0, 3.0, 1.0)
"""The low-pass filter of every up-sampling, before normalisation; it is applied in y and in x."""

Noise = Callable[[int, int], Tensor]
"""``(batch, resolution)`` to noise ``[batch, 1, resolution, resolution]`` of N(0, 1)."""


class Linear(nn.Module):
    """A linear layer with an equalised learning rate: y = (gain W) x + multiplier b."""

    def __init__(
        self, inputs: int, outputs: int, multiplier: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.multiplier = multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Transform features ``[B, inputs]`` to ``[B, outputs]``."""
        gain = self.multiplier / math.sqrt(self.weight.shape[1])
        return F.linear(x, self.weight * gain, self.bias * self.multiplier)


def low_pass_filter() -> Tensor:
    """Make the filter ``[4, 4]`` of an up-sampling; its sum is 4, as zeros were inserted.

    It is in no file, so it is on the CPU even where networks are built without numbers (``meta``).
    """
    taps = torch.tensor(FIR, device="cpu")
    taps = taps * (2.0 / taps.sum())
    return torch.outer(taps, taps)


def upsample(x: Tensor, fir: Tensor) -> Tensor:
    """Double height and width of ``[B, C, H, W]``: insert zeros and filter."""
    fir = fir.to(x.dtype).expand(x.shape[1], 1, -1, -1)
    return F.conv_transpose2d(x, fir, stride=2, padding=1, groups=x.shape[1])


def modulated_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    fir: Tensor | None = None,
    fused: bool = True,
) -> Tensor:
    """Convolve each image by weights of its own: W scaled by the image's styles.

    W'[b, o, i] = s[b, i] W[o, i], and with demodulation each output channel is divided by its norm,
    so that it keeps unit variance. Scaling the input by s and the output by 1 / norm instead of W
    gives the same numbers but for rounding.

    x, weight and styles are ``[B, I, H, W]``, ``[O, I, k, k]`` and ``[B, I]``. With ``fir``, height
    and width are doubled by a transposed convolution and this low-pass filter. ``fused`` makes one
    weight for each image and convolves in groups; else the activations are scaled.
    """
    batch, inputs, height, width = x.shape
    if demodulate and x.dtype == torch.float16:
        # the demodulation undoes any scale: take the one that keeps half precision in its range
        weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
        weight = weight / math.sqrt(weight[0].numel())
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    scale = None
    if demodulate:
        # sum over i, k, k of (s W)^2 = sum over i of s^2 (sum over k, k of W^2)
        power = styles.square() @ weight.square().sum(dim=(2, 3)).t()
        scale = (power + 1e-8).rsqrt()

    if not fused:
        x = x * styles.to(x.dtype)[:, :, None, None]
        x = _convolve(x, weight.to(x.dtype), fir, groups=1)
        return x if scale is None else x * scale.to(x.dtype)[:, :, None, None]

    weights = weight * styles[:, None, :, None, None]
    if scale is not None:
        weights = weights * scale[:, :, None, None, None]
    weights = weights.flatten(0, 1).to(x.dtype)
    x = _convolve(x.reshape(1, batch * inputs, height, width), weights, fir, groups=batch)
    return x.reshape(batch, -1, *x.shape[2:])


def _convolve(x: Tensor, weight: Tensor, fir: Tensor | None, groups: int) -> Tensor:
    if fir is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
    # a transposed convolution expects [groups * I, O, k, k]
    weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    x = F.conv_transpose2d(x, weight, stride=2, groups=groups)
    fir = fir.to(x.dtype).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(x, fir, padding=1, groups=x.shape[1])


def _clamp(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


class StyledConvolution(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU, clamp; if ``up``, twice as high and wide."""

    noise_const: Tensor
    fir: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, size: int, up: bool, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.register_buffer("fir", low_pass_filter() if up else None, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, fused: bool) -> Tensor:
        """Transform ``[B, inputs, H, W]`` and w ``[B, w_dim]``; add noise ``[1 or B, 1, R, R]``."""
        x = modulated_convolution(x, self.weight, self.affine(w), fir=self.fir, fused=fused)
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return _clamp(F.leaky_relu(x, LEAK) * GAIN, self.conv_clamp)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to colours, without demodulation."""

    def __init__(self, inputs: int, w_dim: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor, fused: bool) -> Tensor:
        """Transform activations ``[B, inputs, H, W]`` and w ``[B, w_dim]`` to ``[B, 3, H, W]``."""
        styles = self.affine(w) / math.sqrt(x.shape[1])
        x = modulated_convolution(x, self.weight, styles, demodulate=False, fused=fused)
        return _clamp(x + self.bias.to(x.dtype)[:, None, None], self.conv_clamp)


class Block(nn.Module):
    """All layers of one resolution; without ``inputs`` the first, which starts from a constant."""

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.resolution = resolution
        if inputs:
            self.conv0 = StyledConvolution(inputs, outputs, w_dim, resolution, True, conv_clamp)
        else:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        self.conv1 = StyledConvolution(outputs, outputs, w_dim, resolution, False, conv_clamp)
        self.torgb = ToRGB(outputs, w_dim, conv_clamp)

    def convolutions(self) -> list[StyledConvolution]:
        """List the convolutions in their order."""
        return [self.conv0, self.conv1] if hasattr(self, "conv0") else [self.conv1]


class Mapping(nn.Module):
    """From z to w: a perceptron on the normalised z, every layer with ``w_dim`` outputs."""

    w_avg: Tensor

    def __init__(
        self, z_dim: int, w_dim: int, num_ws: int, num_layers: int, multiplier: float
    ) -> None:
        super().__init__()
        self.num_ws = num_ws
        self.num_layers = num_layers
        for index in range(num_layers):
            inputs = z_dim if index == 0 else w_dim
            self.add_module(f"fc{index}", Linear(inputs, w_dim, multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def layer(self, index: int, x: Tensor) -> Tensor:
        """Pass features ``[B, inputs]`` through a layer and its leaky ReLU."""
        return F.leaky_relu(self.get_submodule(f"fc{index}")(x), LEAK) * GAIN

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Map z ``[B, z_dim]`` of N(0, 1) to ws ``[B, num_ws, w_dim]``, one for each convolution.

        ``truncation_psi`` pulls w towards its average: 1 leaves it, 0 gives the average image. Of
        the ws, which else are the same, only ``truncation_cutoff`` are pulled, the coarsest first.
        """
        x = z.to(torch.float32)
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for index in range(self.num_layers):
            x = self.layer(index, x)
        ws = x.unsqueeze(1).expand(-1, self.num_ws, -1)
        if truncation_psi == 1.0:
            return ws
        pulled = torch.lerp(self.w_avg, ws, truncation_psi)
        if truncation_cutoff is None:
            return pulled
        return torch.cat([pulled[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)


class Synthesis(nn.Module):
    """From ws to images: the blocks from 4x4 on, whose colours are doubled and added up."""

    fir: Tensor

    def __init__(
        self,
        w_dim: int,
        resolution: int,
        channel_base: int,
        channel_max: int,
        conv_clamp: float | None,
        num_fp16_res: int,
    ) -> None:
        super().__init__()
        self.resolutions = [2**power for power in range(2, resolution.bit_length())]
        inputs = 0
        for size in self.resolutions:
            outputs = min(channel_base // size, channel_max)
            self.add_module(f"b{size}", Block(inputs, outputs, w_dim, size, conv_clamp))
            inputs = outputs
        self.num_ws = 2 * len(self.resolutions)
        self.num_fp16_res = num_fp16_res
        self.precision: torch.dtype | None = None
        self.register_buffer("fir", low_pass_filter(), persistent=False)

    def blocks(self) -> list[Block]:
        """List the blocks, from 4x4 on."""
        return [self.get_submodule(f"b{size}") for size in self.resolutions]  # type: ignore[misc]

    def dtype(self, resolution: int, device: torch.device) -> torch.dtype:
        """Give the precision of a block: by default the file's float16 on CUDA, else float32."""
        if self.precision is not None:
            return self.precision
        # like the published network, never below 8x8
        lowest = max(2 * self.resolutions[-1] >> self.num_fp16_res, 8)
        return torch.float16 if device.type == "cuda" and resolution >= lowest else torch.float32

    def forward(self, ws: Tensor, noise_mode: str = "random", noise: Noise | None = None) -> Tensor:
        """Make images of ws ``[B, num_ws, w_dim]``.

        Parameters
        ----------
        noise_mode
            ``random``: fresh noise for each image; ``const``: the network's own, always the same;
            ``none``.
        noise
            Where the noise of mode ``random`` comes from, instead of :py:func:`torch.randn`: called
            with batch and resolution, once for each convolution, in their order.

        Returns
        -------
            ``[B, 3, resolution, resolution]``, float32, RGB, about [-1, 1], not clamped.
        """
        ws = ws.to(torch.float32)
        batch = ws.shape[0]
        x = self.get_parameter("b4.const").expand(batch, -1, -1, -1)
        image: Tensor | None = None
        index = 0
        for block in self.blocks():
            dtype = self.dtype(block.resolution, ws.device)
            # as the published network does
            fused = dtype == torch.float32 and not self.training
            x = x.to(dtype)
            for layer in block.convolutions():
                maps = noise_maps(layer.noise_const, batch, noise_mode, noise)
                x = layer(x, ws[:, index], maps, fused)
                index += 1
            # the colours share w with the next block's first convolution
            colours = block.torgb(x, ws[:, index], fused).to(torch.float32)
            image = colours if image is None else upsample(image, self.fir) + colours
        assert image is not None  # noqa: S101 - there is at least the block of 4x4
        return image


def noise_maps(const: Tensor, batch: int, mode: str, noise: Noise | None) -> Tensor | None:
    """Give a convolution's noise ``[1 or B, 1, R, R]``; ``const`` ``[R, R]`` is its own."""
    size = const.shape[-1]
    if mode == "none":
        return None
    if mode == "const":
        return const[None, None]
    if mode != "random":
        raise ValueError(f"noise_mode is random, const or none, not {mode!r}")
    if noise is not None:
        return noise(batch, size)
    return torch.randn(batch, 1, size, size, device=const.device)


class BaseGenerator(nn.Module):
    """A mapping from z to ws, and a synthesis from ws to images; ``options`` make it again.

    ``aligned`` says that its faces lie as those of FFHQ, where :py:func:`~..faces.crop` looks.
    """

    aligned = True

    noise_pixels = 0
    """Of all noise maps of an image."""

    def __init__(self, options: dict[str, Any], mapping: Mapping, synthesis: nn.Module) -> None:
        super().__init__()
        self.options = options
        self.z_dim: int = options["z_dim"]
        self.w_dim: int = options["w_dim"]
        self.resolution: int = options["resolution"]
        self.num_ws = mapping.num_ws
        self.synthesis: Any = synthesis
        self.mapping = mapping

    def set_precision(self, dtype: torch.dtype) -> None:
        """Let the whole synthesis compute in this precision, on every device."""
        self.synthesis.precision = dtype

    def forward(self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "random") -> Tensor:
        """Make images ``[B, 3, resolution, resolution]`` from z ``[B, z_dim]``."""
        return self.synthesis(self.mapping(z, truncation_psi), noise_mode)


class Generator(BaseGenerator):
    """StyleGAN2; the defaults are those of the published one of 256x256: 24,767,458 parameters.

    Parameters
    ----------
    resolution
        Height and width of the images: a power of 2, at least 4.
    channel_base, channel_max
        A block of resolution r has ``min(channel_base // r, channel_max)`` channels.
    mapping_layers, mapping_multiplier
        Number of layers of the mapping, and their relative learning rate.
    conv_clamp
        Every convolution's output is clamped to plus and minus this; None: it is not.
    num_fp16_res
        In how many of the highest resolutions float16 is used on CUDA, unless
        :py:meth:`set_precision` says otherwise.
    """

    def __init__(
        self,
        z_dim: int = 512,
        w_dim: int = 512,
        resolution: int = 256,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_multiplier: float = 0.01,
        conv_clamp: float | None = 256.0,
        num_fp16_res: int = 0,
    ) -> None:
        # all that was given, before there are other names
        options = {n: v for n, v in locals().items() if n not in ("self", "__class__")}
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError(f"the resolution is a power of 2, at least 4, not {resolution}")
        if min(z_dim, w_dim, mapping_layers, channel_max, channel_base // resolution) < 1:
            raise ValueError("the network needs at least one feature and channel in each layer")
        synthesis = Synthesis(
            w_dim, resolution, channel_base, channel_max, conv_clamp, num_fp16_res
        )
        mapping = Mapping(z_dim, w_dim, synthesis.num_ws, mapping_layers, mapping_multiplier)
        super().__init__(options, mapping, synthesis)
        layers = [layer for block in synthesis.blocks() for layer in block.convolutions()]
        self.noise_pixels = sum(layer.noise_const.numel() for layer in layers)
