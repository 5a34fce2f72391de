"""Score files are joined by pair, or refused by name and count."""

import csv
import math
import re
import types

import pandas
import pytest

from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

# a repeated pair, the same pair the other way round, an image with itself, awkward names
PAIRS = [
    ("lfw/a b", "lfw/NA", True, 0),
    ("lfw/ü,x", 'lfw/"q"', False, 0),
    ("lfw/a b", "lfw/NA", True, 1),
    ("lfw/NA", "lfw/a b", True, 1),
    ("lfw/a b", "lfw/a b", True, 2),
]
ROWS = [
    ("lfw/NA", "lfw/a b", "-0.1"),
    ('lfw/"q"', "lfw/ü,x", "-0.30000000000000004"),
    ("lfw/a b", "lfw/a b", "-inf"),
]


@pytest.fixture
def database():
    return types.SimpleNamespace(
        name="lfw",
        pairs=lambda: pandas.DataFrame(PAIRS, columns=["left", "right", "genuine", "fold"]),
        describe=lambda: "five pairs somewhere",
    )


@pytest.fixture
def write(tmp_path):
    def write(rows):
        path = tmp_path / "scores-dev.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["probe_template_id", "probe_x", "bio_ref_template_id", "score"])
            writer.writerows((probe, "x", reference, score) for probe, reference, score in rows)
        return path

    return write


def test_join(database, write):
    scores = read_scores(write(ROWS), database)
    assert scores["score"].tolist() == [-0.1, -0.30000000000000004, -0.1, -0.1, -math.inf]
    assert scores["fold"].tolist() == [0, 0, 1, 1, 2]
    assert scores["left"].tolist() == [pair[0] for pair in PAIRS]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS[1:], "1 of 3 pairs are missing (the first: lfw/NA and lfw/a b)"),
        (
            [*ROWS, ("lfw/a b", "lfw/ü,x", "-1")],
            "1 pairs are not in its list (the first: lfw/a b and lfw/ü,x)",
        ),
        ([*ROWS, ("lfw/a b", "lfw/NA", "-0.1")], "1 pairs have several scores"),
        ([(*ROWS[0][:2], "nan"), *ROWS[1:]], "1 scores are not finite numbers (the first: lfw/NA"),
        (
            [("calfw/x", "calfw/y", "-1")] * 4 + ROWS,
            "another benchmark: 4 of 7 rows are of 'calfw'",
        ),
        (
            [(f"{probe}0", f"{reference}0", score) for probe, reference, score in ROWS],
            "five pairs somewhere",
        ),
    ],
)
def test_refused_by_name_and_count(database, write, rows, expected):
    with pytest.raises(SynthDistillError, match=re.escape(expected)):
        read_scores(write(rows), database)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a b c -0.5\nd e f -0.1\n", "four-column"),
        (b"\xff\xfe\x00", "no score file"),
    ],
)
def test_other_files(database, tmp_path, content, expected):
    path = tmp_path / "scores-dev"
    path.write_bytes(content)
    with pytest.raises(SynthDistillError, match=expected):
        read_scores(path, database)
    with pytest.raises(SynthDistillError, match="cannot read"):
        read_scores(tmp_path / "none", database)
