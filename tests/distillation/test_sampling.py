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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynamic", W + torch.tensor([[0.0], [0.25], [0.5]]) * NOISE[6]),
        ("hard", W + torch.tensor([[0.5], [0.25], [0.0]]) * NOISE[6]),
        ("z-space", mapping(Z + torch.tensor([[0.0], [0.25], [0.5]]) * NOISE[4])),
        ("static", mapping(NOISE[4])),
        ("none", W),
    ],
)
def test_formula(name, expected):
    found = create_sampling(name, 0.5).resample(FRESH, mapping, NOISE.__getitem__)
    assert torch.equal(found, expected)


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
