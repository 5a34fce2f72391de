"""Each strategy against its formula."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.sampling import (
    STRATEGIES,
    DynamicSampling,
    FreshBatch,
    create_sampling,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

Z, W = torch.randn(3, 4), torch.randn(3, 6)
SIMILARITY = torch.tensor([-1.0, 0.0, 1.0])
FRESH = FreshBatch(Z, W, SIMILARITY)
NOISE = {4: torch.randn(3, 4), 6: torch.randn(3, 6)}


def mapping(z):
    return torch.cat([2 * z, z[:, :2]], dim=1)


def resample(name, coefficient=0.5):
    return create_sampling(name, coefficient).resample(FRESH, mapping, NOISE.__getitem__)


def test_dynamic_moves_well_matched_images_far():
    expected = W + torch.tensor([[0.0], [0.25], [0.5]]) * NOISE[6]
    assert torch.equal(resample("dynamic"), expected)


def test_dynamic_with_coefficient_0_is_the_same_w():
    assert torch.equal(resample("dynamic", 0.0), W)


def test_hard_moves_badly_matched_images_far():
    expected = W + torch.tensor([[0.5], [0.25], [0.0]]) * NOISE[6]
    assert torch.equal(resample("hard"), expected)


def test_z_space_moves_before_the_mapping():
    expected = mapping(Z + torch.tensor([[0.0], [0.25], [0.5]]) * NOISE[4])
    assert torch.equal(resample("z-space"), expected)


def test_static_is_a_second_fresh_batch():
    assert torch.equal(resample("static"), mapping(NOISE[4]))


def test_none_is_the_same_w():
    assert torch.equal(resample("none"), W)


def test_an_object_of_the_user_s_is_taken_as_it_is():
    strategy = DynamicSampling(0.3)
    assert create_sampling(strategy, 1.0) is strategy


@pytest.mark.parametrize("wrong", ["dynamc", 3, object()])
def test_anything_else_is_refused_with_the_names(wrong):
    with pytest.raises(SynthDistillError) as error:
        create_sampling(wrong, 1.0)
    for name in STRATEGIES:
        assert name in str(error.value)
    if wrong == "dynamc":
        assert "Did you mean 'dynamic'" in str(error.value)
