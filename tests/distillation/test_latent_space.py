"""What a coefficient does to identities: the figures that the ToyFaces card tells."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.distillation.latent_space import cosines_by_coefficient
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher


def test_cosines_of_toyfaces_are_those_of_its_card():
    generator, teacher = load_generator(toyfaces.GENERATOR), load_teacher(toyfaces.TEACHER)
    state = torch.get_rng_state()
    found = cosines_by_coefficient(generator, teacher, (0.0, 0.5, 1.0, 2.0), images=48)
    assert torch.equal(torch.get_rng_state(), state)
    assert found[0.0] > 0.99  # only the noise of the synthesis
    assert [found[c] for c in (0.5, 1.0, 2.0)] == pytest.approx([0.84, 0.63, 0.34], abs=0.04)
    # a generator whose w is half as large: its coefficients are half of ours
    generator.mapping.register_forward_hook(lambda *args: args[-1] / 2)
    generator.synthesis.register_forward_pre_hook(lambda _, args: (2 * args[0], *args[1:]))
    other = cosines_by_coefficient(generator, teacher, (0.5,), images=48)
    assert other[0.5] == pytest.approx(found[1.0], abs=0.03)
