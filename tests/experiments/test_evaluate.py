import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "evaluate.py"


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location("experiments_evaluate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "evaluation"))
    from pair_world import RandomFaces, random_student

    RandomFaces(tmp_path / "faces", 4).draw()
    (tmp_path / "pairs.py").write_text(
        "from pathlib import Path\nfrom pair_world import RandomFaces\n"
        f"database = RandomFaces(Path({str(tmp_path / 'faces')!r}), 4)\n"
    )
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        random_student(tmp_path / name / "student.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_folders_files_and_networks(command, world):
    arguments = [
        "-s", "first", "-s", "other=second/student.safetensors", "-n", "pair_world:halves",
        "-d", "pairs.py", "-o", ".", "-l", "sync",
    ]  # fmt: skip
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    for model in ("first", "other", "pair_world.halves"):
        assert (world / model / "pairs" / "scores-dev.csv").is_file()
        assert f"{model}/pairs/scores-dev.csv (" in result.output
    assert "there already" not in result.output
    result = CliRunner().invoke(command, arguments)
    assert result.output.count("there already)") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-d", "pairs.py"], "no model given"),
        (["-s", "first", "-n", "first=pair_world:halves", "-d", "pairs.py"], "two models"),
        (["-s", "first", "-d", "no-such-database"], "cannot load the database no-such-database"),
        (["-s", "none", "-d", "pairs.py"], "expected the student's file, found nothing"),
        (["-t", "configured", "-d", "pairs.py"], "bob config set"),
    ],
)
def test_mistakes_are_told_in_words(command, world, arguments, words):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert not list(world.rglob("scores-dev.csv"))


def test_help_comes_at_once():
    code = (
        "import sys, runpy; sys.argv = ['evaluate.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'dask', 'bob.bio.base'} & set(sys.modules), 'heavy imports'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--partition-size" in result.stdout
