"""Arithmetic on CPUs that does not show how a batch is divided among processes.

In float32 an image's numbers depend, in their last bits, on how many images are computed with it: a
matrix product of two rows is done in another order than one of eight, an activation's last elements
by another instruction than the first, and the gradient of a weight is a sum over the images. Some
gradients are nothing but that rounding, such as those of a bias that the next batch normalisation
subtracts, and Adam makes steps of full size of them: after a hundred updates four processes were
5e-5 from one. What depends on the division is done in float64 here and rounded once, so that N
shares of a batch give what the whole batch gives, mostly to the last bit.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from .batchnorm import mean_over_processes

_MATRIX_PRODUCTS = {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
_ACTIVATIONS = {
    *(F.silu, F.mish, F.gelu, F.softplus, F.elu, F.tanh, F.sigmoid),
    *(torch.sigmoid, torch.Tensor.sigmoid, torch.tanh, torch.Tensor.tanh),
}
_IN_PLACE = {torch.sigmoid_: torch.sigmoid, torch.Tensor.sigmoid_: torch.sigmoid}


class DivisibleArithmetic(TorchFunctionMode):
    """A context in which functions give an image the same numbers in any part of its batch.

    Convolutions and linear layers sum the gradients of their weights over all processes: each has
    the mean of them after its backward pass, and averaging them again, as DDP does, changes
    nothing. Batch normalisations have layers for that: see :py:mod:`.batchnorm`. Convolutions
    themselves do not depend on the batch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call what stands for a function here, or the function."""
        kwargs = kwargs or {}
        if func is F.conv2d and torch.is_grad_enabled():
            return _convolve(*args, **kwargs)
        if func is F.linear:
            return _linear(*args, **kwargs)
        if func in _MATRIX_PRODUCTS and not kwargs:
            return func(*(x.double() for x in args)).to(args[0].dtype)
        if func in _ACTIVATIONS:
            return _activate(func, *args, **kwargs)
        if func in _IN_PLACE:
            return args[0].copy_(_IN_PLACE[func](args[0].double()))
        return func(*args, **kwargs)


def _linear(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Do what ``torch.nn.functional.linear`` does."""
    return _Linear.apply(input, weight, bias)


def _activate(
    func: Callable[..., torch.Tensor],
    input: torch.Tensor,  # noqa: A002
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """Do what an activation does, in place as well."""
    result = func(input.double(), *args, **kwargs).to(input.dtype)
    in_place = kwargs.get("inplace") or any(value is True for value in args)
    return input.copy_(result) if in_place else result


def _convolve(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """Do what ``torch.nn.functional.conv2d`` does."""
    if isinstance(padding, str) or input.dim() != 4:
        # right as well: the processes' gradients are averaged afterwards, in float32
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    sizes = [_pair(value) for value in (stride, padding, dilation)]
    return _Convolve.apply(input, weight, bias, *sizes, groups)


def _pair(value: Any) -> Any:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolve(torch.autograd.Function):
    """A convolution in float32 whose gradients of weight and bias are summed in float64."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *settings: Any,
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        ctx.settings, ctx.has_bias = settings, bias is not None
        return F.conv2d(input, weight, bias, *settings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors  # noqa: A001
        stride, padding, dilation, groups = ctx.settings

        def part(g: torch.Tensor, x: torch.Tensor, wanted: list[bool]) -> Any:
            return torch.ops.aten.convolution_backward(
                g, x, weight, None, stride, padding, dilation, False, [0, 0], groups, wanted
            )

        along_input, along_weight, along_bias = None, None, None
        if ctx.needs_input_grad[0]:
            along_input = part(gradient, input, [True, False, False])[0]
        if ctx.needs_input_grad[1]:
            total = torch.zeros_like(weight, dtype=torch.float64)
            for g, x in zip(gradient.split(1), input.split(1), strict=True):
                total += part(g, x, [False, True, False])[1]
            along_weight = mean_over_processes(total).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            total = gradient.double().sum((0, 2, 3))
            along_bias = mean_over_processes(total).to(weight.dtype)
        return along_input, along_weight, along_bias, None, None, None, None


class _Linear(torch.autograd.Function):
    """A linear layer in float64, rounded at its ends."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        result = F.linear(input.double(), weight.double(), None if bias is None else bias.double())
        return result.to(input.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors  # noqa: A001
        gradient = gradient.double()
        along_input, along_weight, along_bias = None, None, None
        if ctx.needs_input_grad[0]:
            along_input = (gradient @ weight.double()).to(input.dtype)
        rows = gradient.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            total = rows.T @ input.double().flatten(0, -2)
            along_weight = mean_over_processes(total).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            along_bias = mean_over_processes(rows.sum(0)).to(weight.dtype)
        return along_input, along_weight, along_bias
