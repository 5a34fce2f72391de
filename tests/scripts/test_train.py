"""`synthdistill-train` as a user meets it."""

import os
import subprocess
import sys
from functools import partial

import pytest
from invoking import invoke

from bob.paper.ijcb2023_synthdistill.distillation.options import names
from bob.paper.ijcb2023_synthdistill.scripts.train import train

CONFIG = """
student = "test_efficientnet"
initialisation = "random"
generator = {generator!r}
teacher = {teacher!r}
epochs = 1
images_per_epoch = 8
batch_size = 4
validation_images = 4
device = "cpu"
"""


@pytest.fixture
def config(tmp_path, micro_generator, small_teacher):
    path = tmp_path / "mine.py"
    path.write_text(CONFIG.format(generator=str(micro_generator), teacher=str(small_teacher)))
    return str(path)


run = partial(invoke, train)


def refused(args, *words):
    said = run(*args, code=1).output
    for word in words:
        assert word in said


def test_a_config_is_a_run_and_says_when_it_is_finished(config, tmp_path):
    output = tmp_path / "run"
    run(config, "-o", output)
    before = (output / "student.safetensors").read_bytes()
    run(config, "-o", output)
    refused((config, "-o", output, "--seed", 7), "seed was 2021, is 7", "-o")
    run(config, "-o", output, "--restart", "--optimizer", "AdamW", "--learning-rate", "0.01")
    assert ",0.01," in (output / "log.csv").read_text()
    assert (output / "before-1" / "student.safetensors").read_bytes() == before


LOSS = """
import os, signal

def loss(student, teacher):
    os.kill(os.getpid(), signal.SIGTERM)
    return (student - teacher).square().mean()
"""


def test_a_run_that_is_asked_to_end_saves_and_exits_with_99(config, tmp_path):
    with open(config, "a") as stream:  # noqa: PTH123
        stream.write(LOSS)
    run(config, "-o", tmp_path / "run", code=99)
    assert (tmp_path / "run" / "last.ckpt").exists()


def test_dry_run_tells_the_numbers_and_writes_nothing(config, tmp_path):
    options = ["--epochs", 3, "--resampling-coefficient", 0.5, "--dry-run"]
    said = run(config, "-o", tmp_path / "run", *options).output
    lines = {line[:24].strip(): line[24:].strip() for line in said.splitlines()}
    assert lines["resampling_coefficient"] == "0.5"
    assert lines["epochs"] == "3"
    assert lines["images"].startswith("48 ")
    assert lines["optimizer steps"] == "12"
    assert "MiB a device" in lines["memory, at least"]
    assert not (tmp_path / "run").exists()


def test_threads_are_told_not_to_wait_long_before_torch_is_there(config, tmp_path):
    with open(config, "a") as stream:  # noqa: PTH123
        stream.write('import os, sys\nprint(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules)')
    command = [sys.executable, "-m", train.callback.__module__, config, "-o", tmp_path, "--dry-run"]
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    said = subprocess.check_output(command, env=environment, text=True)
    assert said.startswith("30000 False\n")


def test_dry_run_needs_no_weights_and_names_what_is_missing(tmp_path):
    options = ("--initialisation", "random", "--dry-run")
    said = run("tinyfar-a", "-o", tmp_path / "run", *options).output
    assert "328,104" in said
    assert "bob config set bob.paper.ijcb2023_synthdistill.generator" in said
    assert "bob config set bob.paper.ijcb2023_synthdistill.teacher" in said
    assert "device                  auto" not in said


def test_the_template_names_every_option_and_is_a_config(tmp_path):
    path = tmp_path / "template.py"
    run("-H", path)
    refused(("-H", path), "cannot write", "exists")
    text = path.read_text()
    for name in names():
        assert f"\n# {name} = " in text
    uncommented = "\n".join(
        line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line
    )
    values: dict = {}
    exec(uncommented, values)
    assert values["batch_size"] == 128
    assert values["noise_mode"] == "random"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("batch_size = 1.5", ["batch_size", "whole number", "1.5"]),
        ("student = 'tinyfar-d'", ["tinyfar-d", "tinyfar-a"]),
        ("teacher = 'nowhere.pth'", ["nowhere.pth", "does not exist", "--teacher"]),
        ("initialisation = 'nowhere.pth'", ["nowhere.pth"]),
        ("sampling = 'dynamik'", ["Did you mean 'dynamic'"]),
        ("loss = 'mae'", ["loss must be"]),
        ("optimizer = dict", ["optimizer"]),
        ("teacher = '/'", ["is a folder", "--teacher"]),
    ],
)
def test_mistakes_in_a_config(config, tmp_path, line, words):
    with open(config, "a") as stream:  # noqa: PTH123
        stream.write(line + "\n")
    refused((config, "-o", tmp_path / "run"), *words)
    assert not (tmp_path / "run" / "student.safetensors").exists()


def test_mistakes_on_the_command_line(config, tmp_path):
    output = ("-o", tmp_path / "run")
    refused(output, "name a config")
    wrong = (config, *output, "--optimizer", "adamww")
    refused(wrong, "no optimizer 'adamww'", "Did you mean 'adamw'")
    refused(("tinyfar-a", *output), "bob config set")
    (tmp_path / "file").write_text("")
    refused((config, "-o", tmp_path / "file" / "run"), "cannot write", "-o")
