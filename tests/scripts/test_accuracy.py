"""`synthdistill-accuracy` from the command line."""

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


def write(path, pairs):
    """Write a score file: rows in another order than the pairs, sides exchanged."""
    names = {"left": "bio_ref_template_id", "right": "probe_template_id"}
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs.sample(frac=1, random_state=1).rename(columns=names).to_csv(path, index=False)
    return path


@pytest.fixture
def scores(tmp_path, lfw):
    return write(tmp_path / "run" / "lfw" / "scores-dev.csv", lfw)


def invoke(*arguments, fails=0):
    result = CliRunner().invoke(accuracy, [str(argument) for argument in arguments])
    assert result.exit_code == fails, result.output
    assert "Traceback" not in result.output
    return json.loads(result.stdout) if "--json" in arguments else result.output


def field_accuracy(pairs):
    """Compute the recipe's accuracy from the distances, step by step."""
    distances = -2 * pairs["score"].to_numpy()[:, None]
    right = (distances < numpy.arange(0, 4, 0.01)) == pairs["genuine"].to_numpy()[:, None]
    result = []
    for fold in range(10):
        test = (pairs["fold"] == fold).to_numpy()
        result.append(right[test, numpy.argmax(right[~test].mean(axis=0))].mean())
    return numpy.mean(result), numpy.std(result)


def test_json_and_text(scores, lfw):
    found = invoke(scores, "-d", "lfw", "--json")
    mean, deviation = field_accuracy(lfw)
    assert (found["accuracy"], found["accuracy_std"]) == (mean, deviation)
    assert found["database"] == "lfw"
    assert 0.9 < found["accuracy"] < 0.97
    assert found["tar_at_far"]["0.0001"] is None
    assert 0 < found["tar_at_far"]["0.001"] < found["tar_at_far"]["0.01"] < 1
    assert len(found["accuracy_per_fold"]) == 10
    output = invoke(scores, "-d", "lfw")
    assert f"{mean:.2%} ± {deviation:.2%} over 10 folds" in output
    assert "3,000 genuine, 3,000 impostor\n" in output
    assert "needs 10,000 impostor pairs" in output
    assert "lfw.bin" in output


def test_pairs_of_ones_own(tmp_path):
    (tmp_path / "mine").mkdir()
    lines = ["left,right,genuine"] + [f"{n}.png,{n + 1}.png,{int(n < 12)}" for n in range(30)]
    (tmp_path / "mine" / "pairs.csv").write_text("\n".join(lines))
    for n in range(31):
        Image.new("L", (112, 112), n).save(tmp_path / "mine" / f"{n}.png")
    database = tmp_path / "mine" / "pairs.csv"
    pairs = Verification.from_csv(database).pairs()
    pairs["score"] = -0.5 * ~pairs["genuine"]
    pairs.loc[3, "score"] = -numpy.inf
    path = write(tmp_path / "scores-dev.csv", pairs)
    found = invoke(path, "-d", database, "--json")
    numbers = [found[name] for name in ("database", "genuine", "impostors", "never_match")]
    assert numbers == ["mine", 12, 18, 1]
    assert found["accuracy"] < 1
    assert not found["recorded"]
    output = invoke(path, "-d", database)
    assert "warning" in output
    assert "12 genuine, 18 impostor; 1 never match" in output


def test_scores_of_another_student_are_refused(tmp_path, scores):
    student = tmp_path / "run" / "student.safetensors"
    student.write_bytes(b"weights")
    write_record(scores, "lfw", student, Verification("lfw").fingerprint())
    assert invoke(scores, "-d", "lfw", "--json")["recorded"]
    student.write_bytes(b"trained further")
    assert "trained further or replaced" in invoke(scores, "-d", "lfw", fails=1)


def test_own_configuration(tmp_path, scores):
    config = tmp_path / "own.py"
    config.write_text(
        "from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase\n"
        f"database = PairDatabase('lfw', {str(tmp_path)!r})\n"
        # Bob takes both from one file; here the student is not needed
        "from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline\n"
        "pipeline = student_pipeline('/none/such.safetensors')\n"
    )
    assert "3,000 genuine" in invoke(scores, "-d", config)


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("calfw", "6,000 of 6,000 rows are of 'lfw', and calfw was expected"),
        ("lfv", "Choose one of lfw, calfw"),
        ("lfv", "Did you mean 'lfw'?"),
        ("none.py", "there is no benchmark `none.py`"),
        ("none.csv", "there is no benchmark `none.csv`"),
        ("broken.py", "cannot run broken.py: ModuleNotFoundError: No module named 'nix'"),
        ("empty.py", "empty.py defines no `database`"),
    ],
)
def test_errors_are_words(tmp_path, monkeypatch, scores, database, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import nix\n")
    (tmp_path / "empty.py").write_text("database = 3\n")
    assert expected in invoke(scores, "-d", database, fails=1)


def test_short_file(scores):
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join(lines[:5000]) + "\n")
    assert "1,001 of 6,000 pairs are missing" in invoke(scores, "-d", "lfw", fails=1)


def test_accuracy_does_not_wait_for_bob(scores):
    code = (
        "import sys; from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy; "
        f"accuracy([{str(scores)!r}, '-d', 'lfw', '--json'], standalone_mode=False); "
        "print(sorted({'torch', 'bob.bio.base'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
