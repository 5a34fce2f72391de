"""Functions give an image the same bits in a part of a batch, and the numbers that torch gives."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bob.paper.ijcb2023_synthdistill.distillation.divisible import (
    DivisibleArithmetic,
    guards_over_processes,
    sum_over_processes,
)


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


WEIGHT = numbers(37, 19)
FUNCTIONS = {
    "linear": lambda x: F.linear(x, weight=WEIGHT, bias=WEIGHT[:, 0]),
    "matmul": lambda x: x @ WEIGHT.T,
    "torch.matmul": lambda x: torch.matmul(x, WEIGHT.T),
    "silu": F.silu,
    "silu in place": lambda x: F.silu(x.clone(), inplace=True),
    "elu in place": lambda x: F.elu(x.clone(), 1.3, True),
    "sigmoid": lambda x: x.sigmoid(),
    "sigmoid in place": lambda x: x.clone().sigmoid_(),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "softplus": lambda x: nn.Softplus(beta=2)(x),
    "convolution": lambda x: F.conv2d(x[:, :, None, None], WEIGHT[:, :, None, None], padding=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_do_not_depend_on_the_batch(name):
    function, x = FUNCTIONS[name], numbers(8, 19)
    with DivisibleArithmetic():
        whole = function(x)
        parts = [torch.cat([function(p) for p in x.split(size)]) for size in (1, 2, 3)]
    assert whole.dtype == torch.float32
    for part in parts:
        assert torch.equal(part, whole)
    torch.testing.assert_close(whole, function(x))


def test_what_is_done_in_place_is_in_place():
    for change in (torch.Tensor.sigmoid_, lambda x: F.silu(x, True)):
        x, expected = numbers(3, 5), numbers(3, 5)
        change(expected)
        with DivisibleArithmetic():
            change(x)
        torch.testing.assert_close(x, expected)


def _moved(layer):
    """Give a layer weights that matter."""
    for parameter in layer.parameters():
        parameter.data += 0.1 * numbers(*parameter.shape)
    return layer


LAYERS = {
    "3x3": nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "depthwise": nn.Conv2d(6, 6, (3, 5), padding=(1, 2), groups=6, bias=False),
    "dilated": nn.Conv2d(6, 4, 3, dilation=(2, 1)),
    "same": nn.Conv2d(6, 4, 3, padding="same"),
    "activated": nn.Sequential(nn.Conv2d(6, 4, 1), nn.SiLU(inplace=True), nn.Sigmoid()),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(6 * 9 * 9, 5)),
    "group norm": _moved(nn.GroupNorm(2, 6)),
    "group norm without weights": nn.GroupNorm(3, 6, affine=False),
    "layer norm": _moved(nn.LayerNorm(9)),
    "layer norm of three dimensions": _moved(nn.LayerNorm([6, 9, 9])),
    "prelu": nn.PReLU(6),
    "prelu of one slope": nn.PReLU(),
    "linear of three dimensions": nn.Linear(9, 5),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_torch(name, layout):
    layer, x = LAYERS[name], numbers(5, 6, 9, 9).to(memory_format=layout).requires_grad_()
    variables = [x, *layer.parameters()]
    expected = layer(x)
    weight = numbers(*expected.shape)
    gradients = torch.autograd.grad((expected * weight).sum(), variables)
    with DivisibleArithmetic():
        found = layer(x)
        ours = torch.autograd.grad((found * weight).sum(), variables)
    torch.testing.assert_close(found, expected)
    for one, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    # frozen weights, and no gradient of the input
    layer.requires_grad_(False)
    with DivisibleArithmetic():
        (along_input,) = torch.autograd.grad((layer(x) * weight).sum(), [x])
        torch.testing.assert_close(along_input, ours[0])
        assert not layer(x.detach()).requires_grad
    layer.requires_grad_(True)


def test_sums_do_not_depend_on_order_or_division():
    x = numbers(1000, 3).double() * 10.0 ** torch.arange(-6, 3, 9 / 1000)[:1000, None]
    x[:, 2] -= x[:, 2].mean()
    plain, (whole,) = x.sum(0), sum_over_processes([x], [0])
    (backwards,) = sum_over_processes([x.flip(0)], [0])
    assert torch.equal(whole, backwards)
    # each number is rounded to 4e3 * 1000 * 2**-51 at most
    torch.testing.assert_close(whole, plain, rtol=0, atol=1e-7)
    # in two processes: the guards of the whole, the parts summed alone
    guards = guards_over_processes(x.abs().amax(0), 1000)
    parts = [((part + guards) - guards).sum(0) for part in (x[:130], x[130:])]
    assert torch.equal(parts[0] + parts[1], whole)
    # which is not so without them
    assert not torch.equal(x[:130].sum(0) + x[130:].sum(0), x.flip(0).cumsum(0)[-1])
    assert not sum_over_processes([torch.zeros(4, 2, dtype=torch.float64)], [0]).any()
    x[3, 1] = torch.nan
    assert sum_over_processes([x], [0])[0].isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if name not in ("same", "group norm without weights")]
)
def test_the_gradient_of_a_weight_does_not_depend_on_the_order_of_images(name):
    layer = LAYERS[name]
    x = numbers(33, 6, 9, 9)
    weight = numbers(*layer(x).shape)
    precise = copy.deepcopy(layer).double()
    (precise(x.double()) * weight).sum().backward()
    gradients = []
    for order in (range(33), range(32, -1, -1)):
        layer.zero_grad()
        with DivisibleArithmetic():
            (layer(x[list(order)]) * weight[list(order)]).sum().backward()
        gradients.append([p.grad.clone() for p in layer.parameters()])
    for one, other, exact in zip(*gradients, precise.parameters(), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one.double(), exact.grad, rtol=2e-5, atol=1e-4)
