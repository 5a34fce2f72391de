"""`synthdistill-train` as a user meets it."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

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


def run(*args):
    return CliRunner().invoke(train, [str(a) for a in args])


def refused(result, *words):
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "a traceback for a user's mistake"
    for word in words:
        assert word in result.output


def test_a_config_is_a_run_and_says_when_it_is_finished(config, tmp_path):
    output = tmp_path / "run"
    result = run(config, "-o", output)
    assert result.exit_code == 0, result.output
    assert (output / "student.safetensors").exists()
    again = run(config, "-o", output)
    assert again.exit_code == 0
    refused(run(config, "-o", output, "--seed", 7), "seed was 2021, is 7", "-o")
    before = (output / "student.safetensors").read_bytes()
    words = ("--restart", "--optimizer", "AdamW", "--learning-rate", "0.01")
    assert run(config, "-o", output, *words).exit_code == 0
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
    result = run(config, "-o", tmp_path / "run")
    assert result.exit_code == 99, result.output
    assert (tmp_path / "run" / "last.ckpt").exists()


def test_dry_run_tells_the_numbers_and_writes_nothing(config, tmp_path):
    options = ["--epochs", 3, "--resampling-coefficient", 0.5, "--dry-run"]
    result = run(config, "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    lines = {line[:24].strip(): line[24:].strip() for line in result.output.splitlines()}
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
    result = run("tinyfar-a", "--initialisation", "random", "-o", tmp_path / "run", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "328,104" in result.output
    assert "bob config set bob.paper.ijcb2023_synthdistill.generator" in result.output
    assert "bob config set bob.paper.ijcb2023_synthdistill.teacher" in result.output
    assert "device                  auto" not in result.output


def test_the_template_names_every_option_and_is_a_config(tmp_path):
    path = tmp_path / "template.py"
    assert run("-H", path).exit_code == 0
    refused(run("-H", path), "cannot write", "exists")
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
        ("batch_size = (", ["mine.py", "line"]),
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
    refused(run(config, "-o", tmp_path / "run"), *words)
    assert not (tmp_path / "run" / "student.safetensors").exists()


def test_mistakes_on_the_command_line(config, tmp_path):
    refused(run("tinyfra-a", "-o", tmp_path / "run"), "Did you mean 'tinyfar-a'")
    refused(run("-o", tmp_path / "run"), "name a config")
    wrong = run(config, "-o", tmp_path / "run", "--optimizer", "adamww")
    refused(wrong, "no optimizer 'adamww'", "Did you mean 'adamw'")
    refused(run("tinyfar-a", "-o", tmp_path / "run"), "bob config set")
    (tmp_path / "file").write_text("")
    refused(run(config, "-o", tmp_path / "file" / "run"), "cannot write", "-o")
