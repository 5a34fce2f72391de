"""Accidents of long runs, each made to happen: words, and nothing lost that was saved."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import LAST, PREVIOUS, load_checkpoint
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.losses import EmbeddingLoss
from bob.paper.ijcb2023_synthdistill.distillation.step import Distillation
from bob.paper.ijcb2023_synthdistill.distillation.stopping import INTERRUPTED, REQUEUE, Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


class AtCall(EmbeddingLoss):
    """Does something at one call of the loss (there are two an iteration), and multiplies it."""

    def __init__(self, call, action=lambda: None, factor=1.0):
        super().__init__()
        for name, value in {"left": [call], "action": action, "factor": factor}.items():
            object.__setattr__(self, name, value)

    def __call__(self, student, teacher):
        loss = super().__call__(student, teacher)
        self.left[0] -= 1
        if self.left[0]:
            return loss
        self.action()
        return loss * self.factor


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def run(tiny_run):
    """A checkpoint after every second iteration of six; 12 calls of the loss."""
    return replace(tiny_run, checkpoint_steps=2)


def step(folder):
    """Give the iterations that the last checkpoint has done."""
    state = load_checkpoint(folder)
    return state["epoch"] * 3 + state["iteration"]


def outputs(folder):
    return [(folder / name).read_bytes() for name in ("student.safetensors", "log.csv")]


@pytest.fixture
def undisturbed(run, tmp_path):
    train(run, tmp_path / "undisturbed", Stop())
    return outputs(tmp_path / "undisturbed")


def test_a_full_disk_stops_the_run_and_loses_nothing(run, tmp_path, undisturbed):
    folder = tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        # no file may grow beyond this any more: what a full disk is to a checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    try:
        with pytest.raises(SynthDistillError, match=r"File too large.*run the same command"):
            train(replace(run, loss=AtCall(6, fill)), folder, Stop())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert step(folder) == 2
    (folder / "options.json").unlink()  # the loss was another, by name
    (folder / f".{LAST}.abc.tmp").write_bytes(b"what a killed process left")
    train(run, folder, Stop())
    assert outputs(folder) == undisturbed
    assert not list(folder.glob(".*.tmp"))


def test_a_folder_that_cannot_be_written(run, tmp_path):
    # for root permissions are no obstacle: /proc is, and so is a file where a folder should be
    (tmp_path / "file").touch()
    for folder in (Path("/proc/run"), tmp_path / "file" / "run"):
        with pytest.raises(SynthDistillError, match="cannot write to the output folder"):
            train(run, folder, Stop())


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(run, tmp_path):
    with pytest.raises(SynthDistillError, match=r"not finite after iteration 4 \(epoch 2\)"):
        train(replace(run, loss=AtCall(10, factor=float("nan"))), tmp_path, Stop())
    assert step(tmp_path) == 4
    assert all(v.isfinite().all() for v in load_checkpoint(tmp_path)["student"].values())


def test_out_of_memory_names_the_batch_and_what_to_lower(tiny_run, tmp_path):
    def greedy():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(SynthDistillError, match=r"4 images at a time.*--micro-batch-size"):
        train(replace(tiny_run, loss=AtCall(1, greedy)), tmp_path, Stop())


def test_a_batch_that_cannot_fit_is_refused_before_it_fills_the_memory(tiny_run, tmp_path):
    options = replace(tiny_run, batch_size=10**8, images_per_epoch=10**8, validation_images=0)
    with pytest.raises(SynthDistillError, match=r"needs about [\d,]+ GiB .*--micro-batch-size"):
        train(options, tmp_path, Stop())


def test_a_corrupted_teacher(run, tmp_path):
    content = run.teacher.read_bytes()
    damaged = tmp_path / "teacher.safetensors"
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(SynthDistillError, match="damaged"):
        train(replace(run, teacher=damaged), tmp_path / "run", Stop())
    # it does not stand in the way of the repaired one
    damaged.write_bytes(content)
    train(replace(run, teacher=damaged), tmp_path / "run", Stop())
    # and a run that has begun does not go on with another one
    damaged.write_bytes(content[:-1])
    with pytest.raises(SynthDistillError, match=r"teacher was .*Choose another folder"):
        train(replace(run, teacher=damaged), tmp_path / "run", Stop())


def test_a_damaged_checkpoint(run, tmp_path, undisturbed, caplog):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(replace(run, loss=AtCall(11, interrupt)), folder, Stop())
    (folder / "options.json").unlink()
    path = folder / LAST
    path.write_bytes(path.read_bytes()[:-100])
    train(run, folder, Stop())
    assert "going on from" in caplog.text
    assert outputs(folder) == undisturbed


def test_a_checkpoint_of_another_network(run, tmp_path):
    train(replace(run, epochs=1), tmp_path, Stop())
    (tmp_path / "options.json").unlink()
    with pytest.raises(SynthDistillError, match="of another network"):
        train(replace(run, student="test_efficientnet_ln"), tmp_path, Stop())


def test_a_student_that_is_older_than_the_last_checkpoint_is_not_taken_for_finished(run, tmp_path):
    train(replace(run, epochs=1), tmp_path, Stop())
    old = outputs(tmp_path)
    train(run, tmp_path, Stop())
    new = outputs(tmp_path)
    for name, content in zip(("student.safetensors", "log.csv"), old, strict=True):
        (tmp_path / name).write_bytes(content)
    shutil.copy(tmp_path / PREVIOUS, tmp_path / LAST)
    train(run, tmp_path, Stop())
    assert outputs(tmp_path) == new


@pytest.mark.parametrize(("minutes", "found"), [(0.0, 2), (1000.0, None)])
def test_checkpoints_by_time(run, tmp_path, minutes, found):
    options = replace(run, epochs=1, checkpoint_steps=None, checkpoint_minutes=minutes)
    with pytest.raises(KeyboardInterrupt):
        train(replace(options, loss=AtCall(5, interrupt)), tmp_path, Stop())
    assert (step(tmp_path) if found else load_checkpoint(tmp_path)) == found


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, REQUEUE),
        (signal.SIGUSR1, REQUEUE),
        (signal.SIGUSR2, REQUEUE),
        (signal.SIGINT, INTERRUPTED),
    ],
)
def test_signals_finish_the_step_and_save(run, tmp_path, undisturbed, number, code):
    options = replace(run, checkpoint_steps=None)
    ask = AtCall(3, lambda: os.kill(os.getpid(), number))
    with Stop().listen() as stop:
        assert not train(replace(options, loss=ask), tmp_path, stop)
    assert step(tmp_path) == 2
    assert stop.code == code
    (tmp_path / "options.json").unlink()
    assert train(options, tmp_path, Stop())
    assert outputs(tmp_path) == undisturbed


def test_the_second_interrupt_stops_at_once(run, tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Stop().listen() as stop:
        train(replace(run, loss=AtCall(5, twice)), tmp_path, stop)
    assert step(tmp_path) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_during_validation_is_not_late(run, tmp_path, undisturbed, monkeypatch):
    stop = Stop()
    whole = Distillation.validate

    def validate(self, *arguments):
        stop.code = REQUEUE
        return whole(self, *arguments)

    monkeypatch.setattr(Distillation, "validate", validate)
    assert not train(run, tmp_path, stop)
    assert step(tmp_path) == 3
    assert not (tmp_path / "log.csv").exists()
    monkeypatch.undo()
    train(run, tmp_path, Stop())
    assert outputs(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_which_then_goes_on(run, tmp_path):
    options = replace(run, images_per_epoch=400, epochs=1, validation_images=0, checkpoint_steps=1)
    config, folder = tmp_path / "mine.py", tmp_path / "run"
    set_here = {k: v for k, v in vars(options).items() if isinstance(v, str | int) and v != ""}
    files = f"generator = {str(run.generator)!r}\nteacher = {str(run.teacher)!r}\n"
    config.write_text(files + "".join(f"{k} = {v!r}\n" for k, v in set_here.items()))
    script = Path(sys.executable).parent / "synthdistill-train"
    process = subprocess.Popen(
        [script, config, "-o", folder, "--devices", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (folder / LAST).exists() and process.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, words = process.communicate(timeout=200)
    assert process.returncode not in (0, REQUEUE), words
    assert "lost the others" in words or process.returncode == -signal.SIGKILL
    done = load_checkpoint(folder)["iteration"]
    stop = Stop()
    stop.code = REQUEUE
    train(options, folder, stop)
    assert load_checkpoint(folder)["iteration"] == done + 1
