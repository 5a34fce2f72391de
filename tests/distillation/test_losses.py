"""The losses against their formulas on raw embeddings."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.losses import create_loss
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

S, T = (torch.randn(5, 16) * 3).requires_grad_(), torch.randn(5, 16)
MSE = (S - T).square().sum() / (5 * 16)
COSINE = (1 - torch.cosine_similarity(S, T)).mean()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", MSE),
        ("cosine", COSINE),
        ("mse=0.5,cosine=2", MSE / 2 + 2 * COSINE),
        ({"mse": 1, "cosine": 10}, MSE + 10 * COSINE),
        (lambda s, t: (s - t).abs().mean(), (S - T).abs().mean()),
    ],
)
def test_value(loss, expected):
    assert torch.allclose(create_loss(loss)(S, T), expected)


@pytest.mark.parametrize("wrong", ["mae", "mse=x", {"mse": -1}, {"cosine": 0}, {}, 3, "mse=nan"])
def test_wrong_losses_are_refused(wrong):
    with pytest.raises(SynthDistillError, match="loss must be"):
        create_loss(wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s: s.mean(), "two batches of embeddings"),
        (lambda s, t: (s - t).square(), r"found \[5, 16\]"),
        (lambda s, t: 1.0, "found float"),
        (lambda s, t: t.mean(), "depends on the student"),
    ],
)
def test_a_function_that_is_no_loss_is_told(wrong, words):
    with pytest.raises(SynthDistillError, match=words):
        create_loss(wrong)(S, T)
