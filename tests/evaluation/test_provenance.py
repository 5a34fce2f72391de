"""Scores are believed to be of what their record says, as long as that is what lies there."""

import hashlib
import json

import pytest
from score_files import FakeBenchmark, write_record, write_scores

from bob.paper.ijcb2023_synthdistill.evaluation.provenance import trace
from bob.paper.ijcb2023_synthdistill.evaluation.report import describe_provenance, make_report
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def run(tmp_path):
    """A run folder with scores and their record."""
    folder = tmp_path / "run"
    write_scores(folder / "lfw" / "scores-dev.csv", "lfw")
    (folder / "student.safetensors").write_bytes(b"weights")
    (folder / "options.json").write_text(
        '{"options": {"resampling_coefficient": 1, "epochs": 0, "sampling": "dynamic"}}'
    )
    write_record(folder / "lfw" / "scores-dev.csv", "lfw", folder / "student.safetensors")
    return folder


def report(run):
    rows = [{"label": "row", "folders": [run]}]
    declared = {"title": "t", "metric": "accuracy", "properties": [], "rows": rows}
    return make_report(declared, [FakeBenchmark("lfw")])


def test_a_value_traces_back_to_its_files(run):
    found = report(run)
    text = describe_provenance(found.rows)
    for path in (run / "lfw" / "scores-dev.csv", run / "student.safetensors", run / "options.json"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" in text
    assert "images   pairs and images of lfw  made up" in text
    assert f"row | lfw: {found.rows[0].cells['lfw']!r}" in text
    assert not any("Scores of" in note for note in found.table.notes)


def test_scores_without_a_record_are_marked(run):
    (run / "lfw" / "scores-dev.json").unlink()
    found = report(run)
    assert found.table.rows["lfw"].notna().all()
    assert "Scores of unknown origin: row (LFW)." in found.table.notes
    assert "no record says what was used" in describe_provenance(found.rows)


def test_a_network_elsewhere_that_was_replaced_is_marked(run):
    elsewhere = run.parent / "teacher.pth"
    (run / "student.safetensors").rename(elsewhere)
    write_record(run / "lfw" / "scores-dev.csv", "lfw", elsewhere)
    assert not any("Scores of" in note for note in report(run).table.notes)
    elsewhere.write_bytes(b"another teacher")
    assert f"Scores of a former content of {elsewhere}: row (LFW)." in report(run).table.notes


def trained_further(run):
    (run / "student.safetensors").write_bytes(b"more weights")


def half_way(run):
    write_scores(run / "lfw" / "scores-dev.csv", "lfw", seed=9)


def record(change):
    def rewrite(run):
        path = run / "lfw" / "scores-dev.json"
        path.write_text(change(path.read_text()))

    return rewrite


def other_images(text):
    found = json.loads(text)
    found["database"]["fingerprint"] = "5"
    return json.dumps(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (trained_further, "is of another network .* trained further or replaced. Evaluate again"),
        (half_way, "is not what its evaluation wrote.*ended half-way. Evaluate again"),
        (record(other_images), "is of other pairs or images than lfw has now .* Evaluate again"),
        (record(lambda text: text[: len(text) // 2]), "cannot read .*scores-dev.json"),
        (record(lambda text: text.replace('"format": 1', '"format": 0')), "another form"),
        (record(lambda _: '{"network": [], "scores_sha256": 3}'), "cannot read .*scores-dev.json"),
    ],
)
def test_what_does_not_match_is_refused(run, change, words):
    change(run)
    found = report(run)
    assert "lfw" not in found.table.rows
    assert len(found.problems) == 1
    with pytest.raises(SynthDistillError, match=words):
        trace(run / "lfw" / "scores-dev.csv", run, FakeBenchmark("lfw").fingerprint)
