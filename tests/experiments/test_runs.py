import dataclasses
import json
import shlex
import subprocess
from pathlib import Path

import pytest
from reproduction.declarations import DeclaredRow, Variant
from reproduction.runs import FREE_OPTIONS, Run, Settings, State, runs_of, with_scheduler

from bob.paper.ijcb2023_synthdistill.distillation.networks import describe_run, find_files
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def config(tmp_path, micro_generator, small_teacher):
    path = tmp_path / "small.py"
    path.write_text(
        f"student = 'test_efficientnet'\ninitialisation = 'random'\nepochs = 2\n"
        f"images_per_epoch = 8\nbatch_size = 4\nvalidation_images = 4\n"
        f"generator = {str(micro_generator)!r}\nteacher = {str(small_teacher)!r}\n"
    )
    return path


@pytest.fixture
def run(config, tmp_path):
    return Run((str(config), "loss-cosine"), 3, tmp_path / "results" / "run")


def _again(run):
    """Give the run as a new process sees it."""
    return dataclasses.replace(run)


def _train(run, epochs=2):
    """Leave what a training leaves, without the training."""
    folder = RunFolder(run.folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    folder.begin(describe_run(find_files(run.options)))
    if epochs:
        folder.write_log([{"epoch": n + 1, "images": 16 * (n + 1)} for n in range(epochs)])
    folder.student.write_bytes(b"weights")


def test_the_command_is_the_run(run, config):
    assert shlex.join(run.command()) == (
        f"synthdistill-train {config} loss-cosine --output {run.folder} --seed 3"
    )
    more = dataclasses.replace(run, overrides=(("epochs", 0),), free=(("num_nodes", 2),))
    assert more.command()[-4:] == ["--epochs", "0", "--num-nodes", "2"]
    assert run.options.loss == "cosine"
    assert run.options.seed == 3
    assert more.options.epochs == 0


def test_the_process_is_the_command(run):
    command = [*run.process(), "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "synthdistill-train tinyfar-a" in answer.stdout
    assert command[3:-1] == run.command()[1:]


def test_a_run_is_missing_unfinished_and_done(run):
    assert run.state() is State.MISSING
    _train(run, epochs=1)
    assert _again(run).state() is State.UNFINISHED
    assert run.images_done() == 16
    _train(run, epochs=2)
    assert _again(run).state() is State.DONE
    run.student.unlink()
    assert _again(run).state() is State.UNFINISHED


def test_a_student_before_training_is_done_without_a_log(run):
    run = dataclasses.replace(run, overrides=(("epochs", 0),))
    _train(run, epochs=0)
    assert run.state() is State.DONE


def test_a_changed_config_is_seen(run, config):
    _train(run)
    before = config.read_text()
    config.write_text(before + "batch_size = 2\n")
    assert _again(run).state() is State.CHANGED
    # comments do not train another student
    config.write_text(before + "# batch_size = 2\n")
    assert _again(run).state() is State.DONE
    config.write_text(before + "epochs = 3\n")
    assert _again(run).state() is State.UNFINISHED
    config.write_text(before + "epochs = 1\n")
    assert _again(run).state() is State.CHANGED


def test_a_changed_generator_is_seen_and_a_moved_one_is_the_same(run, config, tmp_path):
    _train(run)
    text = config.read_text()
    generator = Path(run.options.generator)
    other = tmp_path / "elsewhere.pkl"
    other.write_bytes(generator.read_bytes())
    config.write_text(text.replace(str(generator), str(other)))
    assert _again(run).state() is State.DONE
    other.write_bytes(b"another generator")
    assert _again(run).state() is State.CHANGED
    # not on this machine: the student was trained elsewhere, and cannot be compared
    other.unlink()
    assert _again(run).state() is State.DONE


def test_device_does_not_make_another_run(run):
    _train(run)
    assert "device" in FREE_OPTIONS
    assert dataclasses.replace(run, free=(("device", "cpu"),)).state() is State.DONE
    assert dataclasses.replace(run, overrides=(("precision", "bf16"),)).state() is State.CHANGED


def test_an_old_run_is_moved_aside_never_deleted(run, config):
    for number in range(2):
        _train(run)
        place = run.set_aside()
        assert not run.folder.exists()
        assert (place / "student.safetensors").read_bytes() == b"weights"
        assert place.name.startswith(".")
        assert number == 0 or place.name.endswith("-2")


def test_an_unreadable_run_is_told_in_words(run):
    _train(run)
    RunFolder(run.folder).options.write_text("{")
    with pytest.raises(SynthDistillError, match=r"cannot read .*options\.json.*Move"):
        run.state()


def test_runs_are_shared_by_their_configs(tmp_path):
    variant = Variant("real", {"a": "tinyfar-a"}, [])
    settings = Settings(tmp_path, (1, 2), ("mine/own.py",), {"precision": "bf16"}, {"devices": 2})

    def runs(**row):
        declared = type("Table", (), {"variant": variant})
        return runs_of(DeclaredRow("label", **row), declared, settings)

    first, second = runs(student="a", changes=("loss-cosine",))
    assert first.configs == ("tinyfar-a", "mine/own.py", "loss-cosine")
    assert first.name == "tinyfar-a-own-loss-cosine-precision-bf16-seed-1"
    assert (second.seed, second.folder.parent) == (2, tmp_path)
    assert first.free == (("devices", 2),)
    assert runs(student="a", section="other")[0] == runs(student="a")[0]
    assert runs(student="a", epochs=0)[0].folder != runs(student="a")[0].folder
    assert runs(model="teacher") == []


def test_a_scheduler_gets_the_exact_command(run):
    command = shlex.join(run.command())
    assert with_scheduler("sbatch --job-name {name} --wrap {command}", run) == [
        "sbatch", "--job-name", "run", "--wrap", command,
    ]  # fmt: skip
    assert with_scheduler("sbatch --wrap='nice {command}'", run)[-1] == f"--wrap=nice {command}"
    assert with_scheduler("qsub -b y {arguments}", run) == ["qsub", "-b", "y", *run.command()]
    with pytest.raises(SynthDistillError, match="needs a place"):
        with_scheduler("sbatch job.sh", run)


def test_options_json_compares_as_it_is_written(run):
    """Whatever a config holds, a finished run is current for the configs that made it."""
    _train(run)
    written = json.loads(RunFolder(run.folder).options.read_text())["options"]
    assert written["loss"] == "cosine"
    assert len(written["generator"]) == 64
