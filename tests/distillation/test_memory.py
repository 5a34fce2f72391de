"""What the student visits again is what was generated, with the teacher's embedding of it."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.distillation.memory import Memory
from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers


@pytest.fixture
def filled():
    """A memory of 3 batches of 4, after 5 batches: the face of row r, batch b is 10 b + r grey."""
    memory = Memory(3, range(4), "cpu")
    for batch in range(5):
        pixels = torch.tensor([10 * batch + row for row in range(4)], dtype=torch.uint8)
        images = faces.from_uint8(pixels[:, None, None, None].expand(4, 3, 112, 112))
        targets = torch.stack([pixels.float(), -pixels.float()], dim=1)
        for part in (range(3), range(3, 4)):  # micro-batches
            rows = slice(part.start, part.stop)
            memory.add(images[rows], targets[rows], part)
        memory.close()
    return memory


def draw(memory, iteration, rows=range(4)):
    return memory.draw(RandomNumbers(1, "train", iteration, 4, "cpu"), "again", rows)


def test_the_last_batches_are_drawn_with_their_embeddings(filled):
    seen = set()
    for iteration in range(40):
        images, targets = draw(filled, iteration)
        pixels = faces.to_uint8(images)[:, 0, 0, 0].float()
        assert torch.equal(targets, torch.stack([pixels, -pixels], dim=1))
        assert (pixels % 10).tolist() == [0, 1, 2, 3]
        seen |= set(pixels.tolist())
    assert seen == {10.0 * batch + row for batch in (2, 3, 4) for row in range(4)}


def test_a_checkpoint_gives_each_process_its_rows(filled, tiny_run):
    half = Memory(3, range(2, 4), "cpu")
    half.load_state_dict(filled.state_dict(create_fabric(tiny_run)))
    for ours, whole in zip(draw(half, 7, range(2, 4)), draw(filled, 7, range(2, 4)), strict=True):
        assert torch.equal(ours, whole)
