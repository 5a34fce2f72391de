import pytest
import torch

from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, Block, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import count_parameters


@pytest.mark.parametrize(
    ("name", "millions"), [("iresnet34", 34.1), ("iresnet50", 43.6), ("iresnet100", 65.2)]
)
def test_published_networks_have_their_published_size(name, millions):
    with torch.device("meta"):
        assert round(count_parameters(IResNet(LAYERS[name])) / 1e6, 1) == millions


def test_names_are_those_of_the_published_state_dicts():
    with torch.device("meta"):
        names = set(IResNet(LAYERS["iresnet100"]).state_dict())
    expected = (
        "conv1.weight bn1.running_var prelu.weight bn2.weight fc.weight fc.bias features.weight "
        "layer1.0.bn1.weight layer1.0.conv1.weight layer1.0.bn2.bias layer1.0.prelu.weight "
        "layer1.0.conv2.weight layer1.0.bn3.running_mean layer1.0.downsample.0.weight "
        "layer1.0.downsample.1.running_var layer3.29.conv2.weight layer4.2.bn3.weight"
    )
    assert names.issuperset(expected.split())
    assert "layer1.1.downsample.0.weight" not in names
    assert "conv1.bias" not in names


def test_computes_a_block_as_written_out():
    torch.manual_seed(0)
    block = Block(3, 5, 2, eps=0.5).eval()
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)

    def norm(x, module):
        shape = (1, -1, 1, 1)
        scale = module.weight / torch.sqrt(module.running_var + 0.5)
        return (x - module.running_mean.view(shape)) * scale.view(shape) + module.bias.view(shape)

    def convolve(x, weight, stride, padding):
        columns = torch.nn.functional.unfold(x, weight.shape[-1], padding=padding, stride=stride)
        side = (x.shape[-1] + stride - 1) // stride
        return (weight.flatten(1) @ columns).view(x.shape[0], -1, side, side)

    x = torch.randn(2, 3, 8, 8)
    y = norm(convolve(norm(x, block.bn1), block.conv1.weight, 1, 1), block.bn2)
    y = torch.where(y > 0, y, y * block.prelu.weight.view(1, -1, 1, 1))
    y = norm(convolve(y, block.conv2.weight, 2, 1), block.bn3)
    y = y + norm(convolve(x, block.downsample[0].weight, 2, 0), block.downsample[1])
    torch.testing.assert_close(block(x), y, rtol=1e-4, atol=1e-5)
