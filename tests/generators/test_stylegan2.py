"""The StyleGAN2 network beside its references: sizes, noise, clamp, precision."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import (
    Generator,
    StyledConvolution,
    ToRGB,
)


def tiny(**options):
    torch.manual_seed(0)
    sizes = {"resolution": 16, "channel_base": 128, "channel_max": 8, "mapping_layers": 2}
    generator = Generator(6, 10, **{"conv_clamp": None, **sizes, **options}).eval()
    for block in generator.synthesis.blocks():
        for layer in block.convolutions():
            layer.noise_strength.data.fill_(0.3)
            layer.bias.data.normal_()
    return generator


def test_the_published_size():
    with torch.device("meta"):
        generator = Generator()
    assert sum(parameter.numel() for parameter in generator.parameters()) == 24_767_458
    assert (generator.num_ws, generator.resolution) == (14, 256)
    # what no published file holds is not in ours either
    assert not any("fir" in name for name in generator.state_dict())


def test_noise_comes_from_where_it_is_said():
    generator = tiny()
    ws = generator.mapping(torch.randn(2, 6))
    # the callable gives what torch.randn would: once for each convolution, in their order
    calls = []

    def noise(batch, resolution):
        calls.append((batch, resolution))
        return torch.randn(batch, 1, resolution, resolution)

    torch.manual_seed(5)
    expected = generator.synthesis(ws)
    torch.manual_seed(5)
    assert torch.equal(generator.synthesis(ws, noise=noise), expected)
    assert calls == [(2, 4), (2, 8), (2, 8), (2, 16), (2, 16)]
    with pytest.raises(ValueError, match="noise_mode is random, const or none"):
        generator.synthesis(ws, noise_mode="fixed")


def test_every_layer_clamps_its_output():
    generator = tiny(conv_clamp=0.05)
    largest = []
    for module in generator.modules():
        if isinstance(module, StyledConvolution | ToRGB):
            module.register_forward_hook(lambda _, __, y: largest.append(y.abs().max().item()))
    generator(torch.randn(2, 6))
    assert largest == pytest.approx([0.05] * 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_where_asked(dtype):
    generator = tiny(num_fp16_res=2)
    ws = generator.mapping(torch.randn(2, 6))
    exact = generator.synthesis(ws, noise_mode="const")
    # what the file says holds for CUDA, in the highest resolutions and never below 8x8
    types = [generator.synthesis.dtype(size, torch.device("cuda")) for size in (4, 8, 16)]
    assert types == [torch.float32, torch.float16, torch.float16]
    generator.set_precision(torch.float32)
    assert generator.synthesis.dtype(16, torch.device("cuda")) == torch.float32
    assert torch.equal(generator.synthesis(ws, noise_mode="const"), exact)
    generator.set_precision(dtype)
    seen = []
    for block in generator.synthesis.blocks():
        block.torgb.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    rough = generator.synthesis(ws, noise_mode="const")
    assert seen == [dtype] * 3
    assert rough.dtype == torch.float32
    error = (rough - exact).std() / exact.std()
    assert 0 < error < (0.05 if dtype == torch.bfloat16 else 0.005)


def test_large_weights_do_not_overflow_float16():
    generator = tiny()
    ws = generator.mapping(torch.randn(2, 6))
    exact = generator.synthesis(ws, noise_mode="const")
    for block in generator.synthesis.blocks():
        for layer in block.convolutions():
            layer.weight.data *= 1e6  # demodulation divides it away
    generator.set_precision(torch.float16)
    rough = generator.synthesis(ws, noise_mode="const")
    assert (rough - exact).std() / exact.std() < 0.005
