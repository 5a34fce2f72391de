"""`synthdistill-accuracy` from the command line."""

import json
import subprocess
import sys
from functools import partial

import pytest
from invoking import invoke
from score_files import FakeBenchmark, write_scores

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import summary
from bob.paper.ijcb2023_synthdistill.evaluation import results
from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy


@pytest.fixture
def scores(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "Verification", FakeBenchmark)
    write_scores(tmp_path / "run" / "lfw" / "scores-dev.csv", "lfw", distance=2)
    return tmp_path / "run" / "lfw" / "scores-dev.csv"


run = partial(invoke, accuracy)


def test_json_and_text(scores):
    expected = summary(results.read_model(scores.parents[1], FakeBenchmark("lfw")).pairs)
    result = run(scores, "-d", "lfw", "--json")
    found = json.loads(result.stdout)
    assert found == {**found, **expected, "database": "lfw", "recorded": False}
    assert "of unknown origin" in result.stderr
    output = run(scores, "-d", "lfw").output
    mean, deviation = expected["accuracy"], expected["accuracy_std"]
    assert f"{mean:.2%} ± {deviation:.2%} over 10 folds" in output
    assert "100 genuine, 100 impostor\n" in output
    assert "needs 1,000 impostor pairs" in output
    scores.write_text(scores.read_text().rpartition(",")[0] + ",-inf\n")
    assert "100 impostor; 1 never match" in run(scores, "-d", "lfw").output


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("calfw", "200 of 200 rows are of 'lfw', and calfw was expected"),
        ("lfv", "Did you mean 'lfw'? Choose one of lfw, calfw"),
        ("none.py", "there is no benchmark `none.py`"),
        ("broken.py", "cannot run broken.py: ModuleNotFoundError: No module named 'nix'"),
        ("empty.py", "empty.py defines no `database`"),
    ],
)
def test_errors_are_words(tmp_path, monkeypatch, scores, database, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import nix\n")
    (tmp_path / "empty.py").write_text("database = 3\n")
    assert expected in run(scores, "-d", database, code=1).output


def test_accuracy_does_not_wait_for_bob(tmp_path):
    (tmp_path / "mine.csv").write_text("left,right,genuine\na,b,1\n")
    code = (
        "import sys; from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy\n"
        f"try: accuracy(['none.csv', '-d', {str(tmp_path / 'mine.csv')!r}])\n"
        "except SystemExit: print(sorted({'torch', 'bob.bio.base'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "cannot read none.csv" in done.stderr
    assert done.stdout == "[]\n"
