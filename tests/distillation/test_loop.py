"""A whole run in seconds: what it leaves, how it resumes, how it fails."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import read_checkpoint
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.losses import EmbeddingLoss
from bob.paper.ijcb2023_synthdistill.distillation.stopping import REQUEUE, Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student


class StopAfter(Stop):
    """Asks to stop when it has been asked for the n-th time."""

    def __init__(self, times):
        self.times = times

    @property
    def code(self):
        self.times -= 1
        return REQUEUE if self.times < 0 else None

    @code.setter
    def code(self, value):
        assert value == REQUEUE


def rows(folder):
    with (folder / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_what_the_design_names(tiny_run, tmp_path):
    progress = train(tiny_run, tmp_path, Stop())
    assert (progress.epoch, progress.iteration) == (2, 0)
    names = {"options.json", "log.csv", "last.ckpt", "student.safetensors", "pipeline.py"}
    assert names | {"samples.png", "tensorboard"} <= {p.name for p in tmp_path.iterdir()}
    options = json.loads((tmp_path / "options.json").read_text())
    assert options["options"]["student"] == "test_efficientnet"
    assert options["seed"] == 2021
    assert options["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]
    assert rows(tmp_path)[-1]["images"] == "48"
    student = load_student(tmp_path / "student.safetensors")
    state = read_checkpoint(tmp_path / "last.ckpt")["student"]
    assert all(torch.equal(v, state[k]) for k, v in student.state_dict().items())
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_student_learns(tiny_run, tmp_path):
    options = replace(tiny_run, images_per_epoch=96, batch_size=16, validation_images=16, epochs=3)
    train(options, tmp_path, Stop())
    first, last = rows(tmp_path)[0], rows(tmp_path)[-1]
    assert float(last["loss_fresh"]) < 0.8 * float(first["loss_fresh"])
    assert float(last["validation_cosine"]) > float(first["validation_cosine"])


def test_an_interrupted_run_ends_in_the_same_student(tiny_run, tmp_path):
    options = replace(tiny_run, images_per_epoch=20)
    train(options, tmp_path / "whole", Stop())
    folder = tmp_path / "parts"
    parts = 0
    while train(options, folder, StopAfter(4)).epoch < options.epochs:
        parts += 1
    assert parts >= 3
    for name in ("student.safetensors", "log.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_run_stays_as_it_is(tiny_run, tmp_path):
    train(tiny_run, tmp_path, Stop())
    before = (tmp_path / "student.safetensors").read_bytes()
    assert train(tiny_run, tmp_path, Stop()).epoch == tiny_run.epochs
    assert (tmp_path / "student.safetensors").read_bytes() == before
    with pytest.raises(SynthDistillError, match="another"):
        train(replace(tiny_run, seed=1), tmp_path, Stop())
    train(replace(tiny_run, epochs=3), tmp_path, Stop())
    assert len(rows(tmp_path)) == 3


def test_lost_outputs_of_a_finished_run_come_back(tiny_run, tmp_path):
    train(tiny_run, tmp_path, Stop())
    before = (tmp_path / "student.safetensors").read_bytes()
    for name in ("student.safetensors", "log.csv", "samples.png"):
        (tmp_path / name).unlink()
    train(tiny_run, tmp_path, Stop())
    assert (tmp_path / "student.safetensors").read_bytes() == before
    assert (tmp_path / "samples.png").exists()


def test_zero_epochs_write_the_initial_student(tiny_run, tmp_path):
    train(replace(tiny_run, epochs=0), tmp_path, Stop())
    assert (tmp_path / "student.safetensors").exists()
    assert (tmp_path / "pipeline.py").exists()


class Spoiled(EmbeddingLoss):
    """Is NaN at the fifth call."""

    calls = 0

    def __call__(self, student, teacher):
        type(self).calls += 1
        loss = super().__call__(student, teacher)
        return loss * math.nan if type(self).calls == 10 else loss


def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_run, tmp_path):
    Spoiled.calls = 0
    options = replace(tiny_run, loss=Spoiled(), checkpoint_steps=1)
    with pytest.raises(SynthDistillError, match=r"not finite since iteration 5 \(epoch 2\)"):
        train(options, tmp_path, Stop())
    state = read_checkpoint(tmp_path / "last.ckpt")
    assert (state["epoch"], state["iteration"]) == (1, 1)
    assert all(torch.isfinite(v).all() for v in state["student"].values())


def test_out_of_memory_names_the_batch_and_what_to_lower(tiny_run, tmp_path, monkeypatch):
    def greedy(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("bob.paper.ijcb2023_synthdistill.distillation.step.faces.crop", greedy)
    with pytest.raises(SynthDistillError, match=r"4 images at a time.*--micro-batch-size"):
        train(tiny_run, tmp_path, Stop())
