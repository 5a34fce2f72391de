"""The layers of StyleGAN2: equalised linear, modulated convolution, up-sampling, colours.

Equations are written with x for activations, s for styles and W for weights.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

LEAK = 0.2
GAIN = math.sqrt(2.0)
"""Slope of the leaky rectifier below zero, and the gain that keeps the variance behind it."""

FIR = (1.0, 3.0, 3.0, 1.0)
"""The low-pass filter of every up-sampling, before normalisation; it is applied in y and in x."""


class Linear(nn.Module):
    """A linear layer with an equalised learning rate: y = (gain W) x + multiplier b.

    Parameters
    ----------
    inputs, outputs
        Numbers of features.
    multiplier
        Learning rate of this layer, relative to the others: weights are stored divided by it.
    bias
        Initial value of the bias.
    """

    def __init__(
        self, inputs: int, outputs: int, multiplier: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.multiplier = multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform features ``[B, inputs]`` to ``[B, outputs]``."""
        gain = self.multiplier / math.sqrt(self.weight.shape[1])
        return F.linear(x, self.weight * gain, self.bias * self.multiplier)


def modulated_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool = True,
    up: bool = False,
    fused: bool = True,
) -> torch.Tensor:
    """Convolve each image by weights of its own: W scaled by the image's styles.

    W'[b, o, i] = s[b, i] W[o, i], and with demodulation each output channel is divided by its norm,
    so that it keeps unit variance. Scaling the input by s and the output by 1 / norm instead of W
    gives the same numbers but for rounding.

    Parameters
    ----------
    x
        Activations ``[B, I, H, W]``.
    weight
        ``[O, I, k, k]``.
    styles
        ``[B, I]``.
    demodulate
        Normalise the output channels.
    up
        Double height and width, by a transposed convolution and the low-pass filter.
    fused
        Make one weight for each image and convolve in groups, as the published network does when
        it does not train; else scale the activations.

    Returns
    -------
        ``[B, O, H, W]``, or twice as high and wide.
    """
    batch, inputs, height, width = x.shape
    outputs = weight.shape[0]
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
        x = _convolve(x, weight.to(x.dtype), up, groups=1)
        return x if scale is None else x * scale.to(x.dtype)[:, :, None, None]

    weights = weight * styles[:, None, :, None, None]
    if scale is not None:
        weights = weights * scale[:, :, None, None, None]
    weights = weights.flatten(0, 1).to(x.dtype)
    x = _convolve(x.reshape(1, batch * inputs, height, width), weights, up, groups=batch)
    return x.reshape(batch, outputs, *x.shape[2:])


def _convolve(x: torch.Tensor, weight: torch.Tensor, up: bool, groups: int) -> torch.Tensor:
    if not up:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
    # a transposed convolution expects [groups * I, O, k, k]
    weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    x = F.conv_transpose2d(x, weight, stride=2, groups=groups)
    return F.conv2d(x, _filter(x), padding=1, groups=x.shape[1])


def _filter(x: torch.Tensor) -> torch.Tensor:
    """Make the low-pass filter for each channel: its sum is 4, as up-sampling inserts zeros."""
    taps = torch.tensor(FIR, device=x.device, dtype=torch.float32)
    taps = taps * (2.0 / taps.sum())
    return torch.outer(taps, taps).to(x.dtype).expand(x.shape[1], 1, -1, -1)


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Double height and width of ``[B, C, H, W]``: insert zeros and filter."""
    return F.conv_transpose2d(x, _filter(x), stride=2, padding=1, groups=x.shape[1])


def _clamp(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    return x if limit is None else x.clamp(-limit, limit)


class StyledConvolution(nn.Module):
    """Modulated convolution, noise, bias, leaky rectifier, clamp.

    Parameters
    ----------
    inputs, outputs
        Numbers of channels.
    w_dim
        Size of w.
    resolution
        Height and width of the output.
    up
        The input is half as high and wide.
    conv_clamp
        The output is clamped to plus and minus this; None: it is not.
    """

    noise_const: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        up: bool,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.up = up
        self.conv_clamp = conv_clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None, fused: bool
    ) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        x
            Activations ``[B, inputs, H, W]``.
        w
            ``[B, w_dim]``.
        noise
            Broadcast to ``[B, 1, resolution, resolution]``, N(0, 1); None: no noise.
        fused
            See :py:func:`modulated_convolution`.

        Returns
        -------
            ``[B, outputs, resolution, resolution]``.
        """
        x = modulated_convolution(x, self.weight, self.affine(w), up=self.up, fused=fused)
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return _clamp(F.leaky_relu(x, LEAK) * GAIN, self.conv_clamp)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to colours, without demodulation.

    Parameters
    ----------
    inputs
        Number of channels.
    w_dim
        Size of w.
    conv_clamp
        The output is clamped to plus and minus this; None: it is not.
    """

    def __init__(self, inputs: int, w_dim: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, w: torch.Tensor, fused: bool) -> torch.Tensor:
        """Transform activations ``[B, inputs, H, W]`` and w ``[B, w_dim]`` to ``[B, 3, H, W]``."""
        styles = self.affine(w) / math.sqrt(x.shape[1])
        x = modulated_convolution(x, self.weight, styles, demodulate=False, fused=fused)
        return _clamp(x + self.bias.to(x.dtype)[:, None, None], self.conv_clamp)
