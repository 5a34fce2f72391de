"""Accidents of long runs, each made to happen: words, and nothing lost that was saved."""

import errno
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

from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import (
    LAST,
    PREVIOUS,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.losses import EmbeddingLoss
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.distillation.stopping import INTERRUPTED, REQUEUE, Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


class AtCall(EmbeddingLoss):
    """Does something at one call of the loss (there are two an iteration)."""

    def __init__(self, call, action):
        super().__init__()
        object.__setattr__(self, "left", [call])
        object.__setattr__(self, "action", action)

    def __call__(self, student, teacher):
        self.left[0] -= 1
        if self.left[0] == 0:
            self.action()
        return super().__call__(student, teacher)


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
    assert not list(folder.glob(".*.tmp"))
    shutil.copytree(folder, tmp_path / "again")
    (tmp_path / "again" / "options.json").unlink()  # the loss was another, by name
    train(run, tmp_path / "again", Stop())
    assert outputs(tmp_path / "again") == undisturbed


def test_no_space_on_a_small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        import torch

        save_checkpoint(disk, {"iteration": 1, "w": torch.zeros(10_000)})
        with pytest.raises(SynthDistillError, match=os.strerror(errno.ENOSPC)):
            save_checkpoint(disk, {"iteration": 2, "w": torch.zeros(100_000)})
        assert load_checkpoint(disk)["iteration"] == 1
        assert sorted(p.name for p in disk.iterdir()) == [LAST]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be_written(run, tmp_path):
    # for root permissions are no obstacle: /proc is, and so is a file where a folder should be
    for folder in (Path("/proc/run"), tmp_path / "file" / "run"):
        (tmp_path / "file").touch()
        with pytest.raises(SynthDistillError, match="cannot write to the output folder"):
            train(run, folder, Stop())
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(SynthDistillError, match="cannot write to the output folder"):
            train(run, tmp_path / "locked" / "run", Stop())


def test_a_folder_in_the_way_of_a_file(run, tmp_path):
    (tmp_path / "run" / "student.safetensors").mkdir(parents=True)
    with pytest.raises(SynthDistillError, match=r"cannot write .*student\.safetensors"):
        train(run, tmp_path / "run", Stop())
    assert step(tmp_path / "run") == 2


def test_a_removed_folder_is_made_again(run, tmp_path):
    folder = tmp_path / "run"
    train(replace(run, loss=AtCall(6, lambda: shutil.rmtree(folder))), folder, Stop())
    assert {"options.json", "pipeline.py", LAST, "log.csv"} <= {p.name for p in folder.iterdir()}


def test_a_loss_that_is_infinite(run, tmp_path):
    class Infinite(AtCall):
        def __call__(self, student, teacher):
            loss = super().__call__(student, teacher)
            return loss / 0 if self.left[0] == 0 else loss

    with pytest.raises(SynthDistillError, match="not finite since iteration 3"):
        train(replace(run, loss=Infinite(6, lambda: None)), tmp_path, Stop())
    assert step(tmp_path) == 2


def test_a_corrupted_teacher(run, tmp_path):
    content = run.teacher.read_bytes()
    damaged = tmp_path / "teacher.safetensors"
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(SynthDistillError, match="damaged"):
        train(replace(run, teacher=damaged), tmp_path / "run", Stop())
    # it does not stand in the way of the repaired one
    damaged.write_bytes(content)
    train(replace(run, teacher=damaged), tmp_path / "run", Stop())
    saved = outputs(tmp_path / "run")
    # and a run that has begun does not go on with another one
    damaged.write_bytes(content[:-1])
    with pytest.raises(SynthDistillError, match=r"teacher was .*Choose another folder"):
        train(replace(run, teacher=damaged), tmp_path / "run", Stop())
    assert outputs(tmp_path / "run") == saved


def test_damaged_checkpoints(run, tmp_path, undisturbed, caplog):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(
            replace(run, loss=AtCall(11, lambda: (_ for _ in ()).throw(KeyboardInterrupt))),
            folder,
            Stop(),
        )
    (folder / "options.json").unlink()
    path = folder / LAST
    path.write_bytes(path.read_bytes()[:-100])
    train(run, folder, Stop())
    assert "going on from" in caplog.text
    assert outputs(folder) == undisturbed


def test_a_damaged_last_checkpoint_never_replaces_a_sound_previous_one(tmp_path):
    for number in (1, 2):
        save_checkpoint(tmp_path, {"iteration": number})
    (tmp_path / LAST).write_bytes(b"damaged")
    save_checkpoint(tmp_path, {"iteration": 3})
    assert read_checkpoint(tmp_path / LAST)["iteration"] == 3
    assert read_checkpoint(tmp_path / PREVIOUS)["iteration"] == 1


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


def test_half_written_files_of_killed_processes_are_removed(run, tmp_path):
    (tmp_path / f".{LAST}.abc.tmp").write_bytes(b"half")
    train(replace(run, epochs=0), tmp_path, Stop())
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("minutes", [0.0, 1000.0])
def test_checkpoints_by_time(run, tmp_path, minutes):
    options = replace(run, epochs=1, checkpoint_steps=None, checkpoint_minutes=minutes)
    with pytest.raises(KeyboardInterrupt):
        train(
            replace(options, loss=AtCall(5, lambda: (_ for _ in ()).throw(KeyboardInterrupt))),
            tmp_path,
            Stop(),
        )
    state = load_checkpoint(tmp_path)
    assert state is None if minutes else step(tmp_path) == 2


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
    with Stop().listen() as stop:
        progress = train(
            replace(options, loss=AtCall(3, lambda: os.kill(os.getpid(), number))), tmp_path, stop
        )
    assert stop.code == code
    assert progress.iteration == step(tmp_path) == 2
    (tmp_path / "options.json").unlink()
    assert train(options, tmp_path, Stop()).epoch == options.epochs
    assert outputs(tmp_path) == undisturbed


def test_the_second_interrupt_stops_at_once(run, tmp_path):
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Stop().listen() as stop:
        train(replace(run, loss=AtCall(5, interrupt)), tmp_path, stop)
    assert step(tmp_path) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_during_validation_is_not_late(run, tmp_path, undisturbed, monkeypatch):
    stop = Stop()
    from bob.paper.ijcb2023_synthdistill.distillation.step import Distillation

    whole = Distillation.validate

    def validate(self, *arguments):
        stop.code = REQUEUE
        return whole(self, *arguments)

    monkeypatch.setattr(Distillation, "validate", validate)
    progress = train(run, tmp_path, stop)
    assert (progress.iteration, progress.rows) == (3, [])
    monkeypatch.undo()
    train(run, tmp_path, Stop())
    assert outputs(tmp_path) == undisturbed


def test_two_processes_on_one_folder(run, tmp_path):
    with RunFolder(tmp_path).lock(), pytest.raises(SynthDistillError, match="another process"):
        train(run, tmp_path, Stop())
    train(replace(run, epochs=0), tmp_path, Stop())


@pytest.mark.slow
def test_the_command_is_requeued_and_goes_on(run, tmp_path):
    def command(*more):
        script = Path(sys.executable).parent / "synthdistill-train"
        return subprocess.Popen(
            [
                *(script, "--student", "test_efficientnet", "--initialisation", "random"),
                *("--generator", run.generator, "--teacher", run.teacher, "--device", "cpu"),
                *("--images-per-epoch", "400", "--batch-size", "4", "--epochs", "1"),
                *("--validation-images", "0", "-o", tmp_path, *more),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )

    process = command("--checkpoint-steps", "1")
    while not (tmp_path / LAST).exists() and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    _, words = process.communicate(timeout=120)
    assert process.returncode == REQUEUE, words
    assert "the same command goes on" in words
    assert "Traceback" not in words
    process = command("--epochs", "1")
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert "resumed after" in words


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_which_then_goes_on(run, tmp_path):
    def command(devices):
        script = Path(sys.executable).parent / "synthdistill-train"
        return subprocess.Popen(
            [
                *(script, "--student", "test_efficientnet", "--initialisation", "random"),
                *("--generator", run.generator, "--teacher", run.teacher, "--device", "cpu"),
                *("--images-per-epoch", "16", "--batch-size", "4", "--epochs", "2"),
                *("--validation-images", "0", "--checkpoint-steps", "1", "-o", tmp_path),
                *("--devices", str(devices)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    process = command(2)
    while not (tmp_path / LAST).exists() and process.poll() is None:
        time.sleep(0.05)
    (child,) = _children(process.pid)
    os.kill(child, signal.SIGKILL)
    _, words = process.communicate(timeout=200)
    assert process.returncode not in (0, None, REQUEUE), words
    assert "lost the others" in words or process.returncode == -signal.SIGKILL
    assert load_checkpoint(tmp_path)["iteration"] >= 1
    process = command(1)
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert "resumed after" in words


def _children(pid):
    """List the processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(path.parent.name))
    return found
