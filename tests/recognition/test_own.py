import functools
import os

import pytest
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.own import (
    is_network_name,
    lay_out,
    make_network,
    measure_embedding,
    network_expression,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package.module:Class", True),
        ("module:Outer.Inner", True),
        ("tinynet_a.in1k", False),
        ("hf-hub:someone/something", False),
        ("C:\\teacher.pth", False),
        (None, False),
    ],
)
def test_names_are_told_from_paths_and_models(text, expected):
    assert is_network_name(text) is expected


def test_is_made_by_class_function_partial_or_name(own):
    for network, width in (
        (own.Tiny, 3),
        (own.make, 4),
        (functools.partial(own.Tiny, width=5), 5),
        ("own_network:Outer.Tiny", 3),
        ("own_network:wide", 7),
    ):
        assert make_network(network).convolution.out_channels == width
    # weights of two files must not meet in one module
    assert make_network("own_network:made") is not own.made


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("no_such_module:Tiny", "cannot be imported.*PYTHONPATH"),
        ("own_network:Missing", "cannot be imported.*PYTHONPATH"),
        ("own_network:number", "a torch module, .* at own_network:number.*int"),
        ("own_network.Tiny", "package.module:name"),
        (functools.partial(nn.Conv2d, width=5), "torch.nn.modules.conv:Conv2d cannot be made.*wid"),
    ],
)
def test_what_makes_no_network_is_refused_in_words(own, network, words):
    with pytest.raises(SynthDistillError, match=words):
        make_network(network)


def test_expression_makes_the_network_again(own):
    assert network_expression("own_network:wide") == ("", "'own_network:wide'")
    assert network_expression("tinyfar-a") is None
    for network in (
        own.Tiny,
        own.make,
        functools.partial(own.Tiny, width=5),
        functools.partial(own.Outer.Tiny, width=6, embedding_size=512),
    ):
        imports, expression = network_expression(network)
        names = {}
        exec(imports, names)
        again = make_network(eval(expression, names)).state_dict()
        expected = make_network(network).state_dict()
        assert {n: t.shape for n, t in again.items()} == {n: t.shape for n, t in expected.items()}


def test_network_that_others_could_not_make_is_refused(own):
    class Local(nn.Module):
        pass

    Local.__module__ = "own_network"
    Impostor = type("Tiny", (own.Tiny,), {"__module__": "own_network"})
    Main = type("Main", (own.Tiny,), {"__module__": "__main__"})
    for network, words in (
        (Local, "cannot be imported by others.*PYTHONPATH"),
        (lambda: own.Tiny(), "cannot be imported by others"),
        (Main, "__main__:Main cannot be imported by others"),
        (Impostor, "cannot be imported by others"),
        ("no_such_module:Tiny", "cannot be imported"),
        (functools.partial(own.Tiny, 3), "the argument 3 .* cannot be written down"),
        (functools.partial(own.Tiny, width=os), "cannot be written down"),
        (functools.partial(own.Tiny, width=float("nan")), "cannot be written down"),
    ):
        with pytest.raises(SynthDistillError, match=words):
            network_expression(network)


class Giving(nn.Module):
    """Give for faces whatever a function makes of their pixels."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: (x[:, 0, 0], x), r"gives a tuple for two faces, one vector for each"),
        (lambda x: x, r"gives torch.float32 \[2, 3, 112, 112\] for two faces"),
        (lambda x: x[:1].flatten(1), r"\[1, 37632\]"),
        (lambda x: x.flatten(1).long(), r"torch.int64 \[2, 37632\]"),
        (lambda x: x @ torch.zeros(3, 3), r"Mine does not take faces \[B, 3, 112, 112\]: \w"),
    ],
)
def test_what_gives_no_embeddings_is_refused_in_words(function, words):
    with pytest.raises(SynthDistillError, match=words):
        measure_embedding(Giving(function), "Mine")


def test_measuring_leaves_modes_statistics_and_random_numbers_alone(own):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval(), own.Viewing())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert measure_embedding(network, "mine") == 128
    lay_out(network)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in network] == [True, False, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_channels_last_is_not_forced_on_a_network(own, images):
    for network, takes in ((own.Tiny(), True), (own.Viewing(), False), (nn.Flatten(), True)):
        expected = network.eval()(images)
        assert lay_out(network) is network
        assert torch.allclose(network(images), expected, atol=1e-5)
        for weight in network.parameters():
            if weight.ndim == 4:
                assert weight.is_contiguous(memory_format=torch.channels_last) is takes
