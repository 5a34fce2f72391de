import pytest
import torch

from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, Block, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import count_parameters


def expected_parameters(layers):
    """Count by hand: convolutions without bias, 2 a norm channel, 1 a PReLU channel, fc."""
    total = 3 * 64 * 9 + 3 * 64
    channels = 64
    for blocks, width in zip(layers, (64, 128, 256, 512), strict=True):
        total += channels * width + 2 * width  # downsample of the first block
        for _ in range(blocks):
            total += 2 * channels + 9 * channels * width + 3 * width
            total += 9 * width * width + 2 * width
            channels = width
    return total + 2 * 512 + 512 * 7 * 7 * 512 + 512 + 2 * 512


@pytest.mark.parametrize(
    ("name", "millions"), [("iresnet34", 34.1), ("iresnet50", 43.6), ("iresnet100", 65.2)]
)
def test_published_networks_have_their_published_size(name, millions):
    with torch.device("meta"):
        parameters = count_parameters(IResNet(LAYERS[name]))
    assert parameters == expected_parameters(LAYERS[name])
    assert round(parameters / 1e6, 1) == millions


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
    # 5 tensors and a counter for each norm, 1 for each convolution and PReLU, 2 for fc
    blocks, stages = 49, 4
    norms, convolutions, prelus = 3 * blocks + stages + 3, 2 * blocks + stages + 1, blocks + 1
    assert len(names) == 5 * norms + convolutions + prelus + 2


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
