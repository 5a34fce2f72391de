"""Pairs of one's own, from the list to the accuracy."""

import pickle
import re

import numpy
import pytest
from score_files import Pixels, evaluate
from small_images import encode

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import summary
from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase
from bob.paper.ijcb2023_synthdistill.benchmarks.images import ImageSource, load_image
from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import network_pipeline
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def own_pairs(tmp_path):
    """Photographs of one's own, one in two formats: 30 genuine and 7 impostor pairs, no folds."""
    folder = tmp_path / "Our photographs"
    (folder / "sub").mkdir(parents=True)
    for number in range(20):
        (folder / f"sub/{number}.png").write_bytes(encode(number))
    (folder / "sub/0.jpg").write_bytes(encode(99, kind="JPEG"))
    rows = [f"sub/{k % 10}.png,sub/{10 + k % 10}.png,1" for k in range(30)]
    rows[3:3] = [f"sub/{k}.png,sub/0.jpg,0" for k in range(1, 8)]
    (folder / "pairs.csv").write_text("\n".join(["left,right,genuine", *rows]) + "\n")
    return folder / "pairs.csv"


def test_pairs_of_ones_own(tmp_path, own_pairs):
    database = PairDatabase.from_csv(own_pairs, name="mine", title="Mine")
    assert (database.name, database.title) == ("mine", "Mine")
    found = database.describe()
    assert "37 pairs (30 genuine and 7 impostor, in 7 folds made in their order)" in found
    evaluate(network_pipeline(Pixels, mirror=False), database, tmp_path / "out")
    scores = read_scores(tmp_path / "out" / "scores-dev.csv", database)
    sources = [ImageSource(str(own_pairs.parent / f"sub/{key}")) for key in ("4.png", "0.jpg")]
    one, other = (Pixels.embed(load_image(source)) for source in sources)
    # the file that the list names, and not the one of the same name in another format
    assert scores["right"][6] == "mine/sub/0.jpg"
    cosine = one @ other / numpy.linalg.norm(one) / numpy.linalg.norm(other)
    assert scores["score"][6] == pytest.approx(cosine - 1, abs=1e-6)
    result = summary(scores)
    assert (result["genuine"], result["impostors"]) == (30, 7)
    assert len(result["accuracy_per_fold"]) == 7
    # in the same place without a name, and elsewhere
    assert PairDatabase.from_csv(str(own_pairs)).name == "Our-photographs"
    own_pairs.rename(tmp_path / "list.csv")
    other = PairDatabase.from_csv(tmp_path / "list.csv", directory=own_pairs.parent)
    assert other.name == "list"
    assert other.fingerprint() == database.fingerprint()
    assert pickle.loads(pickle.dumps(other)).pairs().equals(other.pairs())


def test_own_pairs_with_folds_and_eyes(own_pairs, write_eyes):
    lines = own_pairs.read_text().split()
    labels = {"0": "False", "1": "genuine"}
    rows = [f"{line[:-1]}{labels[line[-1]]},{k % 3 + 1}" for k, line in enumerate(lines[1:])]
    folder, moved = own_pairs.parent, own_pairs.parents[1] / "elsewhere/list.csv"
    moved.parent.mkdir()
    moved.write_text("\n".join(["left,right,genuine,fold", *rows]))
    write_eyes(folder, "{path},50,{path.stem},50,90")
    # the list lies elsewhere, the eyes with the images
    database = PairDatabase.from_csv(moved, directory=folder)
    assert database.pairs()["fold"].tolist() == [k % 3 + 1 for k in range(37)]
    assert "in 3 folds)" in database.describe()
    found = dict(zip(database.opened.pairs.images, database.opened.eyes, strict=True))
    assert found["sub/7.png"] == {"reye": (50, 7), "leye": (50, 90)}
    before = database.fingerprint()
    write_eyes(folder, "{path},50,{path.stem},50,91")
    assert PairDatabase.from_csv(moved, directory=folder).fingerprint() != before


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a,b,c", "1,2,1"], "must have the columns left, right, genuine"),
        (["left,right,genuine", "1,2,maybe"], "line 2: `genuine` is 'maybe': 1 or 0"),
        (["left,right,genuine,fold", "1,2,1,0", "1,2,1,"], "line 3: `fold` is ''"),
        (["left,right,genuine", "1,2,1", "1,3,1"], "2 pairs (2 genuine and 0 impostor"),
        (["left,right,genuine,fold", "1,2,1,4", "1,3,0,4"], "1 impostor, in 1 folds"),
        (["left,right,genuine", "../1,2,1"], "line 2: '../1' cannot be an image"),
        (["left,right,genuine", "1,x,1", "1,3,0", "2,3,0"], "1 of 4 images of photos are missing"),
    ],
)
def test_own_lists_that_cannot_be_used(tmp_path, rows, expected):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.png").write_bytes(encode(number))
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(SynthDistillError, match=re.escape(expected)):
        Verification.from_csv(folder / "pairs.csv").pairs()


def test_names_of_own_lists(tmp_path):
    for name in ("lfw", "../up", "a b", ""):
        with pytest.raises(SynthDistillError, match="choose another one"):
            PairDatabase.from_csv("pairs.csv", name=name)
    assert Verification.from_csv(tmp_path / "lfw/pairs.csv").name == "lfw-pairs"
    with pytest.raises(SynthDistillError, match=r"cannot read .*nowhere\.csv"):
        Verification.from_csv(tmp_path / "nowhere.csv").pairs()
