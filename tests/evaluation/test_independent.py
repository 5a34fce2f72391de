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
from test_pipeline import SCORES, run

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase
from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
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
    run(teacher_pipeline(toyfaces.TEACHER), database, output)
    by_name = {
        frozenset((row.probe_template_id, row.bio_ref_template_id)): row.score
        for row in pd.read_csv(output / SCORES).itertuples()
    }
    pairs = database.pairs()
    ours = [by_name[frozenset(names)] for names in zip(pairs["left"], pairs["right"], strict=True)]
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


@pytest.fixture
def one(photographs, tmp_path):
    """A folder with a photograph and three others."""
    folder = tmp_path / "one"
    folder.mkdir()
    for path, new in zip(sorted(photographs.glob("*.png")), "abcd", strict=False):
        (folder / f"{new}.png").write_bytes(path.read_bytes())
    return folder


def score(folder, name, output, **options):
    """Score pairs of which two are of the photograph ``name``: these two, and all."""
    rows = [f"{name},b.png,1,0", f"{name},c.png,0,0", "c.png,b.png,1,1", "d.png,b.png,0,1"]
    (folder / "pairs.csv").write_text("\n".join(["left,right,genuine,fold", *rows]))
    database = PairDatabase.from_csv(folder / "pairs.csv", **options)
    run(teacher_pipeline(toyfaces.TEACHER), database, output)
    found = pd.read_csv(output / SCORES)
    named = found["probe_template_id"] + found["bio_ref_template_id"]
    return sorted(found["score"][named.str.contains(f"/{name}", regex=False)]), found["score"]


def test_the_same_picture_in_another_form_has_the_same_score(one, tmp_path):
    expected, _ = score(one, "a.png", tmp_path / "a")
    assert len(set(expected)) == 2
    image = Image.open(one / "a.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned back, clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(one / "exif.png", exif=exif)
    image.convert("RGBA").save(one / "rgba.png")
    for name in ("exif.png", "rgba.png"):
        assert score(one, name, tmp_path / name)[0] == expected, name
    image.convert("L").save(one / "grey.png")
    image.convert("L").convert("RGB").save(one / "grey3.png")
    grey, grey3 = (score(one, name, tmp_path / name)[0] for name in ("grey.png", "grey3.png"))
    assert grey == grey3


def test_twenty_megapixels_are_cropped_to_the_same_face(one, tmp_path):
    expected, _ = score(one, "a.png", tmp_path / "small")
    scale, eyes = 40, ["path,reye_y,reye_x,leye_y,leye_x"]
    large = Image.open(one / "a.png").resize((112 * scale,) * 2, Image.Resampling.BICUBIC)
    large.save(one / "a.png")
    for name, by in zip("abcd", (scale, 1, 1, 1), strict=True):
        places = [(place + 0.5) * by - 0.5 for place in (51.6, 38.2946, 51.6, 73.5318)]
        eyes.append(",".join([f"{name}.png", *map(str, places)]))
    (one / "eye_positions.csv").write_text("\n".join(eyes))
    found, _ = score(one, "a.png", tmp_path / "large")
    assert np.abs(np.subtract(found, expected)).max() < 0.1


@pytest.mark.parametrize("form", ["truncated", "sixteen bits"])
def test_what_cannot_be_decoded_rightly_is_refused_or_never_matches(one, tmp_path, form):
    content = (one / "a.png").read_bytes()
    if form == "truncated":
        (one / "a.png").write_bytes(content[: len(content) // 2])
    else:
        deep = np.asarray(Image.open(one / "a.png").convert("L"), np.uint16) * 257
        Image.fromarray(deep).save(one / "a.png")
    with pytest.raises(SynthDistillError, match=r"a\.png"):
        score(one, "a.png", tmp_path / "out")
    assert not (tmp_path / "out" / SCORES).exists()
    never, every = score(one, "a.png", tmp_path / "out", missing="never-match")
    assert never == [-np.inf, -np.inf]
    assert np.isfinite(every).sum() == 2
    record = json.loads((tmp_path / "out" / "scores-dev.json").read_text())
    assert list(record["database"]["unusable"]) == ["a.png"]


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
