"""Teacher and student see the same changed faces, another change for each."""

from dataclasses import replace

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.augmentation import KINDS, create_augmentation
from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric, create_method
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def uniform(rows):
    return lambda width: RandomNumbers(1, "train", 0, 32, "cpu").uniform(f"{width}", width, rows)


@pytest.mark.parametrize("name", [*KINDS, "+".join(KINDS)])
def test_each_face_is_changed_in_its_own_way(name):
    change = create_augmentation(name)
    face = torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    faces = face.expand(8, 3, 112, 112)
    changed = change(faces, uniform(range(8)))
    assert changed.shape == faces.shape
    assert changed.abs().max() <= 1
    different = [not torch.equal(a, b) for a, b in zip(changed, changed.roll(1, 0), strict=True)]
    assert sum(different) >= 2
    # whatever its neighbours are: a process or a micro-batch has a part of the batch
    part = change(faces[2:5], uniform(range(2, 5)))
    torch.testing.assert_close(part, changed[2:5])


def test_turning_and_mirroring_take_the_eyes_along():
    faces = torch.zeros(32, 3, 112, 112)
    faces[:, 0, 51, 30:33] = 1.0
    changed = create_augmentation("geometry")(faces, uniform(range(32)))
    columns = changed[:, 0].amax(dim=1).argmax(dim=1)
    assert {bool(column > 56) for column in columns} == {True, False}
    assert all(min(abs(column - 31), abs(column - 80)) < 14 for column in columns.tolist())


def test_the_teacher_labels_what_the_student_sees(tiny_run, monkeypatch):
    options = replace(tiny_run, augmentation=lambda faces, _: -faces, replay=1, replay_images=4)
    method = create_method(options, create_fabric(options))
    seen = {"teacher": [], "student": []}
    for name, network in (("teacher", method.teacher), ("student", method.student.module)):
        network.register_forward_pre_hook(lambda _, faces, n=name: seen[n].append(faces[0].clone()))
    generated = []
    monkeypatch.setattr(
        method, "faces", lambda *a, f=method.faces: generated.append(f(*a)) or generated[-1]
    )
    method.iteration(RandomNumbers(1, "train", 0, 4, "cpu"), range(4))
    assert len(seen["student"]) == 4  # two updates, each with one more
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))
    assert torch.equal(seen["student"][0], -generated[0])
    # the only batch remembered is drawn, from pixels of 8 bits
    assert (seen["student"][1] + generated[0]).abs().max() <= 1 / 127


def test_an_unknown_change_is_told():
    with pytest.raises(SynthDistillError, match=r"Did you mean 'geometry'"):
        create_augmentation("colour+geometri")
