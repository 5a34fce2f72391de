"""StyleGAN3 in plain PyTorch: from latent vectors to images whose details do not stick to pixels.

The network of Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021), T and R,
under the tensor names of the published generators. Fourier features, rotated and moved by w, pass
layers on a canvas that is larger than the image by a margin. In each a modulated convolution is
followed by a leaky ReLU at a higher sampling rate, between two low-pass filters; filters are part
of the file. There is no noise.

Tested against references whose w turns and shifts nothing: the sense of the movement that published
generators learned was not compared with their images.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stylegan2 import (
    GAIN,
    LEAK,
    BaseGenerator,
    Linear,
    Mapping,
    Noise,
    modulated_convolution,
)


class FourierFeatures(nn.Module):
    """Waves on a canvas of ``size`` by ``size`` samples, and a learned mixture of them.

    The image is the square of side 1 around the origin, with ``rate`` samples a side.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, channels: int, size: int, rate: float) -> None:
        super().__init__()
        self.size, self.rate = size, rate
        self.affine = Linear(w_dim, 4)
        nn.init.ones_(self.affine.bias[:1])  # a new network turns nothing
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", torch.randn(channels, 2))
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, w: Tensor) -> Tensor:
        """Give features ``[B, channels, size, size]`` of w ``[B, w_dim]``."""
        # cosine and sine of a rotation and a shift, all relative to the length of the first two
        t = self.affine(w)
        cosine, sine, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        rotation = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1)
        # from where a pixel is in the image to where it is among the waves
        transform = rotation.view(-1, 3, 3) @ shift.view(-1, 3, 3) @ self.transform
        # f (A p + b) + phase = (f A) p + (f b + phase)
        freqs = self.freqs @ transform[:, :2, :2]
        phases = self.phases[:, None] + self.freqs @ transform[:, :2, 2:]
        place = (torch.arange(self.size, device=w.device) + (0.5 - self.size / 2)) / self.rate
        across = freqs[:, :, :1] * place
        down = freqs[:, :, 1:] * place + phases
        waves = torch.sin((across[:, :, None, :] + down[:, :, :, None]) * (2 * math.pi))
        weight = self.weight / math.sqrt(self.weight.shape[0])
        return F.conv2d(waves, weight[:, :, None, None])


@dataclass(frozen=True)
class LayerOptions:
    """The sizes of a layer, whose output has ``outputs`` channels.

    Parameters
    ----------
    name
        Of the published module, such as ``L0_36_1024``.
    up, down
        Factors by which the leaky ReLU's sampling rate is above that of input and output; 1 and 1
        in the last layer, which makes colours.
    up_taps, down_taps
        Length of the filters; 1: none.
    radial
        The second filter has two dimensions.
    before, after
        Zeros on both ends of rows and columns at the higher sampling rate, or fewer samples if
        negative.
    half
        Computed in float16 on CUDA.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    up: int
    up_taps: int
    down: int
    down_taps: int
    radial: bool
    before: int
    after: int
    half: bool


class Layer(nn.Module):
    """Modulated convolution, bias and, but for colours, the filtered leaky ReLU; then the clamp."""

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, w_dim: int, options: LayerOptions, conv_clamp: float | None) -> None:
        super().__init__()
        self.options = o = options
        self.conv_clamp = math.inf if conv_clamp is None else conv_clamp
        self.colours = o.up == o.down == o.up_taps == o.down_taps == 1
        self.affine = Linear(w_dim, o.inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(o.outputs, o.inputs, o.kernel, o.kernel))
        self.bias = nn.Parameter(torch.zeros(o.outputs))
        self.register_buffer("magnitude_ema", torch.ones(()))
        if not self.colours:
            self.register_buffer("up_filter", torch.ones(o.up_taps) / o.up_taps)
            shape = [o.down_taps] * (2 if o.radial else 1)
            self.register_buffer("down_filter", torch.ones(shape) / o.down_taps ** len(shape))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Transform activations ``[B, inputs, H, W]``; w is ``[B, w_dim]``."""
        styles, kernel = self.affine(w), self.options.kernel
        if self.colours:
            styles = styles / math.sqrt(self.weight[0].numel())
        # what training measured of the input's mean square keeps activations near unit variance
        x = x * self.magnitude_ema.rsqrt().to(x.dtype)
        # all that the kernel touches: the canvas grows, and is cut again at the higher rate
        x = F.pad(x, [kernel - 1 - kernel // 2] * 4)
        x = modulated_convolution(x, self.weight, styles, demodulate=not self.colours, fused=False)
        x = x + self.bias.to(x.dtype)[:, None, None]
        if self.colours:
            return x.clamp(-self.conv_clamp, self.conv_clamp)
        x = F.leaky_relu(self._upsample(x), LEAK) * GAIN
        return self._downsample(x.clamp(-self.conv_clamp, self.conv_clamp))

    def _upsample(self, x: Tensor) -> Tensor:
        """Insert zeros, filter rows and columns, and cut what the next filter needs."""
        o, channels = self.options, x.shape[1]
        taps = (self.up_filter * o.up).to(x.dtype).expand(channels, 1, -1)
        # of the whole convolution the first samples see but the edge; the stride ends it early
        cut = [o.before + 1 - o.up_taps, o.after + o.up - o.up_taps]
        x = F.conv_transpose2d(x, taps[:, :, None], stride=(1, o.up), groups=channels)
        x = F.conv_transpose2d(F.pad(x, cut), taps[..., None], stride=(o.up, 1), groups=channels)
        return F.pad(x, [0, 0, *cut])

    def _downsample(self, x: Tensor) -> Tensor:
        """Filter and keep every ``down``-th row and column; the filters are symmetric."""
        down, channels = self.options.down, x.shape[1]
        taps = self.down_filter.to(x.dtype)
        if self.options.radial:
            return F.conv2d(x, taps.expand(channels, 1, -1, -1), stride=down, groups=channels)
        taps = taps.expand(channels, 1, -1)
        x = F.conv2d(x, taps[:, :, None], stride=(1, down), groups=channels)
        return F.conv2d(x, taps[..., None], stride=(down, 1), groups=channels)


class Synthesis(nn.Module):
    """From ws to images."""

    def __init__(
        self,
        w_dim: int,
        input_size: int,
        input_rate: float,
        layers: list[LayerOptions],
        conv_clamp: float | None,
        output_scale: float,
    ) -> None:
        super().__init__()
        self.num_ws = 1 + len(layers)
        self.output_scale = output_scale
        self.precision: torch.dtype | None = None
        self.input = FourierFeatures(w_dim, layers[0].inputs, input_size, input_rate)
        self.names = [layer.name for layer in layers]
        for layer in layers:
            self.add_module(layer.name, Layer(w_dim, layer, conv_clamp))

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "random",  # noqa: ARG002
        noise: Noise | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Make images of ws as StyleGAN2 does; there is no noise, whatever the mode."""
        ws = ws.to(torch.float32)
        x = self.input(ws[:, 0])
        for name, w in zip(self.names, ws[:, 1:].unbind(dim=1), strict=True):
            layer = cast(Layer, self.get_submodule(name))
            half = layer.options.half and x.device.type == "cuda"
            x = x.to(self.precision or (torch.float16 if half else torch.float32))
            x = layer(x, w)
        return x.to(torch.float32) * self.output_scale


class Generator(BaseGenerator):
    """StyleGAN3, T or R: options that StyleGAN2 has, too, mean the same.

    Parameters
    ----------
    output_scale
        By which the last layer's output is multiplied.
    input_size, input_rate
        Side of the canvas of the Fourier features, and samples in the image's side.
    layers
        The options of each layer, as a dictionary: see :py:class:`LayerOptions`.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        resolution: int,
        mapping_layers: int,
        mapping_multiplier: float,
        conv_clamp: float | None,
        output_scale: float,
        input_size: int,
        input_rate: float,
        layers: list[dict[str, Any]],
    ) -> None:
        # all that was given, before there are other names
        options = {n: v for n, v in locals().items() if n not in ("self", "__class__")}
        described = [LayerOptions(**layer) for layer in layers]
        synthesis = Synthesis(w_dim, input_size, input_rate, described, conv_clamp, output_scale)
        mapping = Mapping(z_dim, w_dim, synthesis.num_ws, mapping_layers, mapping_multiplier)
        super().__init__(options, mapping, synthesis)
