"""Batch normalisation over all processes: N shares of a batch give what the whole batch gives.

torch's own ``SyncBatchNorm`` does this on CUDA and refuses tensors on the CPU, where a run must be
divisible as well (and where it can be tested anywhere), so it is used on CUDA, and ours elsewhere.

Ours computes in float64, with sums that do not depend on how a batch is divided, and rounds once:
see :py:mod:`.divisible`.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from .divisible import processes, sum_over_processes


def synchronise(module: nn.Module, device: torch.device | str = "cpu") -> nn.Module:
    """Let every batch normalisation of a module take its statistics over all processes.

    Parameters
    ----------
    module
        Any network. Its layers are replaced in place; their parameters, buffers and names stay, so
        that its state dict is the same before and after.
    device
        Where it will run.

    Returns
    -------
        The module (another one only if it is a batch normalisation itself). With one process it
        computes what it did before, but for rounding.
    """
    if torch.device(device).type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronisedBatchNorm):
        return SynchronisedBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, device))
    return module


class SynchronisedBatchNorm(_BatchNorm):
    """Stand in for a batch normalisation, timm's with dropout and activation included.

    Parameters
    ----------
    source
        The layer. Its parameters and buffers are taken, not copied.
    """

    def __init__(self, source: _BatchNorm) -> None:
        super().__init__(
            source.num_features,
            source.eps,
            source.momentum,
            source.affine,
            source.track_running_stats,
        )
        self.weight, self.bias = source.weight, source.bias
        self.running_mean, self.running_var = source.running_mean, source.running_var
        self.num_batches_tracked = source.num_batches_tracked
        self.drop = getattr(source, "drop", nn.Identity())
        self.act = getattr(source, "act", nn.Identity())
        self.train(source.training)

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002
        if input.dim() < 2:
            raise ValueError(f"expected at least [b, c], found {tuple(input.shape)}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Normalise ``[b, c, ...]`` by mean and variance of each channel over all processes."""
        if not self.training:
            return self.act(self.drop(super().forward(input)))
        normalised, mean, variance = _Normalise.apply(input, self.weight, self.bias, self.eps)
        self._track(mean, variance, processes() * input.numel() // input.shape[1])
        return self.act(self.drop(normalised))

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch of ``count`` values a channel."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # noqa: S101
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        variance = variance * (count / max(count - 1, 1))
        self.running_var.lerp_(variance.to(self.running_var), momentum)


class _Normalise(torch.autograd.Function):
    """Batch normalisation in float64, rounded at its ends; each process has its own loss."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give the normalised values, and mean and variance ``[c]`` in float64."""
        dimensions, shape = _layout(input)
        values = input.double()
        # every process has the same share of the batch
        count = processes() * input.numel() // input.shape[1]
        mean, square = sum_over_processes([values, values.square()], dimensions) / count
        variance = (square - mean.square()).clamp_min(0)
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(input, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        result = (values - mean.view(shape)) * inverse.view(shape)
        if weight is not None and bias is not None:
            result = result * weight.double().view(shape) + bias.double().view(shape)
        return result.to(input.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, None]:
        """Give the gradients; those of weight and bias are already the processes' mean."""
        input, weight, mean, inverse = ctx.saved_tensors  # noqa: A001
        dimensions, shape = _layout(input)
        gradient = gradient.double()
        normalised = (input.double() - mean.view(shape)) * inverse.view(shape)
        count = input.numel() // input.shape[1]
        along_bias, along_weight = sum_over_processes(
            [gradient, gradient * normalised], dimensions
        ) / (processes() * count)
        rest = gradient - along_bias.view(shape) - normalised * along_weight.view(shape)
        if weight is None:
            return (rest * inverse.view(shape)).to(input.dtype), None, None, None
        return (
            (rest * (weight.double() * inverse).view(shape)).to(input.dtype),
            (along_weight * count).to(weight.dtype),
            (along_bias * count).to(weight.dtype),
            None,
        )


def _layout(input: torch.Tensor) -> tuple[list[int], list[int]]:  # noqa: A002
    """Give the dimensions other than the channels', and the shape of one number a channel."""
    return [0, *range(2, input.dim())], [1, -1] + [1] * (input.dim() - 2)
