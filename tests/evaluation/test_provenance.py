"""Scores are believed to be of what their record says, as long as that is what lies there."""

import hashlib
import json

import pytest
from score_files import FakeBenchmark, reader, write_record, write_scores

from bob.paper.ijcb2023_synthdistill.evaluation.provenance import describe_provenance, trace
from bob.paper.ijcb2023_synthdistill.evaluation.report import make_report
from bob.paper.ijcb2023_synthdistill.evaluation.results import Entry
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def run(tmp_path):
    """A run folder with scores and their record."""
    write_scores(tmp_path / "run" / "lfw" / "scores-dev.csv", "lfw")
    (tmp_path / "run" / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "options.json").write_text("{}")
    write_record(
        tmp_path / "run" / "lfw" / "scores-dev.csv", "lfw", tmp_path / "run" / "student.safetensors"
    )
    return tmp_path / "run"


def table(run):
    report = make_report("t", [Entry("row", [run])], reader("lfw"))
    return report, [report.table.rows.get("lfw"), *report.table.notes, *report.problems]


def test_a_value_traces_back_to_its_files(run):
    report, _ = table(run)
    text = describe_provenance(report.traced)
    for path in (run / "lfw" / "scores-dev.csv", run / "student.safetensors", run / "options.json"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" in text
    assert "images   pairs and images of lfw  made up" in text
    assert f"row | lfw: {report.traced[0].value!r}" in text
    assert not any("Scores of" in note for note in report.table.notes)


def test_scores_without_a_record_are_marked(run):
    (run / "lfw" / "scores-dev.json").unlink()
    report, _ = table(run)
    assert report.table.rows["lfw"].notna().all()
    assert "Scores of unknown origin: row (LFW)." in report.table.notes
    assert "no record says what was used" in describe_provenance(report.traced)


def test_a_network_elsewhere_that_was_replaced_is_marked(run):
    elsewhere = run.parent / "teacher.pth"
    (run / "student.safetensors").rename(elsewhere)
    write_record(run / "lfw" / "scores-dev.csv", "lfw", elsewhere)
    assert not any("Scores of" in note for note in table(run)[0].table.notes)
    elsewhere.write_bytes(b"another teacher")
    assert f"Scores of a former content of {elsewhere}: row (LFW)." in table(run)[0].table.notes


def trained_further(run):
    (run / "student.safetensors").write_bytes(b"more weights")


def half_way(run):
    write_scores(run / "lfw" / "scores-dev.csv", "lfw", seed=9)


def other_images(run):
    record = json.loads((run / "lfw" / "scores-dev.json").read_text())
    record["database"]["fingerprint"] = "5"
    (run / "lfw" / "scores-dev.json").write_text(json.dumps(record))


def torn(run):
    text = (run / "lfw" / "scores-dev.json").read_text()
    (run / "lfw" / "scores-dev.json").write_text(text[: len(text) // 2])


def older(run):
    text = (run / "lfw" / "scores-dev.json").read_text()
    (run / "lfw" / "scores-dev.json").write_text(text.replace('"format": 1', '"format": 0'))


def of_another_form(run):
    (run / "lfw" / "scores-dev.json").write_text('{"network": [], "scores_sha256": 3}')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (trained_further, "is of another network .* trained further or replaced. Evaluate again"),
        (half_way, "is not what its evaluation wrote .* ended half-way. Evaluate again"),
        (other_images, "is of other pairs or images than lfw has now .* Evaluate again"),
        (torn, "cannot read .*scores-dev.json"),
        (older, "another form"),
        (of_another_form, "cannot read .*scores-dev.json"),
    ],
)
def test_what_does_not_match_is_refused(run, change, words):
    change(run)
    report, _ = table(run)
    assert "lfw" not in report.table.rows
    assert len(report.problems) == 1
    with pytest.raises(SynthDistillError, match=words):
        trace(run / "lfw" / "scores-dev.csv", run, FakeBenchmark("lfw").fingerprint)
