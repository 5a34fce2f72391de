"""StyleGAN3: the published images, and what w does to them."""

import math
from pathlib import Path

import numpy
import pytest
import torch

from bob.paper.ijcb2023_synthdistill.generators import load_generator

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(params=["t", "r"])
def kind(request):
    return request.param


@pytest.fixture
def micro(kind):
    return load_generator(DATA / f"stylegan3-{kind}-micro.pkl")


@pytest.fixture
def reference(kind):
    with numpy.load(DATA / f"stylegan3-{kind}-micro.ref.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize(("name", "psi"), [("psi1", 1.0), ("psi07", 0.7)])
def test_every_image_is_the_published_network_s(micro, reference, name, psi):
    ws = micro.mapping(reference["z"], psi)
    torch.testing.assert_close(ws, reference[f"w_{name}"], rtol=1e-5, atol=1e-5)
    expected = reference[f"img_{name}"]
    for noise_mode in ("random", "none"):
        found = micro.synthesis(reference[f"w_{name}"], noise_mode)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-4 * expected.std()


def test_it_has_the_interface_and_is_frozen(micro):
    assert (micro.z_dim, micro.w_dim, micro.num_ws, micro.resolution) == (24, 40, 8, 32)
    assert not any(parameter.requires_grad for parameter in micro.parameters())


def test_the_learned_movement_is_that_of_the_buffer(micro, reference):
    """A rotation and a shift that w asks for do what the same ones in ``transform`` do."""
    waves, w = micro.synthesis.input, reference["w_psi1"][:, 0]
    cosine, sine = math.cos(0.3), math.sin(0.3)
    waves.transform.copy_(
        torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    )
    turned = waves(w)
    waves.transform.copy_(torch.tensor([[1.0, 0.0, -0.2], [0.0, 1.0, 0.1], [0.0, 0.0, 1.0]]))
    shifted = waves(w)
    waves.transform.copy_(torch.eye(3))
    # only relative to the length of the first two
    for length in (1.0, 5.0):
        waves.affine.bias.copy_(torch.tensor([cosine, sine, 0.0, 0.0]) * length)
        torch.testing.assert_close(waves(w), turned, rtol=1e-4, atol=1e-4)
        waves.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.2, -0.1]) * length)
        torch.testing.assert_close(waves(w), shifted, rtol=1e-4, atol=1e-4)
    assert (turned - shifted).abs().max() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.01)])
def test_half_precision_is_near(micro, reference, dtype, tolerance):
    micro.set_precision(getattr(torch, dtype))
    expected = reference["img_psi1"]
    found = micro.synthesis(reference["w_psi1"])
    assert found.dtype == torch.float32
    assert 1e-5 < (found - expected).std() / expected.std() < tolerance
