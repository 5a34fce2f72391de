import csv
from pathlib import Path

import pytest

from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import REAL
from bob.paper.ijcb2023_synthdistill.evaluation import published
from bob.paper.ijcb2023_synthdistill.evaluation.published import published_results, select_published
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def test_every_number_of_the_file_arrives_in_our_units():
    path = Path(published.__file__).with_name("published_results.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    results = published_results().to_dict("records")
    assert len(results) == len(rows) > 40
    for row, result in zip(rows, results, strict=True):
        for name in (benchmark.name for benchmark in REAL):
            value, text = result[name], row[name.replace("-", "_")]
            assert text == "" if value is None else float(f"{value * 100:.2f}") == float(text)
        assert result["section"] == published.SECTIONS[row["group"]]
        assert result["kind"] == "published"
        assert result["source"] == f"{row['source']} ({row['verified']})"


def test_what_the_abstract_does_not_say_is_unknown():
    (result,) = select_published(group="this paper").to_dict("records")
    assert result["lfw"] == 0.9952
    unknown = ("calfw", "cplfw", "cfp-fp", "agedb-30", "parameters", "synthetic_images")
    assert [result[name] for name in unknown] == [None] * 6


def test_models_of_one_name_and_mistyped_ones():
    assert len(select_published(model="DCFace")) == 2
    (result,) = select_published(model="DCFace", synthetic_images="1.2M").to_dict("records")
    assert result["lfw"] == 0.9858
    with pytest.raises(SynthDistillError, match=r"no published result has model = 'DCFase'.*mean"):
        select_published(model="DCFase")
    with pytest.raises(SynthDistillError, match="no field 'modell'"):
        select_published(modell="DCFace")
