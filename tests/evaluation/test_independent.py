"""The whole way, from photographs to the accuracy, against a second computation of its own."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from score_files import SCORES, evaluate

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase
from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import teacher_pipeline
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.scripts.accuracy import accuracy
from bob.paper.ijcb2023_synthdistill.scripts.table import table

PAIRS = 300


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """300 pairs of drawn faces, 99 of them genuine, as lossless pictures with a list."""
    folder = tmp_path_factory.mktemp("mine")
    source = Verification("toyfaces-lfw", pairs=420).opened
    pairs = source.pairs
    chosen = [*np.flatnonzero(pairs.genuine)[:99], *np.flatnonzero(~pairs.genuine)[: PAIRS - 99]]
    rows = ["left,right,genuine,fold"]
    for number, pair in enumerate(chosen):
        sides = [side[pair] for side in (pairs.left, pairs.right)]
        for side in sides:
            pixels = load_image(source.sources[side]).transpose(1, 2, 0)
            Image.fromarray(pixels).save(folder / f"{side:05d}.png")
        names = ",".join(f"{side:05d}.png" for side in sides)
        rows.append(f"{names},{pairs.genuine[pair]},{number % 7}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder


def by_hand(folder):
    """Compute scores with plain torch and numpy, and the accuracy pair by pair."""
    teacher = load_teacher(toyfaces.TEACHER)
    rows = pd.read_csv(folder / "pairs.csv")

    def embed(name):
        with Image.open(folder / name) as image:
            pixels = torch.tensor(np.array(image.convert("RGB"))).permute(2, 0, 1)
        face = pixels.float()[None] / 127.5 - 1
        with torch.no_grad():
            return (teacher(face) + teacher(face.flip(-1)))[0].double().numpy()

    found = {name: embed(name) for name in {*rows["left"], *rows["right"]}}
    scores, distances = [], []
    for left, right in zip(rows["left"], rows["right"], strict=True):
        a, b = (found[name] / np.sqrt((found[name] ** 2).sum()) for name in (left, right))
        scores.append(float(a @ b) - 1)
        distances.append(((a - b) ** 2).sum())
    right_in_fold = []
    for fold in sorted(set(rows["fold"])):
        best, threshold = -1, None
        for candidate in np.arange(0, 4, 0.01):
            right = 0
            for distance, genuine, f in zip(distances, rows["genuine"], rows["fold"], strict=True):
                right += f != fold and (distance < candidate) == bool(genuine)
            if right > best:
                best, threshold = right, candidate
        inside = [i for i, f in enumerate(rows["fold"]) if f == fold]
        right = sum((distances[i] < threshold) == bool(rows["genuine"][i]) for i in inside)
        right_in_fold.append(right / len(inside))
    return scores, np.mean(right_in_fold), np.std(right_in_fold)


def test_scores_and_accuracy_are_those_of_a_second_computation(photographs, tmp_path):
    expected, mean, deviation = by_hand(photographs)
    database = PairDatabase.from_csv(photographs / "pairs.csv", name="mine", title="My pairs")
    output = tmp_path / "teacher" / "mine"
    evaluate(teacher_pipeline(toyfaces.TEACHER), database, output)
    ours = read_scores(output / SCORES, database)["score"]
    assert np.abs(np.subtract(ours, expected)).max() < 2e-6
    config = tmp_path / "mine.py"
    config.write_text(
        "from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase\n"
        f"database = PairDatabase.from_csv({str(photographs / 'pairs.csv')!r}, 'mine', "
        "title='My pairs')\n"
    )
    result = CliRunner().invoke(accuracy, [str(output / SCORES), "-d", str(config), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["accuracy"], told["accuracy_std"]) == pytest.approx((mean, deviation), abs=1e-12)
    assert 0.7 < told["accuracy"] < 1
    assert (told["genuine"], told["impostors"], told["recorded"]) == (99, 201, True)
    # and the same figure stands in the table, under the pairs' own title
    result = CliRunner().invoke(table, [str(tmp_path), "-d", str(config), "--no-plots"])
    assert result.exit_code == 0, result.output
    assert "My pairs" in result.output
    assert f"{100 * mean:.2f} ± {100 * deviation:.2f}" in result.output
    assert "unknown origin" not in result.output


def turned(image, path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned back, clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def truncated(image, path):
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sixteen_bits(image, path):
    Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(path)


FORMS = {
    "plain": lambda image, path: image.save(path),
    "exif": turned,
    "rgba": lambda image, path: image.convert("RGBA").save(path),
    "grey": lambda image, path: image.convert("L").save(path),
    "grey as RGB": lambda image, path: image.convert("L").convert("RGB").save(path),
    "truncated": truncated,
    "16 bits": sixteen_bits,
}


def test_one_picture_in_many_forms(photographs, tmp_path):
    """Each has the score of the same pixels, or is refused, or never matches."""
    first, *others = sorted(photographs.glob("*.png"))[:4]
    rows = ["left,right,genuine,fold"]
    for fold, other in enumerate(others):
        (tmp_path / other.name).write_bytes(other.read_bytes())
        rows += [f"{name}.png,{other.name},{int(not fold)},{fold}" for name in FORMS]
    for name, save in FORMS.items():
        save(Image.open(first).convert("RGB"), tmp_path / f"{name}.png")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    with pytest.raises(SynthDistillError, match=r"(?s)16 bits\.png.*8 bits were expected"):
        PairDatabase.from_csv(tmp_path / "pairs.csv").references()
    with pytest.raises(SynthDistillError, match=r"2 of 10 images.*truncated\.png"):
        PairDatabase.from_csv(tmp_path / "pairs.csv").check()
    database = PairDatabase.from_csv(tmp_path / "pairs.csv", missing="never-match")
    evaluate(teacher_pipeline(toyfaces.TEACHER), database, tmp_path / "out")
    scores = read_scores(tmp_path / "out" / SCORES, database)["score"].to_numpy()
    found = dict(zip(FORMS, scores.reshape(3, -1).T.tolist(), strict=True))
    assert len(set(found["plain"])) == 3
    assert found["plain"] == found["exif"] == found["rgba"] != found["grey"]
    assert found["grey"] == found["grey as RGB"]
    assert found["truncated"] == found["16 bits"] == [-np.inf] * 3
    record = json.loads((tmp_path / "out" / "scores-dev.json").read_text())
    assert sorted(record["database"]["unusable"]) == ["16 bits.png", "truncated.png"]


def test_a_network_of_ones_own_is_evaluated_and_tabulated(photographs, tmp_path):
    (tmp_path / "my_networks.py").write_text(
        "import torch\n\n"
        "class Mine(torch.nn.Module):\n"
        "    def forward(self, faces):\n"
        "        return torch.nn.functional.avg_pool2d(faces, 16).view(len(faces), -1)\n"
    )
    (tmp_path / "mine.py").write_text(
        "from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import network_pipeline\n"
        'pipeline = network_pipeline("my_networks:Mine")\n'
    )
    (tmp_path / "pairs.py").write_text(
        "from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase\n"
        f"database = PairDatabase.from_csv({str(photographs / 'pairs.csv')!r}, 'photographs')\n"
    )
    main = "from bob.cli import bob_main_cli as main; main()"
    command = "bio pipeline simple -d pairs.py -p mine.py -o results/mine/photographs"
    command += " -l local-parallel"
    done = subprocess.run(
        [sys.executable, "-c", main, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("photographs: accuracy ")
    # nothing about how dask ended, nor of what needs no training
    for word in ("Lost all", "killed", "Traceback", "[ERROR", "[WARNING", "distributed."):
        assert word not in done.stderr
    arguments = [str(tmp_path / "results"), "-d", str(tmp_path / "pairs.py"), "--no-plots"]
    result = CliRunner().invoke(table, arguments)
    assert result.exit_code == 0, result.output
    assert "| photographs |" in " ".join(result.output.split())
    assert "| mine |" in " ".join(result.output.split())
