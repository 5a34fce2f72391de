"""An iteration with fixed tensors, as a CUDA graph replays it, against the plain one."""

from dataclasses import replace

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.graph import (
    EAGER,
    GraphedIteration,
    make_capturable,
)
from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric, create_method
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers, cut
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


class Unrecorded(GraphedIteration):
    """On a CPU: what a graph would replay is done anew, with the same tensors."""

    def warm_up(self, rows):
        return self.eager(self.numbers, rows)

    def capture(self, rows):
        self.captures = getattr(self, "captures", 0) + 1

        def replay():
            self.results = self.eager(self.numbers, rows)

        return replay


def numbers_of(iteration):
    return RandomNumbers(1, "train", iteration, 4, "cpu")


def test_every_call_is_one_iteration_with_its_own_numbers(tiny_run, monkeypatch):
    # noise as on CUDA, in one draw
    noise = lambda self, name, rows, pixels: cut(self.noise_values(name, pixels, rows))  # noqa: E731
    monkeypatch.setattr(RandomNumbers, "noise", noise)
    options = replace(tiny_run, micro_batch_size=2)
    plain, graphed = (create_method(options, create_fabric(options)) for _ in range(2))
    iteration = Unrecorded(graphed)
    for index in range(EAGER + 3):
        expected = plain.iteration(numbers_of(index), range(4))
        found = iteration(numbers_of(index), range(4))
        for first, second in zip(expected, found, strict=True):
            assert torch.equal(first.loss, second.loss)
            assert torch.equal(first.similarity, second.similarity)
    assert iteration.captures == 1
    # z and where it is re-sampled; the noise of two batches of two pieces
    assert len(iteration.numbers.kept) == 2 + 4


def test_a_schedule_reaches_what_was_captured():
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    weight.sum().backward()
    optimizer.step()
    make_capturable(optimizer, torch.device("cpu"))
    captured = optimizer.param_groups[0]["lr"]
    schedule.step()
    assert captured.item() == 0.25
    assert optimizer.param_groups[0]["lr"] is captured


def test_what_cannot_be_captured_is_refused_in_words(tiny_run):
    with pytest.raises(SynthDistillError, match="such as Adam"):
        make_capturable(torch.optim.SGD([torch.ones(1)], lr=1), torch.device("cpu"))
    with pytest.raises(SynthDistillError, match="need --device cuda"):
        create_fabric(replace(tiny_run, graph=True))
    for unfit in ({"plain": True}, {"devices": 2}, {"precision": "16", "autocast": True}):
        with pytest.raises(SynthDistillError, match="option graph"):
            replace(tiny_run, graph=True, **unfit)
