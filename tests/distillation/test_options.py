"""Configs chain, the command line wins, and every mistake is told in words."""

from functools import partial

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.options import Options, load_configs
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def resolve(configs, **overrides):
    return Options(**{**load_configs(configs), **overrides})


def write(path, text):
    path.write_text(text)
    return str(path)


def test_the_named_configs_are_the_paper_s_run():
    options = resolve(["tinyfar-a"])
    assert options == resolve(
        ["tinyfar-b"], student="tinyfar-a", optimizer=options.optimizer, scheduler=options.scheduler
    )
    assert options.student == "tinyfar-a"
    assert options.iterations_per_epoch == 7812
    assert 2 * options.iterations == 328_104
    assert options.images == 2 * 21 * 7812 * 128
    assert options.optimizer.func is torch.optim.Adam
    assert options.optimizer.keywords == {"lr": 1e-3, "fused": True}
    assert options.scheduler.keywords == {"step_size": 10, "gamma": 0.5}
    assert (options.seed, options.loss, options.resampling_coefficient) == (2021, "mse", 1.0)
    assert options.validation_images == 78 * 128


def test_better_changes_how_the_student_learns_and_nothing_else():
    base, better = resolve(["toyfaces"]), resolve(["toyfaces", "better"])
    changed = {name for name, value in vars(better).items() if value != getattr(base, name)}
    assert changed == {"loss", "optimizer", "scheduler", "augmentation", "replay"}
    with pytest.raises(SynthDistillError, match="replay and augmentation"):
        resolve(["toyfaces-real", "better"])


def test_configs_chain_and_the_command_line_wins(tmp_path):
    mine = write(tmp_path / "mine.py", "batch_size = batch_size // 2\nimport math\n_x = 3\nUP = 1")
    options = resolve(["tinyfar-c", mine], seed=3, resampling_coefficient=0.5)
    assert (options.student, options.batch_size, options.seed) == ("tinyfar-c", 64, 3)
    assert options.resampling_coefficient == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bach_size = 3", ["'bach_size'", "Did you mean 'batch_size'"]),
        ("batch_size = = 3", ["mine.py, line 1", "invalid syntax"]),
        ("x = 1 / 0", ["mine.py, line 1", "division by zero"]),
        ("import nothing_of_that_name", ["mine.py, line 1", "nothing_of_that_name"]),
        ("from .sibling import x", ["mine.py, line 1"]),
    ],
)
def test_broken_configs(tmp_path, text, words):
    with pytest.raises(SynthDistillError) as error:
        load_configs(["tinyfar-a", write(tmp_path / "mine.py", text)])
    for word in words:
        assert word in str(error.value)


def test_a_config_that_does_not_exist():
    with pytest.raises(SynthDistillError, match="does not exist"):
        load_configs(["nowhere/mine.py"])
    with pytest.raises(SynthDistillError, match="tinyfar-a"):
        load_configs(["tinyfar"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("student", ""),
        ("student", 3),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", "128"),
        ("batch_size", True),
        ("epochs", -1),
        ("seed", None),
        ("noise_mode", "randon"),
        ("precision", "8"),
        ("device", "gpu"),
        ("optimizer", 3),
        ("images_per_epoch", 100),
        ("resampling_coefficient", "1"),
        ("devices", 3),
        ("generator", 3),
        ("method", "other"),
        ("seed", 99999999999999999999),
        ("checkpoint_minutes", -1),
        ("resampling_coefficient", float("nan")),
        ("validation_images", 100),
    ],
)
def test_wrong_values_are_named(name, value):
    with pytest.raises(SynthDistillError) as error:
        Options(**{"student": "tinyfar-a", name: value})
    expected = "batch_size" if name == "devices" else name
    assert f"option {expected}: expected" in str(error.value)


def test_plain_and_compile_exclude_each_other():
    with pytest.raises(SynthDistillError, match="plain"):
        Options(student="tinyfar-a", plain=True, compile=True)


def test_a_file_called_like_a_config_does_not_win_over_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinyfar-a").write_text("raise SystemExit('executed')")
    assert load_configs(["tinyfar-a"])["student"] == "tinyfar-a"


def test_descriptions_are_the_same_in_every_process():
    options = Options(student=partial(torch.nn.Linear, 3), optimizer=partial(torch.optim.SGD, lr=1))
    described = options.describe()
    assert described["student"] == "torch.nn.modules.linear.Linear(3)"
    assert described["optimizer"] == "torch.optim.sgd.SGD(lr=1)"
    assert described["precision"] == "auto"
    assert Options(student="a", precision="bf16-mixed").precision == "bf16"
