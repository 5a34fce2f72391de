"""A module with networks of a user's own, where Python finds it."""

import sys

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet

OWN = """
from functools import partial

import torch


class Tiny(torch.nn.Module):
    def __init__(self, width=3, embedding_size=512):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, width, 16, 16)
        self.linear = torch.nn.Linear(width, embedding_size)

    def forward(self, x):
        return self.linear(self.convolution(x).mean((2, 3)))


class Viewing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 28, 28)
        self.drop = torch.nn.Dropout()

    def forward(self, x):
        return self.drop(self.convolution(x)).view(len(x), -1)


class Outer:
    Tiny = Tiny


def make(width=4):
    return Tiny(width)


wide = partial(Tiny, width=7)
made = Tiny()
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_network

    yield own_network
    sys.modules.pop("own_network", None)


@pytest.fixture
def images():
    return torch.rand(3, 3, 112, 112, generator=torch.manual_seed(1)) * 2 - 1


@pytest.fixture
def network():
    """Make a small network with the statistics of some images in its norms, as if trained."""
    torch.manual_seed(0)
    network = IResNet((1, 2, 1, 1), (4, 6, 8, 10), embedding_size=16, eps=2e-5)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the average instead of a slow approach
    with torch.no_grad():
        network(0.01 * torch.rand(8, 3, 112, 112))  # small variances, so that eps matters
    for norm in norms:
        norm.num_batches_tracked.zero_()
    return network.eval().requires_grad_(False)
