"""Teachers in ONNX files: IResNets become ours, other graphs run as they are."""

import copy
import sys
import warnings
from dataclasses import replace

import numpy
import pytest
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.inference import FoldedTeacher, for_inference
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import Block, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.onnx_network import OnnxNetwork
from bob.paper.ijcb2023_synthdistill.recognition.onnx_teacher import load_onnx_teacher
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import create_teacher, load_teacher

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def export(network, path, size=112, batch="any", **options):
    """Write a network as InsightFace does: input.1, tensors that were folded named by numbers."""
    given = torch.rand(2 if batch == "any" else batch, 3, size, size)
    axes = {"input.1": {0: "None"}} if batch == "any" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (given,),
            path,
            input_names=["input.1"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=11,
            **options,
        )


def rename(path):
    """Give all tensors numbers, in another order than that of the layers."""
    model = onnx.load(path)
    names = sorted(content.name for content in model.graph.initializer)
    numbers = {name: str(685 + 7 * k % 1009) for k, name in enumerate(reversed(names))}
    for content in model.graph.initializer:
        content.name = numbers[content.name]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = numbers.get(name, name)
    onnx.save(model, path)


class ShortcutLast(nn.Module):
    """A block of InsightFace's code: the shortcut is computed after the convolutions."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        b = self.block
        y = b.bn3(b.conv2(b.prelu(b.bn2(b.conv1(b.bn1(x))))))
        return y + (x if b.downsample is None else b.downsample(x))


def in_their_order(network):
    network = copy.deepcopy(network)
    for stage in range(1, 5):
        blocks = network.get_submodule(f"layer{stage}")
        for index, block in enumerate(blocks):
            assert isinstance(block, Block)
            blocks[index] = ShortcutLast(block)
    return network


def difference(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("form", ["folded", "kept", "theirs", "numbers"])
@pytest.mark.parametrize("eps", [2e-5, 1e-5])
def test_an_iresnet_becomes_ours(tmp_path, network, images, caplog, form, eps):
    for module in network.modules():
        if hasattr(module, "eps"):
            module.eps = eps
    path = tmp_path / "w600k_r50.onnx"
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    export(
        in_their_order(network) if form == "theirs" else network,
        path,
        **(kept if form == "kept" else {}),
    )
    norms = [n for n in onnx.load(path).graph.node if n.op_type == "BatchNormalization"]
    assert len(norms) == (22 if form == "kept" else 7)
    if form == "numbers":
        rename(path)
    teacher = load_teacher(path)
    assert isinstance(teacher.network, IResNet)
    assert teacher.network.layers == network.layers
    assert not caplog.records
    assert not any(module.training for module in teacher.modules())
    with torch.no_grad():
        expected = network(images)  # RGB in [-1, 1]
        assert difference(teacher(images), expected) < 1e-5
        fast = for_inference(teacher)
        assert isinstance(fast, FoldedTeacher)
        assert difference(fast(images), expected) < 1e-5
    bgr = create_teacher(lambda: load_onnx_teacher(path, colour="BGR"))
    assert difference(bgr(images.flip(1)), expected) < 1e-5


class Normalised(nn.Module):
    """A network whose graph takes pixels in [0, 255], and does the rest itself."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x - 127.5) * 0.0078125)


def test_a_range_inside_the_graph_is_seen(tmp_path, network, images, caplog):
    path = tmp_path / "x.onnx"
    with torch.no_grad():
        for one in (network, nn.Sequential(nn.AvgPool2d(16), nn.Flatten())):
            export(Normalised(one), path)
            teacher = load_teacher(path)
            assert difference(teacher(images), one(faces.for_teacher(images))) < 1e-5
    assert len(caplog.records) == 1


class Other(nn.Module):
    """No IResNet: embeddings of another size, a sigmoid."""

    def __init__(self, side=7):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 16, 16)
        self.linear = nn.Linear(4 * side * side, 24)

    def forward(self, x):
        return self.linear(self.convolution(x).sigmoid().flatten(1))


@pytest.mark.parametrize("batch", ["any", 1])
def test_another_graph_runs_as_it_is(tmp_path, images, caplog, batch):
    path, other = tmp_path / "glint.onnx", Other().eval()
    export(other, path, batch=batch)
    teacher = load_teacher(path)
    assert isinstance(teacher.network, OnnxNetwork)
    assert "has the operator Sigmoid" in caplog.text
    assert "slower" in caplog.text
    assert teacher.embedding_size == 24
    with torch.no_grad():
        assert difference(teacher(images), other(images)) < 1e-5
        pixels = images.flip(1) * 127.5 + 127.5
        bgr = load_onnx_teacher(path, mean=0.0, std=255.0, colour="BGR")
        assert difference(bgr(images), other(pixels / 255)) < 1e-5
        teacher.set_precision(torch.bfloat16)
        assert difference(teacher(images), other(images)) < 1e-2


def test_faces_are_given_in_the_size_of_the_graph(tmp_path):
    path, other = tmp_path / "x.onnx", Other(side=10).eval()
    export(other, path, size=160)
    ramp = torch.linspace(-1, 1, 112).expand(1, 3, 112, 112)
    wide = nn.functional.interpolate(ramp, (160, 160), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert difference(load_teacher(path)(ramp), other(wide)) < 1e-5


def test_layers_that_compute_something_else_are_not_taken(tmp_path, network, images, caplog):
    path = tmp_path / "x.onnx"
    network.prelu = nn.Sequential(network.prelu, nn.Identity())
    network.bn2 = nn.Sequential(network.bn2, Normalised(nn.Identity()))
    export(network, path)
    assert isinstance(load_teacher(path).network, OnnxNetwork)
    assert "away from onnxruntime's" in caplog.text


def test_what_cannot_be_read_is_told(tmp_path, network, monkeypatch):
    path = tmp_path / "x.onnx"
    export(network, path)
    content = path.read_bytes()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SynthDistillError, match=r"needs onnx, which cannot.*\[deploy\]"):
        load_teacher(path)
    monkeypatch.undo()
    rng = numpy.random.default_rng(0)
    for damaged in (content[:50], content[:-9], b"\x08\x07" + rng.bytes(5000)):
        path.write_bytes(damaged)
        with pytest.raises(SynthDistillError, match=r"x\.onnx is not a teacher in the ONNX format"):
            load_teacher(path)


def test_a_student_is_the_same_through_onnx_and_through_safetensors(tmp_path, tiny_run):
    found = {}
    network = copy.deepcopy(load_teacher(toyfaces.TEACHER).network)
    # the shipped teacher takes (pixel - 127.5) / 128, the exported one [-1, 1]
    network.conv1.weight *= 127.5 / 128
    export(network, tmp_path / "teacher.onnx")
    for teacher in (toyfaces.TEACHER, tmp_path / "teacher.onnx"):
        changed = {"generator": toyfaces.GENERATOR, "teacher": teacher, "epochs": 1}
        options = replace(tiny_run, **changed, images_per_epoch=16, batch_size=8)
        train(options, tmp_path / teacher.stem / teacher.suffix, Stop())
        student = load_student(tmp_path / teacher.stem / teacher.suffix / "student.safetensors")
        found[teacher.suffix] = nn.utils.parameters_to_vector(student.parameters())
    one, other = found.values()
    assert not torch.equal(one, other)
    assert difference(other, one) < 1e-4
