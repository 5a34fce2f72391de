"""Weights in files: what is read, what is refused in words, and what is written."""

import argparse
import os
import pickle
import subprocess
import sys
import types

import pytest
import safetensors.torch
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.weights import (
    check_format,
    load_weights,
    read_weights,
    save_weights,
)

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


@pytest.fixture(params=["zip", "legacy", "safetensors"])
def content(request, tmp_path):
    path = tmp_path / "content"
    if request.param == "safetensors":
        safetensors.torch.save_file(STATE, path, {"format": "x"})
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=request.param == "zip")
    return path.read_bytes()


def test_tells_formats_by_their_content(tmp_path, content):
    path = tmp_path / "weights.unusual"
    path.write_bytes(content)
    state, metadata = read_weights(path, "weights")
    assert metadata == ({"format": "x"} if content[8:9] == b"{" else {})
    assert list(state) == ["a", "b"]
    assert torch.equal(state["a"], STATE["a"])


def test_what_lightning_writes_beside_the_weights_is_ignored(tmp_path, monkeypatch):
    class ModelCheckpoint:
        def __init__(self):
            self.path = "x"

        def __setstate__(self, state):
            raise AssertionError("the class of the file's name was made")

    class AttributeDict(dict):
        pass

    for module, kind in (
        ("pytorch_lightning.callbacks.model_checkpoint", ModelCheckpoint),
        ("pytorch_lightning.utilities.parsing", AttributeDict),
    ):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        for parent in (module.split(".")[0], module.rpartition(".")[0], module):
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        setattr(sys.modules[module], kind.__name__, kind)
    content = {
        "state_dict": STATE,
        "callbacks": {ModelCheckpoint: {"best": 0.5}, "made": ModelCheckpoint()},
        "hyper_parameters": AttributeDict(arch="ir_50", options=argparse.Namespace(lr=0.1)),
    }
    torch.save(content, tmp_path / "adaface.ckpt")
    monkeypatch.undo()
    assert list(read_weights(tmp_path / "adaface.ckpt", "weights")[0]) == ["a", "b"]


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_is_named_and_not_executed(tmp_path, form):
    class Shell:
        def __reduce__(self):
            return subprocess.check_call, (["touch", str(tmp_path / "executed")],)

    class Exit:
        def __reduce__(self):
            return os._exit, (7,)

    path = tmp_path / "evil.pth"
    for evil, name in ((Exit(), r"posix\._exit"), (Shell(), r"\w+\.check_call")):
        if form == "pickle":
            path.write_bytes(pickle.dumps(evil, protocol=2))
        else:
            torch.save({"x": evil}, path, _use_new_zipfile_serialization=form == "zip")
        with pytest.raises(SynthDistillError, match=r"evil\.pth .*Nothing of it") as error:
            read_weights(path, "weights")
        if form != "pickle":  # which torch takes for an old file of its own
            assert error.match(rf"asks for the code `{name}`")
        assert "weights_only" not in error.value.message  # torch's advice to load it all the same
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("value", [torch.zeros(2), {}, {"\x1b[31ma": 5}, {"model": {"a": "b"}}])
def test_content_that_is_no_state_dict_is_described(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(
        SynthDistillError, match=r"weights in .*: tensors by name; found a"
    ) as error:
        read_weights(tmp_path / "x.pth", "weights")
    assert "\x1b" not in error.value.message


def test_wrappers_of_training_scripts_are_taken_off(tmp_path):
    content = {f"module.{name}": value for name, value in STATE.items()}
    torch.save({"state_dict": {"model": content}}, tmp_path / "x.pth")
    assert list(read_weights(tmp_path / "x.pth", "weights")[0]) == ["a", "b"]


def state(**changes):
    return {"weight": torch.zeros(3), "bias": torch.zeros(3), "running_mean": torch.zeros(3)} | {
        "running_var": torch.ones(3),
        **changes,
    }


WRONG = {
    "missing": ({"weight": torch.zeros(3)}, "3 missing: bias, running_mean, running_var"),
    "shape": (state(bias=torch.zeros(4)), r"1 of another shape: bias \[4\] instead of \[3\]"),
    "many": (state(**{f"\x1b{i}": torch.zeros(1) for i in range(20)}), r"20 too many: \\x1b0"),
    "integers": (state(bias=torch.zeros(3).int()), "1 not floating-point numbers: bias"),
    "nan": (state(running_mean=torch.tensor([0, torch.nan, 0])), "not finite, in running_mean"),
    "too large": (state(bias=torch.full((3,), 1e300, dtype=torch.float64)), "not finite, in bias"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_weights_that_do_not_fit_leave_the_network_as_it_was(name, device):
    network = nn.BatchNorm1d(3, device=device)
    tensors, match = WRONG[name]
    with pytest.raises(SynthDistillError, match=match) as error:
        load_weights(network, tensors, "x.pth")
    assert "x.pth" in error.value.message
    assert "\x1b" not in error.value.message
    if device == "cpu":
        assert torch.equal(network.weight, torch.ones(3))


def test_a_network_without_numbers_gets_them_and_keeps_its_constants():
    with torch.device("meta"):
        network = nn.BatchNorm1d(3)
    network.register_buffer("constant", torch.full((2,), 5.0), persistent=False)
    # the counter of batches may be absent; half precision becomes the network's
    load_weights(network, state(bias=torch.full((3,), 0.5).half()), "x.pth")
    assert torch.equal(network.bias, torch.full((3,), 0.5))
    assert network.bias.requires_grad
    assert network.num_batches_tracked == 0
    assert torch.equal(network.constant, torch.full((2,), 5.0))


def test_saves_shared_and_channels_last_tensors(tmp_path):
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3))
    network.to(memory_format=torch.channels_last)
    network[1].weight = network[0].weight
    save_weights(tmp_path / "x.safetensors", network, {"numbers": [1, 2]})
    found, metadata = read_weights(tmp_path / "x.safetensors", "weights")
    assert metadata == {"numbers": "[1, 2]"}
    assert torch.equal(found["0.weight"], network[0].weight)
    assert torch.equal(found["1.weight"], network[0].weight)


def test_other_formats_are_named():
    check_format({"format": "mine", "format_version": "1"}, "mine", 1, "x")
    with pytest.raises(SynthDistillError, match=r"its format is '\\x1b"):
        check_format({"format": "\x1b[31m"}, "mine", 1, "x")
    with pytest.raises(SynthDistillError, match=r"is of version '\\x1b2' of the format"):
        check_format({"format": "mine", "format_version": "\x1b2"}, "mine", 1, "x")
