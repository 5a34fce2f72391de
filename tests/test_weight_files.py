import os
import pickle
import subprocess

import pytest
import safetensors.torch
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.weights import (
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


def test_every_truncation_is_an_error_in_words(tmp_path, content):
    path = tmp_path / "weights.pth"
    for size in [*range(32), *range(32, len(content) - 1, 37)]:
        path.write_bytes(content[:size])
        with pytest.raises(SynthDistillError, match=r"weights\.pth is not weights.* damaged"):
            read_weights(path, "weights")


def test_pickle_that_wants_code_is_refused_by_name(tmp_path):
    class Evil:
        def __reduce__(self):
            return os._exit, (7,)

    class Shell:
        def __reduce__(self):
            return subprocess.check_call, (["touch", str(tmp_path / "executed")],)

    for evil, name in ((Evil(), r"posix\._exit"), (Shell(), r"\w+\.check_call")):
        path = tmp_path / "evil.pth"
        torch.save({"a": torch.zeros(1), "x": evil}, path)
        with pytest.raises(SynthDistillError, match=f"asks for `{name}`"):
            read_weights(path, "weights")
        path.write_bytes(pickle.dumps(evil, protocol=2))
        with pytest.raises(SynthDistillError, match=r"evil\.pth") as caught:
            read_weights(path, "weights")
        assert "weights_only" not in caught.value.message  # torch's advice to load it all the same
    assert not (tmp_path / "executed").exists()


def test_whole_module_instead_of_state_dict_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(
        SynthDistillError, match=r"asks for `torch\.nn\.modules\.linear\.Linear`.*state_dict\(\)"
    ):
        read_weights(tmp_path / "module.pth", "weights")


@pytest.mark.parametrize("value", [torch.zeros(2), {}, [1], {"a": 5}, {"model": {"a": "b"}}])
def test_content_that_is_no_state_dict_is_described(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(SynthDistillError, match=r"a state dict, i\.e\. tensors by name; found a"):
        read_weights(tmp_path / "x.pth", "weights")


def test_missing_file_and_folder_are_said(tmp_path):
    with pytest.raises(SynthDistillError, match="No such file"):
        read_weights(tmp_path / "x.pth", "weights")
    with pytest.raises(SynthDistillError, match="directory"):
        read_weights(tmp_path, "weights")


def test_refused_weights_leave_the_network_as_it_was(tmp_path):
    network = torch.nn.Linear(3, 2)
    before = network.weight.clone()
    with pytest.raises(SynthDistillError, match="1 missing: bias"):
        load_weights(network, {"weight": torch.zeros(2, 3)}, tmp_path)
    with pytest.raises(SynthDistillError, match=r"weight \[3, 2\] instead of \[2, 3\]"):
        load_weights(network, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, tmp_path)
    assert torch.equal(network.weight, before)


def test_many_names_are_counted(tmp_path):
    with pytest.raises(SynthDistillError, match=r"x7 and 12 more"):
        load_weights(torch.nn.Linear(3, 2), {f"x{i}": torch.zeros(1) for i in range(20)}, tmp_path)


def test_saves_shared_and_channels_last_tensors(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Conv2d(2, 4, 3))
    network.to(memory_format=torch.channels_last)
    network[1].weight = network[0].weight
    save_weights(tmp_path / "x.safetensors", network, {"numbers": [1, 2]})
    state, metadata = read_weights(tmp_path / "x.safetensors", "weights")
    assert metadata == {"numbers": "[1, 2]"}
    assert torch.equal(state["0.weight"], network[0].weight)
    assert torch.equal(state["1.weight"], network[0].weight)


def test_full_disk_keeps_the_old_file():
    network = torch.nn.Linear(3, 2)
    with pytest.raises(SynthDistillError, match="cannot write /dev/full/x"):
        save_weights("/dev/full/x", network, {})
