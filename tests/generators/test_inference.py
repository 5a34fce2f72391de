"""The inference form against the plain network, in the window that the crop reads."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.generators.inference import (
    InferenceGenerator,
    InferenceLayer,
    for_inference,
)
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator


def make(resolution, conv_clamp=None, channel_base=512):
    with torch.random.fork_rng():
        torch.manual_seed(resolution)
        generator = Generator(
            16, 24, resolution, channel_base, 16, mapping_layers=3, conv_clamp=conv_clamp
        )
        for name, parameter in generator.named_parameters():
            # what is zero at the start would hide mistakes
            if name.endswith("noise_strength") or ("conv" in name and name.endswith("bias")):
                torch.nn.init.normal_(parameter.data, std=0.5)
    return generator.eval().requires_grad_(False)


def noise_of(batch):
    return RandomNumbers(3, "test", 0, batch, "cpu").noise("fresh", range(batch))


def in_window(images):
    """Set to zero what the crop does not read."""
    rows, columns = faces.crop_box(images.shape[-1])
    masked = torch.zeros_like(images)
    masked[..., rows, columns] = images[..., rows, columns]
    return masked


def latents(batch, seed=0):
    return torch.randn(batch, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("resolution", [16, 64, 128])
@pytest.mark.parametrize("batch", [1, 3])
def test_images_are_the_plain_ones(resolution, batch):
    generator = make(resolution, conv_clamp=1.5)
    fast, z = for_inference(generator), latents(batch)
    for truncation in ((), (0.5,), (0.7, 2)):
        ws = generator.mapping(z, *truncation)
        torch.testing.assert_close(fast.mapping(z, *truncation), ws, rtol=1e-5, atol=1e-5)
    for mode in ("random", "const", "none"):
        plain = generator.synthesis(ws, mode, noise_of(batch))
        found = fast.synthesis(ws, noise_mode=mode, noise=noise_of(batch))
        assert found.dtype == torch.float32
        assert (found - in_window(plain)).abs().max() < 1e-4 * plain.std()
        assert (faces.crop(found) - faces.crop(plain)).abs().max() < 1e-4


def test_the_published_size_computes_only_what_the_crop_needs():
    windows = for_inference(make(256, channel_base=1024)).synthesis.windows
    sides = [[span.stop - span.start for span in windows[size]] for size in (256, 128, 64, 32)]
    assert sides == [[213, 213], [110, 110], [58, 58], [32, 32]]
    assert [span.start for span in windows[256]] == [21, 22]


def test_every_layer_clamps_its_output():
    generator, largest = make(64, conv_clamp=0.5), []
    for block in generator.synthesis.blocks():
        block.torgb.weight *= 100  # so that colours reach the limit, too
    fast = for_inference(generator)
    for module in fast.modules():
        if isinstance(module, InferenceLayer):
            module.register_forward_hook(lambda _, __, y: largest.append(y.abs().max().item()))
    fast.synthesis(generator.mapping(latents(1)), "none")
    assert largest == pytest.approx([0.5] * 14)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_is_near(dtype, tolerance):
    generator = make(64, conv_clamp=256.0)
    fast = for_inference(generator, getattr(torch, dtype))
    ws = generator.mapping(latents(2))
    expected = in_window(generator.synthesis(ws, "random", noise_of(2)))
    found = fast.synthesis(ws, "random", noise_of(2))
    assert found.dtype == torch.float32
    # not float32 by mistake, and not wrong
    assert 1e-5 < (found - expected).std() / expected.std() < tolerance


def test_other_generators_are_left_as_they_are():
    class Mine(Generator):
        pass

    other, mine = torch.nn.Identity(), Mine(8, 8, 16, 64, 8, 1)
    assert for_inference(other) is other
    assert for_inference(mine) is mine
    fast, plain = for_inference(make(16)), make(16)
    assert isinstance(fast, InferenceGenerator)
    for name in ("z_dim", "w_dim", "num_ws", "resolution"):
        assert getattr(fast, name) == getattr(plain, name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_plain_images():
    generator = make(64, conv_clamp=1.5).cuda()
    ws = generator.mapping(torch.randn(3, 16, device="cuda"))
    expected = in_window(generator.synthesis(ws, "const"))
    found = for_inference(generator).synthesis(ws, "const")
    # convolutions may use TF32
    assert (found - expected).std() < 5e-3 * expected.std()
