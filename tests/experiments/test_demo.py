import contextlib
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from demo import demo
from pretended import (
    Benchmark,
    pretend_evaluation,
    pretend_side_by_side,
    pretend_training,
    run_of,
)
from reproduction import assemble, pictures, scores, steps

from bob.paper.ijcb2023_synthdistill.evaluation import chain

STUDENTS = [
    "toyfaces-seed-2021",
    "toyfaces-sampling-static-seed-2021",
    "toyfaces-epochs-0-seed-2021",
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the demo with trainings and evaluations that only leave what real ones leave."""
    done = {}

    def train(words):
        done["trained"].append(run_of(words).name)
        pretend_training(run_of(words))
        return 0

    def evaluate(models, databases, output, *, dask_client):
        done["client"] = dask_client
        done["evaluated"] += pretend_evaluation(models, databases, output)

    monkeypatch.setattr(steps, "run_side_by_side", partial(pretend_side_by_side, train, done))
    monkeypatch.setattr(chain, "evaluate", evaluate)
    monkeypatch.setattr(chain, "open_client", lambda name: contextlib.nullcontext(name))
    monkeypatch.setattr(scores, "open_benchmark", Benchmark)
    monkeypatch.setattr(assemble, "draw_report", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_pairs", lambda path, rows: Path(path).touch())
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        done.update(trained=[], evaluated=[], client=None)
        return CliRunner().invoke(demo, arguments), done

    return invoke


def test_everything_once_and_then_nothing(run, tmp_path):
    result, done = run()
    assert result.exit_code == 0, result.output
    assert done["trained"] == STUDENTS
    assert done["at_a_time"] == 2
    assert len(done["evaluated"]) == 20
    assert done["client"] == "local-parallel"
    for step in ("1/4", "2/4", "3/4", "4/4"):
        assert f"==> {step}" in result.output
    folder = tmp_path / "results" / "demo"
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert table.strip() in result.output
    for row in ("teacher", "dynamic sampling", "static sampling", "before training"):
        assert row in table
    assert "published" not in table
    # what it tells to look at is there
    for name in ("table.md", "faces.png", "pairs.png", "provenance.txt"):
        assert str(Path("results/demo") / name) in result.output
        assert (folder / name).is_file()
    pipeline = Path("results/demo/runs/toyfaces-seed-2021/pipeline.py")
    assert str(pipeline) in result.output
    assert (tmp_path / pipeline).is_file()

    result, done = run()
    assert result.exit_code == 0
    assert (done["trained"], done["evaluated"]) == ([], [])
    assert "images to train on: 0" in result.output


def test_without_dask(run):
    result, done = run("--dask-client", "none", "-o", "elsewhere")
    assert result.exit_code == 0, result.output
    assert done["client"] is None
    assert Path("elsewhere/table.md").is_file()


def test_a_failure_is_told(run, monkeypatch):
    fail = partial(pretend_side_by_side, lambda words: 1, {})
    monkeypatch.setattr(steps, "run_side_by_side", fail)
    result, _ = run()
    assert result.exit_code == 1
    assert "ended with status 1" in result.output
    assert "the demo is not complete" in result.output
