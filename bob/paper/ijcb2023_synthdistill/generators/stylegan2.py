"""StyleGAN2 in plain PyTorch: from latent vectors to images.

The network of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020),
with skip connections, under the tensor names of the published generators, so that their weights
fit. This is the reference: small, readable, on any device, differentiable.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .layers import GAIN, LEAK, Linear, StyledConvolution, ToRGB, upsample

Noise = Callable[[int, int], torch.Tensor]
"""``(batch, resolution)`` to noise ``[batch, 1, resolution, resolution]`` of N(0, 1)."""

NOISE_MODES = ("random", "const", "none")


class Mapping(nn.Module):
    """From z to w: a perceptron on the normalised z.

    Parameters
    ----------
    z_dim, w_dim
        Sizes of the latent vectors.
    num_ws
        How many w the synthesis takes.
    num_layers
        Number of linear layers, each with ``w_dim`` outputs.
    multiplier
        Relative learning rate of these layers.
    """

    w_avg: torch.Tensor

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

    def forward(
        self,
        z: torch.Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Map latent vectors to ws.

        Parameters
        ----------
        z
            ``[B, z_dim]`` of N(0, 1).
        truncation_psi
            Pull w towards its average: 1 leaves it, 0 gives the average image.
        truncation_cutoff
            How many of the ws are pulled, from the coarsest on; None: all.

        Returns
        -------
            ``[B, num_ws, w_dim]``: the same w for each convolution, but for the truncation.
        """
        x = z.to(torch.float32)
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for index in range(self.num_layers):
            x = F.leaky_relu(self.get_submodule(f"fc{index}")(x), LEAK) * GAIN
        ws = x.unsqueeze(1).expand(-1, self.num_ws, -1)
        if truncation_psi == 1.0:
            return ws
        pulled = torch.lerp(self.w_avg, ws, truncation_psi)
        if truncation_cutoff is None:
            return pulled
        return torch.cat([pulled[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)

    @torch.no_grad()
    def update_average(self, ws: torch.Tensor, decay: float = 0.998) -> None:
        """Follow the average of w while training, as the truncation needs it.

        Parameters
        ----------
        ws
            What the mapping gave without truncation: ``[B, num_ws, w_dim]``.
        decay
            What remains of the old average; 0 takes the average of this batch.
        """
        self.w_avg.lerp_(ws[:, 0].mean(dim=0), 1.0 - decay)


class Block(nn.Module):
    """All layers of one resolution.

    Parameters
    ----------
    inputs
        Number of channels of the block before; 0 in the first, which starts from a constant.
    outputs
        Number of channels.
    w_dim
        Size of w.
    resolution
        Height and width of the output.
    conv_clamp
        Limit of the outputs of each layer.
    """

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.num_convolutions = 2 if inputs else 1
        if inputs:
            self.conv0 = StyledConvolution(inputs, outputs, w_dim, resolution, True, conv_clamp)
        else:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        self.conv1 = StyledConvolution(outputs, outputs, w_dim, resolution, False, conv_clamp)
        self.torgb = ToRGB(outputs, w_dim, conv_clamp)

    def convolutions(self) -> list[StyledConvolution]:
        """List the convolutions in their order."""
        return [self.conv0, self.conv1] if self.num_convolutions == 2 else [self.conv1]


class Synthesis(nn.Module):
    """From ws to images.

    Parameters
    ----------
    w_dim
        Size of w.
    resolution
        Height and width of the images: a power of 2, at least 4.
    channel_base, channel_max
        A block of resolution r has ``min(channel_base // r, channel_max)`` channels.
    conv_clamp
        Limit of the outputs of each layer.
    num_fp16_res
        In how many of the highest resolutions half precision is used.

    Attributes
    ----------
    half_dtype, half_resolutions, half_devices
        The half precision, in how many resolutions, and on which types of devices (None: on all).
    fused_modulation
        True: one weight for each image; False: scaled activations (the faster one on most
        machines); None: as the published network, fused in float32 when not training.
    """

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
        self.half_dtype = torch.float16
        self.half_resolutions = num_fp16_res
        self.half_devices: tuple[str, ...] | None = ("cuda",)
        self.fused_modulation: bool | None = None

    def blocks(self) -> list[Block]:
        """List the blocks, from 4x4 on."""
        return [self.get_submodule(f"b{size}") for size in self.resolutions]  # type: ignore[misc]

    def forward(
        self, ws: torch.Tensor, noise_mode: str = "random", noise: Noise | None = None
    ) -> torch.Tensor:
        """Make images.

        Parameters
        ----------
        ws
            ``[B, num_ws, w_dim]``: one w for each convolution, and one for the last colours.
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
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is one of {NOISE_MODES}, not {noise_mode!r}")
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise ValueError(f"ws are [B, {self.num_ws}, w_dim], not {list(ws.shape)}")
        ws = ws.to(torch.float32)
        batch = ws.shape[0]
        x = self.get_parameter("b4.const").expand(batch, -1, -1, -1)
        image: torch.Tensor | None = None
        index = 0
        for block in self.blocks():
            dtype = self._dtype(block.resolution, ws.device)
            fused = self.fused_modulation
            if fused is None:
                fused = dtype == torch.float32 and not self.training
            x = x.to(dtype)
            for layer in block.convolutions():
                x = layer(x, ws[:, index], self._noise(layer, batch, noise_mode, noise), fused)
                index += 1
            # the colours share w with the next block's first convolution
            colours = block.torgb(x, ws[:, index], fused).to(torch.float32)
            image = colours if image is None else upsample(image) + colours
        assert image is not None  # noqa: S101 - there is at least the block of 4x4
        return image

    def _dtype(self, resolution: int, device: torch.device) -> torch.dtype:
        wanted = self.half_devices is None or device.type in self.half_devices
        # like the published network, never below 8x8
        lowest = max(2 * self.resolutions[-1] >> self.half_resolutions, 8)
        return self.half_dtype if wanted and resolution >= lowest else torch.float32

    def _noise(
        self, layer: StyledConvolution, batch: int, mode: str, noise: Noise | None
    ) -> torch.Tensor | None:
        if mode == "none":
            return None
        if mode == "const":
            return layer.noise_const
        if noise is not None:
            return noise(batch, layer.resolution)
        return torch.randn(
            batch, 1, layer.resolution, layer.resolution, device=layer.noise_const.device
        )


class Generator(nn.Module):
    """StyleGAN2.

    The defaults are those of the published generator of 256x256 faces: 24,767,458 parameters.

    Parameters
    ----------
    z_dim, w_dim
        Sizes of the latent vectors.
    resolution
        Height and width of the images: a power of 2, at least 4.
    channel_base, channel_max
        A block of resolution r has ``min(channel_base // r, channel_max)`` channels.
    mapping_layers
        Number of layers of the mapping.
    mapping_multiplier
        Relative learning rate of the mapping.
    conv_clamp
        Every convolution's output is clamped to plus and minus this; None: it is not.
    num_fp16_res
        In how many of the highest resolutions float16 is used, on CUDA. See :py:meth:`half_in`.
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
        super().__init__()
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError(f"the resolution is a power of 2, at least 4, not {resolution}")
        if min(z_dim, w_dim, mapping_layers, channel_max, channel_base // resolution) < 1:
            raise ValueError("the network needs at least one feature and channel in each layer")
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.resolution = resolution
        self.options = {
            "z_dim": z_dim,
            "w_dim": w_dim,
            "resolution": resolution,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mapping_layers": mapping_layers,
            "mapping_multiplier": mapping_multiplier,
            "conv_clamp": conv_clamp,
            "num_fp16_res": num_fp16_res,
        }
        self.synthesis = Synthesis(
            w_dim, resolution, channel_base, channel_max, conv_clamp, num_fp16_res
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = Mapping(z_dim, w_dim, self.num_ws, mapping_layers, mapping_multiplier)

    def half_in(self, resolutions: int, dtype: torch.dtype = torch.float16) -> None:
        """Use half precision in the highest resolutions, on every device.

        Parameters
        ----------
        resolutions
            How many: 0 is float32 everywhere.
        dtype
            :py:data:`torch.float16` or :py:data:`torch.bfloat16`.
        """
        self.synthesis.half_resolutions = resolutions
        self.synthesis.half_dtype = dtype
        self.synthesis.half_devices = None

    def forward(
        self,
        z: torch.Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        noise: Noise | None = None,
    ) -> torch.Tensor:
        """Make images ``[B, 3, resolution, resolution]`` from z ``[B, z_dim]``."""
        ws = self.mapping(z, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode, noise)
