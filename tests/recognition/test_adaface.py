"""AdaFace's checkpoints against its network, written down."""

import pytest
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.inference import FoldedTeacher, for_inference
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher


class Unit(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class Network(nn.Module):
    """Stages of 2, 1, 3 and 1 units; the first keeps the number of channels."""

    def __init__(self):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)
        )
        widths = [4, 4, 6, 8, 8, 8, 10]
        strides = [2, 1, 2, 2, 1, 1, 2]
        units = zip([4, *widths], widths, strides, strict=False)
        self.body = nn.Sequential(*(Unit(*unit) for unit in units))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(10),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(10 * 7 * 7, 16),
            nn.BatchNorm1d(16, affine=False),
        )

    def forward(self, x):
        return self.output_layer(self.body(self.input_layer(x)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.3, 2)
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 1:
                nn.init.uniform_(parameter, 0.2, 1)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("prefix", ["model.", "", "net."])
def test_a_checkpoint_is_the_network_that_takes_bgr(tmp_path, network, images, caplog, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    if prefix == "model.":
        state["head.kernel"] = torch.zeros(16, 100)
    torch.save({"state_dict": state, "epoch": 25}, tmp_path / "adaface_ir50.ckpt")
    teacher = load_teacher(tmp_path / "adaface_ir50.ckpt")
    assert teacher.network.layers == (2, 1, 3, 1)
    assert "BGR" in caplog.text
    expected = network(images.flip(1))
    for form in (teacher, for_inference(teacher)):
        assert (form(images) - expected).norm() < 1e-5 * expected.norm()
    assert isinstance(form, FoldedTeacher)


def test_relatives_with_other_layers_are_refused(tmp_path, network):
    state = network.state_dict()
    path = tmp_path / "model_ir_se50.pth"
    torch.save(state | {"body.0.res_layer.5.fc1.weight": torch.zeros(1, 4, 1, 1)}, path)
    with pytest.raises(SynthDistillError, match=r"1 too many: body.0.res_layer.5.fc1.weight"):
        load_teacher(path)
    del state["output_layer.4.running_mean"]
    torch.save(state, path)
    with pytest.raises(SynthDistillError, match=r"KeyError: 'output_layer.4"):
        load_teacher(path)
