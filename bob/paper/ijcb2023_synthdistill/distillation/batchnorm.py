"""Batch normalisation over all processes: N shares of a batch give what the whole batch gives.

torch's own ``SyncBatchNorm`` does this on CUDA and refuses tensors on the CPU, where a run must be
divisible as well (and where it can be tested anywhere), so it is used on CUDA, and ours elsewhere.
"""

from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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
        computes what it did before.
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
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if not self.training or processes == 1:
            return self.act(self.drop(super().forward(input)))
        dimensions = [0, *range(2, input.dim())]
        variance, mean = torch.var_mean(input, dimensions, correction=0, keepdim=True)
        # every process has the same share of the batch, so the means of their moments are the
        # whole batch's; in float64 the difference below loses nothing
        moments = torch.stack([mean.double(), variance.double() + mean.double().square()])
        moments = _SumOverProcesses.apply(moments) / processes
        mean, variance = moments[0].float(), (moments[1] - moments[0].square()).float()
        self._track(mean, variance, processes * input.numel() // input.shape[1])
        normalised = (input - mean) * torch.rsqrt(variance + self.eps)
        if self.affine:
            shape = [1, -1] + [1] * (input.dim() - 2)
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
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
        self.running_mean.lerp_(mean.flatten(), momentum)
        self.running_var.lerp_(variance.flatten() * (count / max(count - 1, 1)), momentum)


class _SumOverProcesses(torch.autograd.Function):
    """Add up over all processes, forwards and (each process has its own loss) backwards."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """Add up the values."""
        total = tensor.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """Add up the gradients."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total
