"""Batch normalisation over all processes: N shares of a batch give what the whole batch gives."""

import torch
import torch.distributed
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """Let every batch normalisation of a module take its statistics over all processes.

    Layers are replaced in place; parameters, buffers and their names stay. On CUDA they become
    torch's ``SyncBatchNorm`` (in timm's form, which keeps dropout and activation); it refuses
    tensors on the CPU, where they become :py:class:`SynchronisedBatchNorm`.
    """
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm):
        return SynchronisedBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, device))
    return module


class SynchronisedBatchNorm(_BatchNorm):
    """Stand in for a batch normalisation, timm's with dropout and activation included.

    Every process must have the same share of the batch.
    """

    def __init__(self, source: _BatchNorm) -> None:
        super().__init__(source.num_features, source.eps, source.momentum)
        self.affine, self.track_running_stats = source.affine, source.track_running_stats
        self.weight, self.bias = source.weight, source.bias
        self.running_mean, self.running_var = source.running_mean, source.running_var
        self.num_batches_tracked = source.num_batches_tracked
        self.drop = getattr(source, "drop", nn.Identity())
        self.act = getattr(source, "act", nn.Identity())
        self.train(source.training)

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002
        pass

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Normalise ``[b, c, ...]`` by mean and variance of each channel over all processes."""
        if not self.training:
            return self.act(self.drop(super().forward(input)))
        others = [0, *range(2, input.ndim)]
        count = torch.distributed.get_world_size() * input.numel() // input.shape[1]
        mean = all_reduce(input.sum(others, keepdim=True)) / count
        centred = input - mean
        variance = all_reduce(centred.square().sum(others, keepdim=True)) / count
        result = centred * torch.rsqrt(variance + self.eps)
        if self.weight is not None and self.bias is not None:
            shape = mean.shape
            result = result * self.weight.view(shape) + self.bias.view(shape)
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None  # noqa: S101 - for the type checker
            self.num_batches_tracked.add_(1)
            momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            unbiased = variance.detach().flatten() * (count / max(count - 1, 1))
            self.running_mean.lerp_(mean.detach().flatten(), momentum)
            self.running_var.lerp_(unbiased, momentum)
        return self.act(self.drop(result))
