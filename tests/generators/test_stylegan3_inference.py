"""StyleGAN3's inference form against the plain network, in the window that the crop reads."""

from pathlib import Path

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.faces import crop_box
from bob.paper.ijcb2023_synthdistill.generators import load_generator, stylegan3_inference
from bob.paper.ijcb2023_synthdistill.generators.inference import for_inference

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(params=["t", "r"])
def micro(request):
    generator = load_generator(DATA / f"stylegan3-{request.param}-micro.pkl")
    if request.param == "r":
        for layer in list(generator.synthesis.children())[1:-1]:
            layer.bias += torch.linspace(-1, 1, len(layer.bias))
    return generator


@pytest.mark.parametrize("block", [5, 64])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(None, 1e-4), ("bfloat16", 0.2), ("float16", 0.02)]
)
def test_images_are_the_plain_ones(micro, monkeypatch, block, precision, tolerance):
    monkeypatch.setattr(stylegan3_inference, "BLOCK", block)
    z = torch.randn(3, micro.z_dim, generator=torch.Generator().manual_seed(0))
    ws = micro.mapping(z)
    plain = micro.synthesis(ws)
    fast = for_inference(micro, precision and getattr(torch, precision))
    assert fast.noise_pixels == 0
    found = fast.synthesis(fast.mapping(z), noise_mode="random")
    rows, columns = crop_box(32)
    window = plain[..., rows, columns]
    assert (found[..., rows, columns] - window).abs().max() < tolerance * window.std()
    found[..., rows, columns] = 0
    assert not found.any()


def test_a_layer_computes_what_those_above_it_need(micro):
    first, *_, last, colours = for_inference(micro).synthesis.layers
    rows, columns = crop_box(32)
    assert colours.after == colours.before == last.after == (rows, columns)
    assert first.before == (slice(0, 28), slice(0, 28))
    assert last.before[0].start > 0
