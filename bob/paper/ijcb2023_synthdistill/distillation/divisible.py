"""Arithmetic on CPUs that does not show how a batch is divided among processes.

In float32 an image's numbers depend, in their last bits, on how many images are computed with it: a
matrix product of two rows is done in another order than one of eight, an activation's last elements
by other instructions than the first, and the gradient of a weight is a sum over the images. Some
gradients are nothing but that rounding, such as those of a bias that the next batch normalisation
subtracts, and Adam makes steps of full size of them: after a hundred updates four processes were
5e-5 from one. Here products are done row by row, activations in float64, and sums over the batch
so that their order does not count: N shares of a batch give what the whole batch gives.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_MATRIX_PRODUCTS = {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
_IN_PLACE = {torch.sigmoid_, torch.Tensor.sigmoid_}
_ACTIVATIONS = {
    *(F.silu, F.mish, F.gelu, F.softplus, F.elu, F.tanh, F.sigmoid),
    *(torch.sigmoid, torch.Tensor.sigmoid, torch.tanh, torch.Tensor.tanh),
    *_IN_PLACE,
}


def processes() -> int:
    """Give the number of processes that share a batch, each the same number of images."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def sum_over_processes(addends: Sequence[torch.Tensor], dimensions: Sequence[int]) -> torch.Tensor:
    """Sum numbers over some dimensions and over all processes, whatever their order.

    Parameters
    ----------
    addends
        Tensors in float64, of one shape.
    dimensions
        Those to be summed.

    Returns
    -------
        The sums, one for each of the tensors, in float64; the same bits for any division of the
        numbers among processes. Each number is rounded, by at most the largest one of its sum times
        their count times 2**-51.
    """
    dimensions = list(dimensions)
    bounds = torch.stack([x.abs().amax(dimensions, keepdim=True) for x in addends])
    count = addends[0].numel() // bounds[0].numel()
    guards = guards_over_processes(bounds, count)
    sums = [
        (x + guard).sub_(guard).sum(dimensions) for x, guard in zip(addends, guards, strict=True)
    ]
    return add_over_processes(torch.stack(sums))


def guards_over_processes(bounds: torch.Tensor, count: int) -> torch.Tensor:
    """Give what makes the sum of rounded numbers exact.

    Adding a number's guard, and subtracting it again, rounds the number to a multiple of a power of
    two so large that the sum of all of them, in all processes, is exact in float64 in any order.

    Parameters
    ----------
    bounds
        What the absolute values in this process do not exceed, in float64.
    count
        How many numbers are summed in each process.

    Returns
    -------
        The guards, of the shape of the bounds.
    """
    if processes() > 1:
        bounds = bounds.contiguous()
        torch.distributed.all_reduce(bounds, torch.distributed.ReduceOp.MAX)
    exponents = torch.frexp(bounds * (count * processes())).exponent
    return torch.ldexp(torch.full_like(bounds, 1.5), exponents + 1)


def add_over_processes(sums: torch.Tensor) -> torch.Tensor:
    """Add the sums of all processes, in place."""
    if processes() > 1:
        torch.distributed.all_reduce(sums)
    return sums


class DivisibleArithmetic(TorchFunctionMode):
    """A context in which functions give an image the same numbers in any part of its batch.

    Convolutions, linear layers, layer and group norms and PReLUs sum the gradients of their weights
    over all processes: each has the mean of them after its backward pass, and averaging them again,
    as DDP does, changes nothing. Batch normalisations have layers for that: see
    :py:mod:`.batchnorm`. A parameter that is used in another way has torch's gradient, which is
    right but for rounding. Convolutions are done as they are: of an image they gave the same in any
    batch (experiments/SCALING.md).
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
        if func in _WITH_WEIGHTS:
            return _WITH_WEIGHTS[func](*args, **kwargs)
        if func in _MATRIX_PRODUCTS and not kwargs and args[0].dim() == args[1].dim() == 2:
            return torch.cat([row @ args[1] for row in args[0].split(1)])
        if func in _ACTIVATIONS:
            return _activate(func, *args, **kwargs)
        return func(*args, **kwargs)


def _linear(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Do what ``torch.nn.functional.linear`` does."""
    if input.dim() < 2:
        return F.linear(input, weight, bias)
    return _Linear.apply(input, weight, bias)


def _normalise_groups(
    input: torch.Tensor,  # noqa: A002
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Do what ``torch.nn.functional.group_norm`` does."""
    dimensions = [0, *range(2, input.dim())]
    return _scale(F.group_norm(input, num_groups, eps=eps), weight, bias, dimensions)


def _normalise_layer(
    input: torch.Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Do what ``torch.nn.functional.layer_norm`` does."""
    dimensions = list(range(input.dim() - len(normalized_shape)))
    normalised = F.layer_norm(input, normalized_shape, eps=eps)
    return _scale(normalised, weight, bias, dimensions)


def _prelu(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # noqa: A002
    """Do what ``torch.nn.functional.prelu`` does."""
    one_slope = weight.numel() == 1 or input.dim() < 2
    dimensions = [d for d in range(input.dim()) if one_slope or d != 1]
    return input.clamp_min(0) + _scale(input.clamp_max(0), weight, None, dimensions)


def _scale(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    dimensions: list[int],
) -> torch.Tensor:
    """Multiply by weights and add biases that are the same along some dimensions."""
    if weight is None:
        return input
    # in float64, so that what is summed for the gradients is not rounded before
    scaled = (input.double() * _Spread.apply(weight, input.shape, dimensions)).to(input.dtype)
    if bias is None:
        return scaled
    return (scaled.double() + _Spread.apply(bias, input.shape, dimensions)).to(input.dtype)


def _activate(
    func: Callable[..., torch.Tensor],
    input: torch.Tensor,  # noqa: A002
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """Do what an activation does, in place as well."""
    # a copy of its own, which may be changed in place
    result = func(input.to(torch.float64, copy=True), *args, **kwargs).to(input.dtype)
    in_place = func in _IN_PLACE or kwargs.get("inplace") or any(value is True for value in args)
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
    if not torch.is_grad_enabled() or isinstance(padding, str) or input.dim() != 4:
        # right with gradients as well: they are averaged over the processes afterwards, in float32
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    sizes = [_pair(value) for value in (stride, padding, dilation)]
    return _Convolve.apply(input, weight, bias, *sizes, groups)


def _pair(value: Any) -> Any:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolve(torch.autograd.Function):
    """A convolution whose gradients of weight and bias are exact sums over the images."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *settings: Any,
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        ctx.settings = settings
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
            # by Cauchy and Schwarz: an element is a product of two channels, one of them shifted
            norms = [torch.linalg.vector_norm(x, dim=(2, 3)).double() for x in (gradient, input)]
            bounds = 1.001 * norms[0].amax(0) * norms[1].amax()
            guard = guards_over_processes(bounds, len(input)).view(-1, 1, 1, 1)
            images = zip(gradient.split(1), input.split(1), strict=True)
            pieces = (part(g, x, [False, True, False])[1] for g, x in images)
            along_weight = _mean_of_pieces(pieces, guard, weight)
        if ctx.needs_input_grad[2]:
            along_bias = _mean_of_sums(gradient.double(), (0, 2, 3), weight)
        return along_input, along_weight, along_bias, None, None, None, None


class _Linear(torch.autograd.Function):
    """A linear layer, image by image, whose gradients of weight and bias are exact sums."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        return torch.cat([F.linear(image, weight, bias) for image in input.split(1)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors  # noqa: A001
        along_input, along_weight, along_bias = None, None, None
        if ctx.needs_input_grad[0]:
            along_input = torch.cat([image @ weight for image in gradient.split(1)])
        rows, columns = gradient.flatten(0, -2).double(), input.flatten(0, -2).double()
        if ctx.needs_input_grad[1]:
            bounds = torch.outer(rows.abs().amax(0), columns.abs().amax(0))
            guards = guards_over_processes(bounds, len(rows))
            # the product of two float32 numbers is exact in float64
            pieces = (torch.outer(*pair) for pair in zip(rows, columns, strict=True))
            along_weight = _mean_of_pieces(pieces, guards, weight)
        if ctx.needs_input_grad[2]:
            along_bias = _mean_of_sums(rows, (0,), weight)
        return along_input, along_weight, along_bias


class _Spread(torch.autograd.Function):
    """A weight in float64, repeated along dimensions, whose gradient is an exact sum over them."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, shape: torch.Size, dimensions: list[int]
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.dimensions = dimensions
        kept = [1 if d in dimensions else size for d, size in enumerate(shape)]
        return weight.double().view(kept).expand(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        return _mean_of_sums(gradient, ctx.dimensions, weight).view(weight.shape), None, None


_WITH_WEIGHTS: dict[Any, Callable[..., torch.Tensor]] = {
    F.conv2d: _convolve,
    F.linear: _linear,
    F.group_norm: _normalise_groups,
    F.layer_norm: _normalise_layer,
    F.prelu: _prelu,
}


def _mean_of_pieces(
    pieces: Iterable[torch.Tensor], guards: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Give the mean of the processes' gradients, each a sum of pieces that come one by one."""
    total = torch.zeros_like(weight, dtype=torch.float64)
    for piece in pieces:
        total += (piece + guards).sub_(guards)
    return _mean(add_over_processes(total), weight)


def _mean_of_sums(
    addends: torch.Tensor, dimensions: Sequence[int], weight: torch.Tensor
) -> torch.Tensor:
    """Give the mean of the processes' gradients, each of which is a sum of float64 numbers."""
    (total,) = sum_over_processes([addends], dimensions)
    return _mean(total, weight)


def _mean(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Give the mean of the processes' gradients, whose sum is given."""
    return (total / processes()).to(weight.dtype)
