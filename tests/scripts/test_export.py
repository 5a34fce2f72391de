"""`synthdistill-export` from the command line."""

import json
from functools import partial

import pytest
import torch
from invoking import invoke

from bob.paper.ijcb2023_synthdistill.deployment import latency
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student
from bob.paper.ijcb2023_synthdistill.scripts.export import export


class Small(torch.nn.Module):
    """A network of somebody's own, without a thing that needs onnxruntime's tricks."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, faces):
        return self.convolution(faces).mean((2, 3))


@pytest.fixture
def student(tmp_path):
    save_student(tmp_path / "small.safetensors", create_student(Small, "random", embedding_size=8))
    return tmp_path / "small.safetensors"


run = partial(invoke, export)


def test_a_network_of_ones_own_with_times(student, tmp_path, micro_generator, monkeypatch):
    monkeypatch.setattr(latency, "PASSES", 5)
    name = f"{Small.__module__}:Small"
    options = ("--network", name, "--generator", micro_generator, "--calibration-faces", 2)
    result = run(student, "-o", tmp_path / "new" / "out", *options, "--latency", "--json")
    config = json.loads(result.stdout)
    assert config == json.loads((tmp_path / "new" / "out" / "config.json").read_text())
    times = config["latency"]["ms"]
    assert set(times) == {"torch", "model.onnx", "model.int8.onnx"}
    assert all(0 < ms["median"] <= ms["p95"] for ms in times["model.onnx"].values())
    assert "largest deviation from torch: " in result.stderr
    assert "operations stay in float32" in result.stderr
    # its code is named by the user, never by the file
    result = run(student, "-o", tmp_path / "b", "--no-int8", code=1)
    assert "say yourself what makes the network" in result.output


def test_sizes_are_told_and_what_is_there_is_kept(student, tmp_path):
    options = ("--network", f"{Small.__module__}:Small", "--no-int8")
    result = run(student, "-o", tmp_path / "out", *options)
    assert "model.onnx" in result.stdout
    assert " MB" in result.stdout
    assert not (tmp_path / "out" / "model.int8.onnx").exists()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    assert "--force" in run(student, "-o", tmp_path / "out", *options, code=1).output
    run(student, "-o", tmp_path / "out", *options, "--force", "--normalise")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["normalised"]
    assert (tmp_path / "out" / "mine.txt").exists()
