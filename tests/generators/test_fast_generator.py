"""The fast synthesis against the plain one, cut to the crop's window."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.generators.fast import (
    FastGenerator,
    Window,
    accelerate_generator,
    crop_window,
)
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator


def make(resolution, conv_clamp=None, channel_base=512, **sizes):
    with torch.random.fork_rng():
        torch.manual_seed(resolution)
        generator = Generator(
            z_dim=16,
            w_dim=24,
            resolution=resolution,
            channel_base=channel_base,
            channel_max=16,
            mapping_layers=3,
            conv_clamp=conv_clamp,
            **sizes,
        )
        for name, parameter in generator.named_parameters():
            # what is zero at the start would hide mistakes
            if name.endswith("noise_strength") or ("conv" in name and name.endswith("bias")):
                torch.nn.init.normal_(parameter.data, std=0.5)
    return generator.eval().requires_grad_(False)


def noise_of(batch):
    return RandomNumbers(3, "test", 0, batch, "cpu").noise("fresh", range(batch))


def plain_window(generator, images):
    whole = Window(0, 0, generator.resolution, generator.resolution, generator.resolution)
    return crop_window(generator.resolution).cut(images, whole)


@pytest.mark.parametrize("resolution", [4, 8, 16, 64, 128])
@pytest.mark.parametrize("batch", [1, 3])
def test_images_are_the_plain_ones(resolution, batch):
    generator = make(resolution, conv_clamp=1.5)
    fast = FastGenerator(generator)
    z = torch.randn(batch, 16, generator=torch.Generator().manual_seed(0))
    ws = generator.mapping(z, 0.7, 2)
    assert torch.allclose(fast.mapping(z, 0.7, 2), ws, rtol=1e-5, atol=1e-5)
    assert torch.allclose(fast.mapping(z), generator.mapping(z), rtol=1e-5, atol=1e-5)
    assert torch.allclose(fast.mapping(z, 0.5), generator.mapping(z, 0.5), rtol=1e-5, atol=1e-5)
    for mode in ("random", "const", "none"):
        expected = plain_window(generator, generator.synthesis(ws, mode, noise_of(batch)))
        found = fast.synthesis(ws, mode, noise_of(batch))
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 1e-4 * expected.std()
        if resolution < 16:
            continue
        expected_faces = faces.crop(generator.synthesis(ws, mode, noise_of(batch)))
        assert (faces.resize(found) - expected_faces).abs().max() < 1e-4


def test_the_published_size_computes_only_what_the_crop_needs():
    windows = FastGenerator(make(256, channel_base=1024)).synthesis.windows
    assert [(windows[size].height, windows[size].width) for size in (256, 128, 64, 32)] == [
        (213, 213),
        (110, 110),
        (58, 58),
        (32, 32),
    ]
    assert (windows[256].top, windows[256].left) == (21, 22)


def test_the_clamp_bites_and_is_kept():
    free, clamped = make(64), make(64, conv_clamp=0.5)
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    images = [FastGenerator(g).synthesis(g.mapping(z), "none") for g in (free, clamped)]
    expected = clamped.synthesis(clamped.mapping(z), "none")
    assert (images[0] - images[1]).abs().max() > 0.1
    assert (images[1] - plain_window(clamped, expected)).abs().max() < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_is_near(dtype, tolerance):
    generator = make(64, conv_clamp=256.0)
    fast = FastGenerator(generator, getattr(torch, dtype))
    ws = generator.mapping(torch.randn(2, 16, generator=torch.Generator().manual_seed(2)))
    expected = plain_window(generator, generator.synthesis(ws, "random", noise_of(2)))
    found = fast.synthesis(ws, "random", noise_of(2))
    assert found.dtype == torch.float32
    error = (found - expected).std() / expected.std()
    # not float32 by mistake, and not wrong
    assert 1e-5 < error < tolerance


def test_the_batch_does_not_matter():
    generator = make(128)
    fast = FastGenerator(generator)
    ws = generator.mapping(torch.randn(3, 16, generator=torch.Generator().manual_seed(3)))
    together = fast.synthesis(ws, "const")
    alone = torch.cat([fast.synthesis(row[None], "const") for row in ws])
    assert (together - alone).abs().max() < 1e-5 * together.std() * 10


def test_wrong_noise_mode_is_refused():
    generator = make(8)
    with pytest.raises(ValueError, match="noise_mode"):
        FastGenerator(generator).synthesis(torch.zeros(1, generator.num_ws, 24), "some")


def test_other_generators_are_left_as_they_are():
    class Mine(Generator):
        pass

    other, mine = torch.nn.Identity(), Mine(8, 8, 8, 64, 8, 1)
    assert accelerate_generator(other) is other
    assert accelerate_generator(mine) is mine
    assert isinstance(accelerate_generator(make(16)), FastGenerator)
    # the crop would begin outside the image: the plain crop decides what that means
    assert type(accelerate_generator(make(8))) is Generator


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_plain_images():
    generator = make(64, conv_clamp=1.5).cuda()
    ws = generator.mapping(torch.randn(3, 16, device="cuda"))
    expected = plain_window(generator, generator.synthesis(ws, "const"))
    found = FastGenerator(generator).synthesis(ws, "const")
    # convolutions may use TF32
    assert (found - expected).std() < 5e-3 * expected.std()
