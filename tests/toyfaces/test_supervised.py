"""Training on labelled renderings: a run like any other, that learns and resumes."""

import csv
from functools import partial

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student
from bob.paper.ijcb2023_synthdistill.toyfaces.supervised import LabelledRenderings

OPTIONS = Options(
    student="test_efficientnet",
    initialisation="random",
    method=partial(LabelledRenderings, identities=6),
    epochs=2,
    images_per_epoch=64,
    batch_size=8,
    validation_images=8,
    device="cpu",
)


def test_a_run_learns_and_leaves_a_student(tmp_path):
    train(OPTIONS, tmp_path, Stop())
    with (tmp_path / "log.csv").open() as stream:
        first, last = csv.DictReader(stream)
    assert float(last["loss_fresh"]) < float(first["loss_fresh"])
    assert first["validation_mse"] == "nan"
    student = load_student(tmp_path / "student.safetensors")
    assert student(torch.zeros(1, 3, 112, 112)).shape == (1, 512)
    assert (tmp_path / "samples.png").exists()


def test_a_resumed_run_goes_on_with_its_centres():
    method, other = (
        LabelledRenderings(options, create_fabric(options), identities=6)
        for options in (OPTIONS, OPTIONS.__class__(**{**OPTIONS.__dict__, "seed": 5}))
    )
    numbers = RandomNumbers(1, "train", 0, 8, "cpu")
    before = method.validate(numbers, range(8))[1]
    assert not torch.equal(other.head.centres, method.head.centres)
    other.load_state_dict(method.state_dict())
    other.student.load_state_dict(method.student.state_dict())
    assert other.validate(numbers, range(8))[1].tolist() == pytest.approx(before.tolist())
