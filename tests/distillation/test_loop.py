"""A whole run in seconds: what it leaves, and how it resumes."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation import loop
from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import read_checkpoint
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.stopping import REQUEUE, Stop
from bob.paper.ijcb2023_synthdistill.evaluation.results import run_properties
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
    assert train(tiny_run, tmp_path, Stop())
    names = {"options.json", "log.csv", "last.ckpt", "student.safetensors", "pipeline.py"}
    assert names | {"samples.png", "tensorboard"} <= {p.name for p in tmp_path.iterdir()}
    options = json.loads((tmp_path / "options.json").read_text())
    assert options["options"]["student"] == "test_efficientnet"
    assert options["seed"] == 2021
    assert 0 < options["identity_kept"] < 1
    assert options["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]
    assert rows(tmp_path)[-1]["images"] == "48"
    student = load_student(tmp_path / "student.safetensors")
    state = read_checkpoint(tmp_path / "last.ckpt")["student"]
    assert all(torch.equal(v, state[k]) for k, v in student.state_dict().items())
    assert list((tmp_path / "tensorboard").iterdir())


def test_each_epoch_s_student_is_kept_on_request(tiny_run, tmp_path):
    train(replace(tiny_run, keep_epochs=True), tmp_path, Stop())
    first, last = sorted((tmp_path / "epochs").iterdir())
    assert (first.name, last.name) == ("01", "02")
    for folder, images in ((first, 24), (last, 48)):
        # a run's folder to those who evaluate it
        assert run_properties(folder)["images"] == images
        assert "student.safetensors" in (folder / "pipeline.py").read_text()
        load_student(folder / "student.safetensors")
    kept = [(folder / "student.safetensors").read_bytes() for folder in (first, last, tmp_path)]
    assert kept[0] != kept[1] == kept[2]


def test_without_a_terminal_a_line_tells_how_far_it_is(tiny_run, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(loop, "TELL_SECONDS", -1)
    monkeypatch.setattr(loop.logger, "info", lambda text, *args: said.append(text % args))
    train(tiny_run, tmp_path, Stop())
    assert any(re.search(r"%\|.* \d+\.\d+img/s, cosine=\S+, loss=", line) for line in said), said


def test_the_student_learns(tiny_run, tmp_path):
    options = replace(tiny_run, images_per_epoch=64, batch_size=16, validation_images=16)
    train(options, tmp_path, Stop())
    first, last = rows(tmp_path)[0], rows(tmp_path)[-1]
    assert float(last["loss_fresh"]) < 0.8 * float(first["loss_fresh"])
    assert float(last["validation_cosine"]) > float(first["validation_cosine"])


BETTER = {
    "replay": 2,
    "replay_images": 12,
    "augmentation": "geometry+colour",
    "scheduler": "cosine",
}


@pytest.mark.parametrize("more", [{}, BETTER, {**BETTER, "augmentation": "none"}])
def test_an_interrupted_run_ends_in_the_same_student(tiny_run, tmp_path, more):
    options = replace(tiny_run, images_per_epoch=20, **more)
    train(options, tmp_path / "whole", Stop())
    folder = tmp_path / "parts"
    parts = 0
    while not train(options, folder, StopAfter(4)):
        parts += 1
    assert parts >= 3
    for name in ("student.safetensors", "log.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_run_stays_as_it_is_or_is_made_longer(tiny_run, tmp_path):
    train(tiny_run, tmp_path, Stop())
    before = (tmp_path / "student.safetensors").read_bytes()
    # what was lost comes back
    for name in ("student.safetensors", "log.csv", "samples.png"):
        (tmp_path / name).unlink()
    for _ in range(2):
        assert train(tiny_run, tmp_path, Stop())
        assert (tmp_path / "student.safetensors").read_bytes() == before
        assert (tmp_path / "samples.png").exists()
    with pytest.raises(SynthDistillError, match="another"):
        train(replace(tiny_run, seed=1), tmp_path, Stop())
    train(replace(tiny_run, epochs=3), tmp_path, Stop())
    assert len(rows(tmp_path)) == 3


def test_a_cosine_ends_with_the_run_which_is_not_made_longer(tiny_run, tmp_path):
    options = replace(tiny_run, scheduler="cosine", learning_rate=2e-3)
    train(options, tmp_path, Stop())
    first, last = (float(row["learning_rate"]) for row in rows(tmp_path))
    assert 5e-4 < first < 2e-3
    assert last < 1e-6
    with pytest.raises(SynthDistillError, match="epochs was 2, is 3"):
        train(replace(options, epochs=3), tmp_path, Stop())


def test_zero_epochs_write_the_initial_student(tiny_run, tmp_path):
    train(replace(tiny_run, epochs=0), tmp_path, Stop())
    assert (tmp_path / "student.safetensors").exists()
    assert (tmp_path / "pipeline.py").exists()
