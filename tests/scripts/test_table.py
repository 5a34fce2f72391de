import csv
import json

import pytest
from invoking import invoke
from score_files import FakeBenchmark, write_scores

from bob.paper.ijcb2023_synthdistill.evaluation import results
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student
from bob.paper.ijcb2023_synthdistill.scripts.table import table


@pytest.fixture
def run(monkeypatch):
    """Give what the command prints."""
    monkeypatch.setattr(results, "Verification", FakeBenchmark)
    monkeypatch.setattr(FakeBenchmark, "from_csv", lambda path: FakeBenchmark("own"), raising=False)
    return lambda *arguments, **options: invoke(table, *arguments, **options).output


@pytest.fixture
def folder(tmp_path):
    """Two models with scores on two databases, one of them trained here."""
    for name, distance in (("teacher", 3.0), ("student_a", 1.0)):
        for database in ("lfw", "cfp-fp"):
            write_scores(tmp_path / name / database / "scores-dev.csv", database, distance=distance)
    options = {"resampling_coefficient": 1.0, "epochs": 2, "sampling": "dynamic"}
    (tmp_path / "student_a" / "options.json").write_text(
        json.dumps({"options": options, "identity_kept": 0.62})
    )
    (tmp_path / "student_a" / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "student_a" / "log.csv").write_text(
        "epoch,images,loss_fresh,validation_cosine\n1,100,0.5,0.6\n2,200,0.4,0.7\n"
    )
    return tmp_path


def measured(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["model"]: row for row in csv.DictReader(stream) if row["kind"] == "measured"}


def test_table_of_a_results_folder(run, folder):
    output = run(folder, "-d", "lfw", "-d", "calfw")
    rows = measured(folder / "table.csv")
    assert list(rows) == ["student_a", "teacher"]
    assert 0.9 < float(rows["teacher"]["lfw"]) < 1
    assert rows["teacher"]["calfw"] == ""
    assert (rows["student_a"]["images"], rows["student_a"]["coefficient"]) == ("200", "1")
    assert rows["student_a"]["sampling"] == "dynamic"
    assert rows["student_a"]["identity_kept"] == "0.62"
    # published rows of small networks stand below where real benchmarks are
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    assert "*EdgeFace-S* [" in markdown
    assert "DCFace" not in markdown
    assert markdown.strip() in output
    for name in ("roc-lfw", "det-lfw", "histogram-lfw", "training"):
        for suffix in ("png", "pdf"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 1000
    # no model was evaluated on it: nothing to draw
    assert not (folder / "roc-calfw.png").exists()
    # others if asked for, or none
    assert "*DCFace* [" in run(folder, "-d", "lfw", "--no-plots", "--published")
    assert "EdgeFace" not in run(folder, "-d", "lfw", "--no-plots", "--no-published")


def test_differences_to_a_reference(run, folder):
    output = run(folder, "-d", "lfw", "--no-plots", "--reference", "student_a")
    assert r"Differences to student\_a are in points of accuracy" in output
    rows = measured(folder / "table.csv")
    assert rows["student_a"]["lfw_difference"] == ""
    value, low, high = (
        float(rows["teacher"][f"lfw_difference{end}"]) for end in ("", "_low", "_high")
    )
    assert 0 < low < value < high
    assert value == pytest.approx(float(rows["teacher"]["lfw"]) - float(rows["student_a"]["lfw"]))
    # the mean of several benchmarks; and a row may name a reference of its own
    rows = folder / "rows.toml"
    rows.write_text(
        f"""databases = ["lfw", "cfp-fp"]
        plot = {{ x = "images", xlabel = "images", benchmark = "mean", by_section = true }}
        [[rows]]
        label = "one"
        folders = ["{folder / "student_a"}"]
        [[rows]]
        label = "other"
        reference = "one"
        folders = ["{folder / "teacher"}"]
        """
    )
    assert "Differences to one are" in run("--rows", rows, "-o", folder / "out")
    rows = measured(folder / "out" / "table.csv")
    for end in ("", "_difference"):
        one, other = (float(rows["other"][f"{name}{end}"]) for name in ("lfw", "cfp-fp"))
        assert float(rows["other"][f"mean{end}"]) == pytest.approx((one + other) / 2)
    assert float(rows["other"]["mean_difference_low"]) > 0
    assert (folder / "out" / "accuracy-images.png").is_file()
    words = "'studnt_a' is no row that is measured"
    assert words in run(folder, "-d", "lfw", "--reference", "studnt_a", code=1)


def test_output_database_metric_and_no_extras(run, folder, tmp_path):
    output = run(folder, "-o", tmp_path / "out", "-d", "lfw", "-m", "eer", "--no-plots")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["table.csv", "table.md", "table.tex"]
    assert "published" not in output
    assert "Equal error rate" in output
    assert "cannot stand beside" in run(folder, "-m", "eer", "--published", code=2)


def test_toyfaces_are_never_beside_published_results(run, tmp_path):
    write_scores(tmp_path / "m" / "toyfaces-lfw" / "scores-dev.csv", "toyfaces-lfw")
    output = run(tmp_path, "--no-plots")
    assert "published" not in output
    assert "drawn faces" in output
    run(tmp_path, "--published", code=2)


def test_wrong_files_are_named_and_tell_by_the_exit_status(run, folder):
    broken = folder / "student_a" / "lfw" / "scores-dev.csv"
    broken.write_text("\n".join(broken.read_text().splitlines()[:-7]) + "\n")
    (folder / "teacher" / "cfp-fp" / "scores-dev.csv").unlink()
    output = run(folder, "--no-plots", code=1)
    assert str(broken) in output
    assert "7 of 200 pairs are missing" in output
    assert f"{folder / 'teacher' / 'cfp-fp' / 'scores-dev.csv'} is missing" in output
    rows = measured(folder / "table.csv")
    assert (rows["student_a"]["lfw"], rows["teacher"]["cfp-fp"]) == ("", "")
    assert rows["student_a"]["cfp-fp"]
    assert rows["teacher"]["lfw"]
    assert "cannot read the results in" in run(folder / "nowhere", code=1)


def test_pairs_of_ones_own_are_a_column(run, folder):
    write_scores(folder / "teacher" / "own" / "scores-dev.csv", "own", distance=2.0)
    words = "own is no benchmark. Give its pairs with -d"
    assert words in run(folder, "--no-plots")
    (folder / "pairs.csv").touch()
    output = run(folder, "-d", "lfw", "-d", folder / "pairs.csv")
    assert "| own own |" in " ".join(output.split())
    assert words not in output
    rows = measured(folder / "table.csv")
    assert 0.5 < float(rows["teacher"]["own"]) < 1
    assert rows["student_a"]["own"] == ""
    assert (folder / "roc-own.png").exists()


def test_pairs_that_never_match_are_counted(run, folder):
    path = folder / "teacher" / "lfw" / "scores-dev.csv"
    assert "could not be used" not in run(folder, "-d", "lfw", "--no-plots")
    lines = path.read_text().splitlines()
    lines[5:8] = [line.rpartition(",")[0] + ",-inf" for line in lines[5:8]]
    path.write_text("\n".join(lines))
    assert "could not be used: teacher (LFW) 3." in run(folder, "-d", "lfw")
    rows = measured(folder / "table.csv")
    assert [rows[name]["lfw_never_match"] for name in ("teacher", "student_a")] == ["3", ""]


def test_no_table_is_replaced_by_an_empty_one(run, folder):
    run(folder, "--no-plots")
    before = (folder / "table.md").read_bytes()
    output = run(folder, "-d", "calfw", "--no-plots", code=1)
    assert "was evaluated on calfw, and a table without values is not written" in output
    assert (folder / "table.md").read_bytes() == before


def test_complexity_and_provenance(run, folder):
    path = folder / "student_a" / "student.safetensors"
    # these weights are none: the row stays, the file is named
    assert str(path) in run(folder, "--no-plots", "--complexity", code=1)
    assert measured(folder / "table.csv")["student_a"]["lfw"]
    save_student(path, create_student("test_efficientnet", initialisation="random"))
    output = run(folder, "--no-plots", "--time", "--no-published", "--provenance")
    rows = measured(folder / "table.csv")
    for name in ("parameters", "multiply_adds", "file_size", "seconds"):
        assert float(rows["student_a"][name]) > 0
        assert rows["teacher"][name] == ""
    for words in ("multiply-adds (M)", "file (MB)", "ms an image", "one thread and batch 1"):
        assert words in output
    assert (folder / "provenance.txt").read_text() in output


ROWS = """
title = "Declared"
databases = ["lfw"]
properties = ["training_data", "coefficient"]
notes = ["What else to know."]

[plot]
x = "coefficient"
xlabel = "coefficient"

[[rows]]
label = "two seeds"
section = "first"
folders = ["{0}/student_a", "{0}/teacher"]
training_data = "generated"

[[rows]]
label = "not asked for"
section = "first"

[[rows]]
published = {{ model = "DCFace", synthetic_images = "1.2M" }}
"""


def test_declared_rows(run, folder, tmp_path):
    declared = tmp_path / "out" / "rows.toml"
    declared.parent.mkdir()
    declared.write_text(ROWS.format(folder))
    run("--rows", declared)
    rows = measured(declared.with_name("table.csv"))
    assert list(rows) == ["two seeds", "not asked for"]
    assert (rows["two seeds"]["seeds"], rows["two seeds"]["coefficient"]) == ("2", "1")
    assert float(rows["two seeds"]["lfw_std"]) > 0
    assert rows["not asked for"]["lfw"] == ""
    markdown = declared.with_name("table.md").read_text()
    for words in ("**Declared**", "*98.58*", "What else to know."):
        assert words in markdown
    assert "student_a/lfw/scores-dev.csv" in declared.with_name("provenance.txt").read_text()
    assert declared.with_name("accuracy-coefficient.png").exists()
    run("--rows", declared, folder, code=2)
    run(code=2)
    for wrong, words in (
        (ROWS.replace("\nlabel = ", "\nlable = ", 1), "unknown name 'lable'. Did you mean 'label'"),
        ("title = 3 4", "cannot read the declared table"),
        ("[[rows]]", "a row has no label"),
        ("rows = []", "'databases'"),
        ('metric = "tar"' + ROWS, "unknown name 'tar'"),
        (ROWS.replace('"coefficient"]', '"coeficient"]'), "Did you mean 'coefficient'"),
    ):
        declared.write_text(wrong.format(folder))
        assert words in run("--rows", declared, code=1)
