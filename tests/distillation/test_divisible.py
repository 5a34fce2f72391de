"""Functions give an image the same bits in a part of a batch, and the numbers that torch gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bob.paper.ijcb2023_synthdistill.distillation.divisible import DivisibleArithmetic


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


LAYERS = {
    "3x3": nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "depthwise": nn.Conv2d(6, 6, (3, 5), padding=(1, 2), groups=6, bias=False),
    "dilated": nn.Conv2d(6, 4, 3, dilation=(2, 1)),
    "same": nn.Conv2d(6, 4, 3, padding="same"),
    "activated": nn.Sequential(nn.Conv2d(6, 4, 1), nn.SiLU(inplace=True), nn.Sigmoid()),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(6 * 9 * 9, 5)),
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


def test_the_gradient_of_a_weight_is_summed_in_float64():
    layer = nn.Conv2d(3, 4, 3, bias=False)
    x, weight = numbers(64, 3, 8, 8), numbers(64, 4, 6, 6)
    precise = nn.Conv2d(3, 4, 3, bias=False, dtype=torch.float64)
    precise.load_state_dict(layer.state_dict())
    (precise(x.double()) * weight).sum().backward()
    with DivisibleArithmetic():
        orders = []
        for order in (range(64), range(63, -1, -1)):
            layer.zero_grad()
            (layer(x[list(order)]) * weight[list(order)]).sum().backward()
            orders.append(layer.weight.grad.clone())
    assert torch.equal(*orders)
    torch.testing.assert_close(orders[0].double(), precise.weight.grad, rtol=1e-5, atol=1e-4)
