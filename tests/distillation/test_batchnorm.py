"""Batch norms over two processes give what one gives on the whole batch."""

import torch
from timm.layers import BatchNormAct2d

from bob.paper.ijcb2023_synthdistill.distillation.batchnorm import (
    SynchronisedBatchNorm,
    synchronise,
)


def test_two_halves_are_the_whole(in_processes, tmp_path):
    in_processes({"do": "normalise", "folder": str(tmp_path)})
    whole, *halves = (torch.load(tmp_path / name) for name in ("1.0.pt", "2.0.pt", "2.1.pt"))
    assert len(whole) > 40
    for name, expected in whole.items():
        if name.endswith((".y", ".dx")):
            found = torch.cat([half[name] for half in halves])
        elif name.endswith(".grad"):
            found = halves[0][name] + halves[1][name]
        else:
            found = halves[0][name]
            assert torch.equal(found, halves[1][name])
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5, msg=name)


def test_alone_it_is_the_same_layer():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), BatchNormAct2d(4), torch.nn.Sequential(torch.nn.BatchNorm2d(4))
    )
    names = [name for name, _ in network.named_parameters()]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    x = torch.randn(5, 3, 4, 4)
    expected = network(x)
    network.load_state_dict(state)
    other = synchronise(network)
    assert other is network
    assert [name for name, _ in other.named_parameters()] == names
    assert list(other.state_dict()) == list(state)
    assert isinstance(other[1], SynchronisedBatchNorm)
    torch.testing.assert_close(other(x), expected)
    assert isinstance(synchronise(torch.nn.BatchNorm2d(3)), SynchronisedBatchNorm)


def test_on_cuda_it_is_torch_s_own():
    network = synchronise(torch.nn.Sequential(BatchNormAct2d(4), torch.nn.BatchNorm2d(4)), "cuda")
    assert all(isinstance(layer, torch.nn.SyncBatchNorm) for layer in network)
