"""`synthdistill-accuracy` from the command line."""

import csv
import json
import subprocess
import sys

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image
from score_files import write_record

from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.files import configure_path
from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy


@pytest.fixture
def lfw(tmp_path, monkeypatch):
    """LFW's size, with bytes for images, configured as by `bob config set`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    labels = ([True] * 300 + [False] * 300) * 10
    write_bin(tmp_path / "lfw.bin", [b"image %d" % k for k in range(12000)], labels)
    configure_path("bob.bio.face.lfw.directory", tmp_path)
    pairs = Verification("lfw").pairs()
    rng = numpy.random.default_rng(0)
    pairs["score"] = numpy.where(pairs["genuine"], -0.4, -0.8) + rng.normal(0, 0.12, 6000)
    return pairs


@pytest.fixture
def scores(tmp_path, lfw):
    path = tmp_path / "scores-dev.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["probe_template_id", "bio_ref_template_id", "score"])
        # rows in another order than the pairs, sides exchanged
        writer.writerows(lfw.sample(frac=1, random_state=1)[["right", "left", "score"]].to_numpy())
    return path


def field_accuracy(pairs):
    """Compute the recipe's accuracy from the distances, step by step."""
    thresholds = numpy.arange(0, 4, 0.01)
    right = (-2 * pairs["score"].to_numpy()[:, None] < thresholds) == pairs["genuine"].to_numpy()[
        :, None
    ]
    result = []
    for fold in range(10):
        test = (pairs["fold"] == fold).to_numpy()
        result.append(right[test, numpy.argmax(right[~test].mean(axis=0))].mean())
    return numpy.mean(result), numpy.std(result)


def test_json(scores, lfw):
    result = CliRunner().invoke(accuracy, [str(scores), "-d", "lfw", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["accuracy"], found["accuracy_std"]) == field_accuracy(lfw)
    assert found["database"] == "lfw"
    assert 0.9 < found["accuracy"] < 0.97
    assert found["tar_at_far"]["0.0001"] is None
    assert 0 < found["tar_at_far"]["0.001"] < found["tar_at_far"]["0.01"] < 1
    assert len(found["accuracy_per_fold"]) == 10


def test_text(scores, lfw):
    result = CliRunner().invoke(accuracy, [str(scores), "-d", "lfw"])
    assert result.exit_code == 0, result.output
    mean, deviation = field_accuracy(lfw)
    assert f"{mean:.2%} ± {deviation:.2%} over 10 folds" in result.output
    assert "3,000 genuine, 3,000 impostor\n" in result.output
    assert "needs 10,000 impostor pairs, there are 3,000" in result.output
    assert "lfw.bin" in result.output


def test_pairs_of_ones_own(tmp_path):
    (tmp_path / "mine").mkdir()
    lines = ["left,right,genuine"] + [f"{n}.png,{n + 1}.png,{int(n < 12)}" for n in range(30)]
    (tmp_path / "mine" / "pairs.csv").write_text("\n".join(lines))
    for n in range(31):
        image = numpy.full((112, 112, 3), n, numpy.uint8)
        Image.fromarray(image).save(tmp_path / "mine" / f"{n}.png")
    database = str(tmp_path / "mine" / "pairs.csv")
    pairs = Verification.from_csv(database).pairs()
    pairs["score"] = -0.5 * ~pairs["genuine"]
    pairs.loc[3, "score"] = -numpy.inf
    path = tmp_path / "scores-dev.csv"
    names = {"left": "probe_template_id", "right": "bio_ref_template_id"}
    pairs.rename(columns=names).to_csv(path, index=False)
    result = CliRunner().invoke(accuracy, [str(path), "-d", database, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [found[name] for name in ("database", "genuine", "impostors", "never_match")] == [
        "mine", 12, 18, 1,
    ]  # fmt: skip
    assert found["accuracy"] < 1
    assert not found["recorded"]
    result = CliRunner().invoke(accuracy, [str(path), "-d", database])
    assert "12 genuine, 18 impostor; 1 never match" in result.output


def test_scores_of_another_student_are_refused(tmp_path, scores, lfw):
    run = tmp_path / "run" / "lfw" / "scores-dev.csv"
    run.parent.mkdir(parents=True)
    scores.rename(run)
    student = tmp_path / "run" / "student.safetensors"
    student.write_bytes(b"weights")
    write_record(run, "lfw", student, Verification("lfw").fingerprint())
    result = CliRunner().invoke(accuracy, [str(run), "-d", "lfw", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["recorded"]
    student.write_bytes(b"trained further")
    result = CliRunner().invoke(accuracy, [str(run), "-d", "lfw"])
    assert result.exit_code == 1
    assert "trained further or replaced" in result.output


def test_own_configuration(tmp_path, scores):
    config = tmp_path / "own.py"
    config.write_text(
        "from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase\n"
        f"database = PairDatabase('lfw', {str(tmp_path)!r})\n"
    )
    result = CliRunner().invoke(accuracy, [str(scores), "-d", str(config), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pairs"] == 6000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-d", "calfw"], "6,000 of 6,000 rows are of 'lfw', and calfw was expected"),
        (["-d", "nothing"], "Choose one of lfw, calfw"),
        (["-d", "lfv"], "Did you mean 'lfw'?"),
        (["-d", "none.py"], "there is no benchmark `none.py`"),
        (["-d", "none.csv"], "there is no benchmark `none.csv`"),
        (["-d", "broken.py"], "cannot run broken.py: ModuleNotFoundError: No module named 'nix'"),
        (["-d", "empty.py"], "empty.py defines no `database`"),
    ],
)
def test_errors_are_words(tmp_path, monkeypatch, scores, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import nix\n")
    (tmp_path / "empty.py").write_text("database = 3\n")
    result = CliRunner().invoke(accuracy, [str(scores), *arguments])
    assert result.exit_code == 1
    assert expected in result.output
    assert "Traceback" not in result.output


def test_short_file(scores):
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join(lines[:5000]) + "\n")
    result = CliRunner().invoke(accuracy, [str(scores), "-d", "lfw"])
    assert result.exit_code == 1
    assert "1,001 of 6,000 pairs are missing" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; "
        "from bob.paper.ijcb2023_synthdistill.scripts.{0} import {0} as command; "
        "assert CliRunner().invoke(command, ['--help']).exit_code == 0; "
        "heavy = {{'torch', 'pandas', 'numpy', 'scipy', 'bob.bio.base', 'PIL'}}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    for name in ("accuracy", "toyfaces"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"


def test_accuracy_does_not_wait_for_bob(scores):
    code = (
        "import sys; from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy; "
        f"accuracy([{str(scores)!r}, '-d', 'lfw', '--json'], standalone_mode=False); "
        "print(sorted({'torch', 'bob.bio.base'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
