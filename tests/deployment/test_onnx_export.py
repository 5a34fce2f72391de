"""An exported student computes what torch computes, or is not written."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.deployment.onnx_export import export_onnx
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.onnx_network import open_session
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, 3, 112, 112)).astype(np.float32)


@torch.no_grad()
def embed(run, faces):
    return load_student(run / "student.safetensors")(torch.from_numpy(faces) / 127.5 - 1).numpy()


def test_the_file_says_what_it_takes_and_where_nothing_lies(exported):
    model = onnx.load(exported / "model.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["input"] == "RGB, [0, 255]"
    assert said["output"] == "embeddings, not normalised"
    assert said["architecture"] == "test_efficientnet"
    assert int(said["parameters"]) > 0
    assert said["package_version"]
    # the exporter notes where each line of the user's code is
    assert b"/site-packages/" not in (exported / "model.onnx").read_bytes()
    eight = onnx.load(exported / "model.int8.onnx")
    assert {entry.key: entry.value for entry in eight.metadata_props} == said


def test_normalised_embeddings_on_request(tmp_path, run):
    deviation = export_onnx(load_student(run / "student.safetensors"), tmp_path / "m.onnx", True)
    assert deviation < 1e-5
    faces = pixels(2)
    found = open_session(tmp_path / "m.onnx").run(None, {"faces": faces})[0]
    expected = embed(run, faces)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 112 * 112, 8)

    def forward(self, faces):
        return self.linear(faces.flatten(1))


class Eigenvalues(Linear):
    def forward(self, faces):
        x = super().forward(faces)
        return torch.linalg.eigvalsh(x[:, :, None] * x[:, None])


class OfTwo(Linear):
    def forward(self, faces):
        return self.linear(faces.reshape(2, -1))


class Drawing(Linear):
    def forward(self, faces):
        x = super().forward(faces)
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Eigenvalues, "eigh"),
        (OfTwo, "static shape of 2"),
        (Drawing, "deviates from torch by"),
    ],
)
def test_what_onnx_cannot_compute_is_not_written(tmp_path, network, words, capfd):
    path = tmp_path / "model.onnx"
    path.write_text("precious")
    with pytest.raises(SynthDistillError, match=words):
        export_onnx(network(), path)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert "Traceback" not in capfd.readouterr().err


def test_files_that_are_no_recognisers(tmp_path, exported):
    other = tmp_path / "other.onnx"
    other.write_bytes((exported / "model.onnx").read_bytes()[:5000])
    with pytest.raises(SynthDistillError, match="no ONNX file that onnxruntime"):
        open_session(other)
    tensor = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    shape = ["B", 1, 160, 160]
    ends = [tensor(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), other)
    with pytest.raises(SynthDistillError, match=r"its input is tensor\(float\) \[B, 1, 160, 160\]"):
        open_session(other)


def test_what_is_not_installed_is_named_with_its_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SynthDistillError, match=r"onnxscript.*pip install '.*\[deploy\]'"):
        export_onnx(Linear(), tmp_path / "model.onnx")


def test_onnxruntime_and_numpy_are_enough(run, exported):
    """Read the folder where no other package can be imported."""
    program = f"""
import json, sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in ('torch', 'timm', 'bob', 'onnx', 'onnxscript', 'cv2', 'PIL'):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy, onnxruntime
config = json.load(open({str(exported / "config.json")!r}))
session = onnxruntime.InferenceSession({str(exported / "model.onnx")!r})
faces = numpy.random.default_rng(0).uniform(0, 255, (2, 3, 112, 112)).astype("float32")
found = session.run(None, {{"faces": faces}})[0]
assert found.shape == (2, config["embedding_size"])
print(json.dumps(found.tolist()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = embed(run, pixels(2))
    found = np.array(json.loads(done.stdout))
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
