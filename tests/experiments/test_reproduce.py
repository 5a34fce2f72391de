"""The runner's logic, with trainings and evaluations that only leave what real ones leave."""

import contextlib
import csv
import json
import os
import sys
from functools import partial

import numpy as np
import pytest
from bob.paper.ijcb2023_synthdistill.evaluation.records import SCORES
from click.testing import CliRunner
from pretended import (
    Benchmark,
    pretend_evaluation,
    pretend_side_by_side,
    pretend_training,
    run_of,
)
from reproduce import reproduce
from reproduction import assemble, scores, steps
from reproduction.declarations import load_declaration
from reproduction.plan import plan
from reproduction.runs import Settings

from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.evaluation import chain
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


class World:
    """A results folder, the command, and a list of what it did."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.trained, self.evaluated, self.submitted = [], [], []
        self.status = {}

    def __call__(self, *arguments, config=True):
        self.trained, self.evaluated, self.submitted = [], [], []
        words = ["--results", self.folder, "--config", self.config] if config else []
        words = [*(["table3"] if arguments[:1] != ("all",) else []), *arguments, *words]
        return CliRunner().invoke(reproduce, [str(word) for word in words])

    def models(self, seeds=(2021,)):
        settings = Settings(self.folder / "toyfaces", seeds, (str(self.config),))
        return plan([load_declaration("table3", "toyfaces")], settings)

    def run_command(self, words):
        if words[0] != sys.executable:
            self.submitted.append(words)
            return self.status.get(words[0], 0)
        run = run_of(words)
        self.trained.append(run.name)
        if run.name not in self.status:
            pretend_training(run)
        return self.status.get(run.name, 0)

    def evaluate(self, models, databases, output, **options):
        self.evaluated += pretend_evaluation(models, databases, output)

    def cell(self, row, column):
        path = self.folder / "toyfaces" / "tables" / "table3" / "table.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            return next(line[column] for line in csv.DictReader(stream) if line["model"] == row)


@pytest.fixture
def world(tmp_path, micro_generator, small_teacher, monkeypatch):
    config = tmp_path / "small.py"
    config.write_text(
        f"student = 'test_efficientnet'\nepochs = 2\nimages_per_epoch = 2\nbatch_size = 2\n"
        f"generator = {str(micro_generator)!r}\nteacher = {str(small_teacher)!r}\n"
    )
    world = World(tmp_path / "results", config)
    monkeypatch.setattr(steps, "run_command", world.run_command)
    monkeypatch.setattr(chain, "evaluate", world.evaluate)
    monkeypatch.setattr(chain, "open_client", lambda name: contextlib.nullcontext(name))
    monkeypatch.setattr(scores, "open_benchmark", Benchmark)
    # drawing is tested elsewhere
    monkeypatch.setattr(assemble, "draw_report", lambda *_: [])
    return world


def _name(coefficient, seed=2021):
    middle = f"coefficient-{coefficient}-" if coefficient != "1" else ""
    return f"toyfaces-small-{middle}seed-{seed}"


def test_from_nothing_to_the_table_and_then_nothing_again(world):
    result = world()
    assert result.exit_code == 0, result.output
    assert world.trained == [_name(c) for c in ("0", "0.25", "0.5", "1", "2")]
    assert len(world.evaluated) == 25
    assert "synthdistill-train toyfaces" in result.output
    assert 0.5 < float(world.cell("0.5", "toyfaces-lfw")) < 1
    assert world.cell("0.5", "coefficient") == "0.5"
    folder = world.folder / "toyfaces" / "tables" / "table3"
    assert (folder / "table.md").read_text(encoding="utf-8").strip() in result.output
    assert (folder / "accuracy-coefficient.png").stat().st_size > 1000
    provenance = (folder / "provenance.txt").read_text()
    assert provenance.count("student.safetensors") == provenance.count("options.json") == 25
    before = {path: path.stat().st_mtime_ns for path in world.folder.rglob(SCORES)}

    result = world()
    assert result.exit_code == 0
    assert (world.trained, world.evaluated) == ([], [])
    assert result.output.count("there and current, skipped") == 5
    assert before == {path: path.stat().st_mtime_ns for path in world.folder.rglob(SCORES)}


def test_exactly_what_is_damaged_is_done_again(world):
    result = world()
    assert result.exit_code == 0, result.output
    top = world.folder / "toyfaces"
    (top / _name("0") / "toyfaces-lfw" / SCORES).unlink()
    edited = top / _name("2") / "toyfaces-cfp-fp" / SCORES
    text = edited.read_text()
    edited.write_text(text.replace("-0.9", "-0.8", 1))
    assert edited.read_text() != text
    (top / _name("0.5") / "log.csv").write_text("epoch,images\n1,8\n")
    assert world().exit_code == 0
    # an unfinished run goes on; its student is the same in the end, and so its scores stay
    assert world.trained == [_name("0.5")]
    assert world.evaluated == [(_name("0"), "toyfaces-lfw"), (_name("2"), "toyfaces-cfp-fp")]
    assert edited.read_text() == text


def test_a_changed_config_is_trained_again_and_the_old_run_kept(world):
    assert world().exit_code == 0
    options = RunFolder(world.folder / "toyfaces" / _name("1")).options.read_text()
    world.config.write_text(world.config.read_text() + "batch_size = 1\n")
    result = world()
    assert result.exit_code == 0, result.output
    assert len(world.trained) == 5
    # a new student: all of its scores
    assert len(world.evaluated) == 25
    (kept,) = (world.folder / "toyfaces").glob(f".{_name('1')}.before-*")
    assert (kept / "options.json").read_text() == options
    assert str(kept) in result.output


def test_several_seeds_give_mean_and_deviation_over_seeds(world):
    assert world("--seeds", "2021").exit_code == 0
    first = float(world.cell("2", "toyfaces-lfw"))
    result = world("--seeds", "2021,2022")
    assert result.exit_code == 0, result.output
    # the first seed's runs are there
    assert world.trained == [_name(c, 2022) for c in ("0", "0.25", "0.5", "1", "2")]
    mean, deviation = (float(world.cell("2", f"toyfaces-lfw{suffix}")) for suffix in ("", "_std"))
    assert mean != first
    assert deviation == pytest.approx(np.std([first, 2 * mean - first], ddof=1))
    assert world.cell("2", "seeds") == "2"
    assert "sample standard deviation over seeds" in result.output


def test_a_failed_training_leaves_its_row_empty_and_the_others_go_on(world):
    world.status[_name("0.25")] = 1
    result = world()
    assert result.exit_code == 1
    assert f"the training of {_name('0.25')} ended with status 1" in result.output
    assert len(world.trained) == 5
    assert len(world.evaluated) == 20
    assert world.cell("0.25", "toyfaces-lfw") == ""
    assert world.cell("0.5", "toyfaces-lfw")


@pytest.mark.parametrize("status", [99, 130, -15])
def test_a_stopped_training_stops_everything(world, status):
    world.status[_name("0.25")] = status
    result = world()
    assert result.exit_code == 1
    assert "was stopped: the same command goes on" in result.output
    assert world.trained == [_name("0"), _name("0.25")]
    assert world.evaluated == []


@pytest.fixture
def side_by_side(world, monkeypatch):
    """Pretend the trainings of `--jobs`, too; give what was asked for."""
    asked = {}
    run = partial(pretend_side_by_side, world.run_command, asked)
    monkeypatch.setattr(steps, "run_side_by_side", run)
    return asked


def test_trainings_side_by_side(world, side_by_side):
    world.status[_name("0.25")] = 1
    pretend_training(world.models()[0].run)
    result = world("--jobs", "2")
    assert result.exit_code == 1
    assert "4 trainings, 2 at a time with " in result.output
    assert f"{_name('2')}: its words" in result.output
    assert side_by_side["at_a_time"] == 2
    logs = world.folder / "toyfaces" / "logs"
    assert side_by_side["logs"][0] == logs / f"{_name('0.25')}.log"
    # the others went on, and what failed says where its words are
    assert world.trained == [_name(c) for c in ("0.25", "0.5", "1", "2")]
    assert f"ended with status 1: its words stand in {logs / _name('0.25')}.log" in result.output
    assert world.cell("0.25", "toyfaces-lfw") == ""
    assert world.cell("2", "toyfaces-lfw")
    world.status.clear()
    assert world("--jobs", "2").exit_code == 0
    assert world.trained == [_name("0.25")]


def test_trainings_side_by_side_that_are_stopped(world, side_by_side):
    world.status.update({_name("1"): 130, _name("2"): 130})
    result = world("-j", "2")
    assert result.exit_code == 1
    assert "2 trainings were stopped or not begun: the same command goes on" in result.output
    assert world.evaluated == []


def test_jobs_are_not_for_a_scheduler(world):
    result = world("--jobs", "2", "--submit", "sbatch --wrap {command}")
    assert result.exit_code == 2
    assert "--submit for a scheduler" in result.output


def test_a_benchmark_that_is_not_there_leaves_its_column_empty(world, monkeypatch):
    monkeypatch.setattr(Benchmark, "absent", ("toyfaces-cplfw",))
    result = world()
    assert result.exit_code == 1
    assert "toyfaces-cplfw stays empty: no folder is configured" in result.output
    assert len(world.evaluated) == 20
    assert world.cell("2", "toyfaces-cplfw") == ""
    assert world.cell("2", "toyfaces-lfw")


def test_a_failed_evaluation_is_told_and_the_others_go_on(world, monkeypatch):
    def fail(models, databases, output, **options):
        if _name("0") in models:
            raise SynthDistillError("1 of 5 evaluations failed: no memory")
        world.evaluate(models, databases, output, **options)

    monkeypatch.setattr(chain, "evaluate", fail)
    result = world()
    assert result.exit_code == 1
    assert "no memory" in result.output
    assert world.cell("0: the same w again", "toyfaces-lfw") == ""
    assert world.cell("2", "toyfaces-lfw")


def test_dry_run_counts_images_and_invents_no_hours(world):
    result = world("--dry-run")
    assert result.exit_code == 0, result.output
    assert (world.trained, world.evaluated) == ([], [])
    assert not world.folder.exists()
    # 2 epochs of 2 fresh and 2 re-sampled images
    assert "40 images in 5 trainings; hours: unknown: give --rate or --benchmark" in result.output
    assert "coefficient-0.25 --output" in result.output
    assert world().exit_code == 0
    (world.folder / "toyfaces" / _name("0") / "toyfaces-lfw" / SCORES).unlink()
    result = world("--dry-run")
    assert "0 images in 0 trainings" in result.output
    assert f"evaluate {_name('0')} on toyfaces-lfw\n" in result.output
    assert result.output.count("skip: all scores") == 4
    assert world.evaluated == []


def test_dry_run_opens_no_benchmark(world, monkeypatch):
    def open_benchmark(name):
        raise AssertionError("a miniature benchmark that is opened is drawn")

    monkeypatch.setattr(scores, "open_benchmark", open_benchmark)
    pretend_training(world.models()[0].run)
    result = world("--dry-run")
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.output.count("evaluate toyfaces") == 5


def test_hours_come_from_the_users_rate(world, tmp_path):
    world.config.write_text(world.config.read_text().replace("per_epoch = 2", "per_epoch = 9000"))
    assert "180,000 images in 5 trainings; hours: 0.5" in world("--dry-run", "--rate", 100).output
    measured = tmp_path / "benchmark.json"
    measured.write_text(json.dumps({"images_per_second": 50}))
    assert "hours: 1.0" in world("--dry-run", "--benchmark", measured).output
    measured.write_text("{}")
    result = world("--dry-run", "--benchmark", measured)
    assert result.exit_code == 1
    assert "no number images_per_second" in result.output


def test_trainings_are_submitted_once(world):
    template = "sbatch --job-name {name} --wrap {command}"
    result = world("--submit", template)
    assert result.exit_code == 0, result.output
    assert world.trained == []
    names = [words[2] for words in world.submitted]
    assert names == [_name(c) for c in ("0", "0.25", "0.5", "1", "2")]
    # the exact command is one word for the scheduler, and is printed
    run = world.models()[0].run
    assert world.submitted[0][-1] == " ".join(run.command())
    assert "sbatch --job-name" in result.output
    assert world.cell("2", "toyfaces-lfw") == ""
    result = world("--submit", template)
    assert world.submitted == []
    assert result.output.count("not again (--resubmit does)") == 5
    world("--submit", template, "--resubmit")
    assert len(world.submitted) == 5


def test_a_refused_submission_is_told_and_tried_again(world):
    world.status["sbatch"] = 1
    result = world("--submit", "sbatch --wrap {command}")
    assert result.exit_code == 1
    assert "sbatch ended with status 1: nothing was submitted" in result.output
    world.status.clear()
    world("--submit", "sbatch --wrap {command}")
    assert len(world.submitted) == 5


@pytest.mark.parametrize("seeds", ["a", "1,,2", "1,1", "-1", ""])
def test_seeds_are_whole_numbers(world, seeds):
    assert world("--seeds", seeds).exit_code == 2


def test_unknown_tables_are_told(world):
    result = CliRunner().invoke(reproduce, ["tabel1"])
    assert result.exit_code == 1
    assert "Did you mean 'table1'" in result.output


def test_the_real_variant_needs_what_is_not_here(world):
    result = CliRunner().invoke(
        reproduce, ["all", "--variant", "real", "--dry-run", "-o", str(world.folder)]
    )
    assert result.exit_code == 0, result.output
    assert "teacher: not configured on this machine" in result.output
    assert "543,336,192 images in 17 trainings" in result.output
    assert not os.path.lexists(world.folder)
