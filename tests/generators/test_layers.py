"""The layers of StyleGAN2, each against its formula written out."""

import pytest
import torch
import torch.nn.functional as F

from bob.paper.ijcb2023_synthdistill.generators.layers import (
    Linear,
    modulated_convolution,
    upsample,
)


def test_modulation_is_a_scaled_weight_for_each_image():
    torch.manual_seed(1)
    x, weight, styles = torch.randn(3, 4, 5, 5), torch.randn(6, 4, 3, 3), torch.randn(3, 4)
    for demodulate in (True, False):
        expected = []
        for image, style in zip(x, styles, strict=True):
            scaled = weight * style[None, :, None, None]
            if demodulate:
                scaled = scaled / (scaled.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
            expected.append(F.conv2d(image[None], scaled, padding=1))
        for fused in (True, False):
            found = modulated_convolution(x, weight, styles, demodulate=demodulate, fused=fused)
            torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_up_sampling_inserts_zeros_convolves_and_filters():
    torch.manual_seed(2)
    x, weight = torch.randn(1, 4, 5, 5, dtype=torch.float64), torch.randn(6, 4, 3, 3).double()
    zeros = torch.zeros(1, 4, 10, 10, dtype=torch.float64)
    zeros[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
    fir = torch.outer(taps, taps)
    # a true convolution: the kernel is turned round
    expected = F.conv2d(F.pad(zeros, [3, 2, 3, 2]), weight.flip(2, 3))
    expected = F.conv2d(expected, fir.expand(6, 1, 4, 4), groups=6)
    for fused in (True, False):
        found = modulated_convolution(
            x, weight, torch.ones(1, 4).double(), demodulate=False, up=True, fused=fused
        )
        torch.testing.assert_close(found, expected)
    expected = F.conv2d(F.pad(zeros, [2, 1, 2, 1]), fir.expand(4, 1, 4, 4), groups=4)
    torch.testing.assert_close(upsample(x), expected)


def test_equalised_learning_rate():
    torch.manual_seed(3)
    layer = Linear(400, 300, multiplier=0.01)
    x = torch.randn(50, 400)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.02)
    assert layer(x).std().item() == pytest.approx(1, rel=0.05)
    layer.bias.data.fill_(100.0)
    assert layer(x).mean().item() == pytest.approx(1, abs=0.05)
