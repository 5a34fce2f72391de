"""The StyleGAN2 network itself: sizes, noise, truncation, precision, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator


def tiny(**options):
    torch.manual_seed(0)
    defaults = {"channel_base": 128, "channel_max": 8, "mapping_layers": 2, "conv_clamp": None}
    generator = Generator(6, 10, 16, **{**defaults, **options}).eval()
    for block in generator.synthesis.blocks():
        for layer in block.convolutions():
            layer.noise_strength.data.fill_(0.3)
            layer.bias.data.normal_()
    return generator


def test_the_published_size():
    with torch.device("meta"):
        generator = Generator()
    assert sum(parameter.numel() for parameter in generator.parameters()) == 24_767_458
    assert (generator.z_dim, generator.w_dim, generator.num_ws) == (512, 512, 14)
    assert generator.resolution == 256


@pytest.mark.parametrize(("resolution", "num_ws"), [(4, 2), (8, 4), (64, 10), (1024, 18)])
def test_any_resolution(resolution, num_ws):
    generator = Generator(
        6, 10, resolution, channel_base=2 * resolution, channel_max=4, mapping_layers=1
    ).eval()
    with torch.no_grad():
        ws = generator.mapping(torch.randn(1, 6))
        assert ws.shape == (1, num_ws, 10)
        assert generator.synthesis(ws).shape == (1, 3, resolution, resolution)


@pytest.mark.parametrize(
    "options", [{"resolution": 48}, {"resolution": 2}, {"channel_base": 100}, {"mapping_layers": 0}]
)
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match=r"power of 2|at least one feature"):
        Generator(**options)


def test_truncation_pulls_towards_the_average():
    generator = tiny()
    z = torch.randn(4, 6)
    ws = generator.mapping(z)
    torch.testing.assert_close(generator.mapping(7 * z), ws)  # z is normalised
    generator.mapping.update_average(ws, decay=0.0)
    average = generator.mapping.w_avg
    torch.testing.assert_close(average, ws[:, 0].mean(dim=0))
    half = generator.mapping(z, truncation_psi=0.5)
    torch.testing.assert_close(half, (ws + average) / 2)
    cut = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=3)
    torch.testing.assert_close(cut[:, :3], half[:, :3])
    torch.testing.assert_close(cut[:, 3:], ws[:, 3:])
    generator.mapping.update_average(ws + 1, decay=0.9)
    torch.testing.assert_close(generator.mapping.w_avg, ws[:, 0].mean(dim=0) + 0.1)


def test_noise_modes():
    generator = tiny()
    ws = generator.mapping(torch.randn(2, 6))
    const, none = (generator.synthesis(ws, noise_mode=mode) for mode in ("const", "none"))
    assert torch.equal(const, generator.synthesis(ws, noise_mode="const"))
    assert not torch.equal(const, none)
    assert not torch.equal(generator.synthesis(ws), generator.synthesis(ws))

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
    with pytest.raises(ValueError, match="noise_mode is one of"):
        generator.synthesis(ws, noise_mode="fixed")


def test_ws_of_another_network_are_refused():
    generator = tiny()
    for shape in [(2, 10), (2, 14, 10)]:
        with pytest.raises(ValueError, match=r"ws are \[B, 6, w_dim\]"):
            generator.synthesis(torch.zeros(shape))


def test_images_of_a_batch_do_not_touch_each_other():
    generator = tiny()
    ws = generator.mapping(torch.randn(3, 6))
    together = generator.synthesis(ws, noise_mode="const")
    alone = torch.cat([generator.synthesis(w[None], noise_mode="const") for w in ws])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_clamp_bites_in_every_layer():
    generator = tiny(conv_clamp=0.05)
    ws = generator.mapping(torch.randn(2, 6))
    image = generator.synthesis(ws)
    # the colours of four blocks, each clamped; the low-pass filter overshoots nowhere
    assert image.abs().max() <= 4 * 0.05 + 1e-6
    assert tiny().synthesis(ws).abs().max() > 0.3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_where_asked(dtype):
    generator = tiny(num_fp16_res=2)
    ws = generator.mapping(torch.randn(2, 6))
    exact = generator.synthesis(ws, noise_mode="const")
    generator.half_in(0)
    # what the file says holds for CUDA only: nothing changed here
    assert torch.equal(generator.synthesis(ws, noise_mode="const"), exact)
    generator.half_in(2, dtype)
    seen = []
    for block in generator.synthesis.blocks():
        block.torgb.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    rough = generator.synthesis(ws, noise_mode="const")
    assert seen == [torch.float32, torch.float32, dtype, dtype][-len(seen) :]
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
    generator.half_in(3)
    rough = generator.synthesis(ws, noise_mode="const")
    assert (rough - exact).std() / exact.std() < 0.005


def test_gradients_reach_every_parameter_and_training_lowers_a_loss():
    generator = tiny().train()
    torch.manual_seed(0)
    z, target = torch.randn(8, 6), torch.randn(8, 3, 16, 16)
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(generator(z), target)
        optimizer.zero_grad()
        loss.backward()
        if not losses:
            silent = [
                name
                for name, parameter in generator.named_parameters()
                if parameter.grad is None or not parameter.grad.abs().sum() > 0
            ]
            assert not silent
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert math.isfinite(losses[-1])
