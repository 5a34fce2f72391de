import csv
import json
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from score_files import FakeBenchmark, write_record, write_scores

from bob.paper.ijcb2023_synthdistill.evaluation import results
from bob.paper.ijcb2023_synthdistill.scripts.table import table


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(results, "Verification", FakeBenchmark)
    monkeypatch.setattr(FakeBenchmark, "from_csv", lambda path: FakeBenchmark("own"), raising=False)

    def invoke(*arguments):
        return CliRunner().invoke(table, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def folder(tmp_path):
    options = {"options": {"resampling_coefficient": 1.0, "epochs": 2}}
    for name in ("teacher", "student_a"):
        for database in ("lfw", "cfp-fp"):
            path = tmp_path / name / database / "scores-dev.csv"
            write_scores(path, database, distance=3.0 if name == "teacher" else 1.0)
    (tmp_path / "student_a" / "options.json").write_text(json.dumps(options))
    (tmp_path / "student_a" / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "student_a" / "log.csv").write_text(
        "epoch,images,loss_fresh,validation_cosine\n1,100,0.5,0.6\n2,200,0.4,0.7\n"
    )
    return tmp_path


def _rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["model"]: row for row in csv.DictReader(stream) if row["kind"] == "measured"}


def test_table_of_a_results_folder(run, folder):
    result = run(folder, "-d", "lfw", "-d", "calfw")
    assert result.exit_code == 0, result.output
    rows = _rows(folder / "table.csv")
    assert list(rows) == ["student_a", "teacher"]
    assert 0.9 < float(rows["teacher"]["lfw"]) < 1
    assert rows["teacher"]["calfw"] == ""
    # published rows stand below, by default where real benchmarks are
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    assert "*DCFace* [" in markdown
    assert markdown.strip() in result.output
    for name in ("roc-lfw", "det-lfw", "histogram-lfw", "training"):
        for suffix in ("png", "pdf"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 1000
    # no model was evaluated on it: nothing to draw
    assert not (folder / "roc-calfw.png").exists()


def test_output_database_metric_and_no_extras(run, folder, tmp_path):
    result = run(
        folder, "-o", tmp_path / "out", "-d", "lfw", "-m", "eer", "--no-plots"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "table.csv",
        "table.md",
        "table.tex",
    ]
    assert "published" not in result.output
    assert "Equal error rate" in result.output
    assert list(_rows(tmp_path / "out" / "table.csv")["teacher"])[3:-1] == [
        "coefficient",
        "images",
        "lfw",
    ]


def test_published_accuracies_do_not_stand_beside_another_metric(run, folder):
    result = run(folder, "-m", "eer", "--published")
    assert result.exit_code == 2
    assert "cannot stand beside" in result.output


def test_toyfaces_are_never_beside_published_results(run, tmp_path):
    write_scores(tmp_path / "m" / "toyfaces-lfw" / "scores-dev.csv", "toyfaces-lfw")
    result = run(tmp_path, "--no-plots")
    assert result.exit_code == 0, result.output
    assert "published" not in result.output
    assert "drawn faces" in result.output
    assert run(tmp_path, "--published").exit_code == 2


def test_damaged_files_are_named_and_tell_by_the_exit_status(run, folder):
    broken = folder / "student_a" / "lfw" / "scores-dev.csv"
    broken.write_text("\n".join(broken.read_text().splitlines()[:-7]) + "\n")
    (folder / "teacher" / "cfp-fp" / "scores-dev.csv").unlink()
    result = run(folder, "--no-plots")
    assert result.exit_code == 1
    assert "error: " in result.output
    assert str(broken) in result.output
    assert "7 of 200 pairs are missing" in result.output
    assert f"{folder / 'teacher' / 'cfp-fp' / 'scores-dev.csv'} is missing" in result.output
    rows = _rows(folder / "table.csv")
    assert (rows["student_a"]["lfw"], rows["teacher"]["cfp-fp"]) == ("", "")
    assert rows["student_a"]["cfp-fp"]
    assert rows["teacher"]["lfw"]


def test_score_files_under_strange_names_are_mentioned(run, folder):
    write_scores(folder / "teacher" / "lfw_again" / "scores-dev.csv", "lfw")
    result = run(folder, "--no-plots")
    assert result.exit_code == 0
    assert "lfw_again is no benchmark. Give its pairs with -d" in result.output


def test_pairs_of_ones_own_are_a_column(run, folder):
    write_scores(folder / "teacher" / "own" / "scores-dev.csv", "own", distance=2.0)
    (folder / "pairs.csv").touch()
    result = run(folder, "-d", "lfw", "-d", folder / "pairs.csv")
    assert result.exit_code == 0, result.output
    assert "| own own |" in " ".join(result.output.split())
    assert "own is no benchmark" not in result.output
    rows = _rows(folder / "table.csv")
    assert 0.5 < float(rows["teacher"]["own"]) < 1
    assert rows["student_a"]["own"] == ""
    assert (folder / "roc-own.png").exists()


def test_pairs_that_never_match_are_counted(run, folder):
    path = folder / "teacher" / "lfw" / "scores-dev.csv"
    before = run(folder, "-d", "lfw", "--no-plots")
    assert "could not be used" not in before.output
    lines = path.read_text().splitlines()
    lines[5:8] = [line.rpartition(",")[0] + ",-inf" for line in lines[5:8]]
    path.write_text("\n".join(lines))
    result = run(folder, "-d", "lfw")
    assert result.exit_code == 0, result.output
    assert "could not be used: teacher (LFW) 3." in result.output
    assert _rows(folder / "table.csv")["teacher"]["lfw_never_match"] == "3"
    assert _rows(folder / "table.csv")["student_a"]["lfw_never_match"] == ""


def test_no_table_is_replaced_by_an_empty_one(run, folder):
    assert run(folder, "--no-plots").exit_code == 0
    before = (folder / "table.md").read_bytes()
    result = run(folder, "-d", "calfw", "--no-plots")
    assert result.exit_code == 1
    assert "was evaluated on calfw, and a table without values is not written" in result.output
    assert (folder / "table.md").read_bytes() == before


def test_scores_of_another_student_are_refused(run, folder):
    scores = folder / "student_a" / "lfw" / "scores-dev.csv"
    write_record(scores, "lfw", folder / "student_a" / "student.safetensors")
    assert run(folder, "-d", "lfw", "--no-plots").exit_code == 0
    (folder / "student_a" / "student.safetensors").write_bytes(b"trained further")
    result = run(folder, "-d", "lfw", "--no-plots")
    assert result.exit_code == 1
    assert f"{scores} is of another network" in result.output
    assert _rows(folder / "table.csv")["student_a"]["lfw"] == ""


def test_provenance_lists_every_measured_cell(run, folder):
    result = run(folder, "--no-plots", "--provenance")
    assert result.exit_code == 0
    text = (folder / "provenance.txt").read_text()
    for model in ("teacher", "student_a"):
        for database in ("lfw", "cfp-fp"):
            assert f"{model} | {database}: " in text
            assert str(folder / model / database / "scores-dev.csv") in text
    assert str(folder / "student_a" / "options.json") in text
    assert text in result.output


def test_properties_stand_beside_the_benchmarks(run, folder):
    result = run(folder, "--no-plots")
    assert result.exit_code == 0
    row = _rows(folder / "table.csv")["student_a"]
    assert (row["images"], row["coefficient"]) == ("200", "1")
    # these weights are none: the row stays, the file is named
    result = run(folder, "--no-plots", "--complexity")
    assert result.exit_code == 1
    assert str(folder / "student_a" / "student.safetensors") in result.output
    assert _rows(folder / "table.csv")["student_a"]["lfw"]


def test_complexity_of_a_real_student(run, folder):
    from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student

    path = folder / "student_a" / "student.safetensors"
    student = create_student("test_efficientnet", initialisation="random")
    save_student(path, student)
    result = run(folder, "--no-plots", "--time", "--no-published")
    assert result.exit_code == 0, result.output
    row = _rows(folder / "table.csv")["student_a"]
    assert float(row["parameters"]) == sum(p.numel() for p in student.parameters())
    assert float(row["file_size"]) == path.stat().st_size
    assert 1e5 < float(row["multiply_adds"]) < 1e9
    assert 0 < float(row["seconds"]) < 10
    assert _rows(folder / "table.csv")["teacher"]["parameters"] == ""
    for words in ("multiply-adds (M)", "file (MB)", "ms an image", "one thread and batch 1"):
        assert words in result.output


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
    result = run("--rows", declared)
    assert result.exit_code == 0, result.output
    rows = _rows(declared.with_name("table.csv"))
    assert list(rows) == ["two seeds", "not asked for"]
    assert (rows["two seeds"]["seeds"], rows["two seeds"]["coefficient"]) == ("2", "1")
    assert float(rows["two seeds"]["lfw_std"]) > 0
    assert rows["not asked for"]["lfw"] == ""
    markdown = declared.with_name("table.md").read_text()
    assert "**Declared**" in markdown
    assert "*98.58*" in markdown
    assert "What else to know." in markdown
    assert "student_a/lfw/scores-dev.csv" in declared.with_name("provenance.txt").read_text()
    assert declared.with_name("accuracy-coefficient.png").exists()
    for wrong, words in (
        (ROWS.replace("\nlabel = ", "\nlable = ", 1), "unknown name 'lable'. Did you mean 'label'"),
        ("title = 3 4", "cannot read the declared table"),
        ("[[rows]]", "a row has no label"),
        ("rows = []", "'databases'"),
        (ROWS.replace('"coefficient"]', '"coeficient"]'), "Did you mean 'coefficient'"),
    ):
        declared.write_text(wrong.format(folder))
        result = run("--rows", declared)
        assert result.exit_code == 1
        assert words in result.output
    assert run("--rows", declared, folder).exit_code == 2


def test_no_folder_no_model(run, tmp_path):
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "cannot read the results folder" in result.output
    assert run().exit_code == 2


def test_help_is_fast():
    start = time.monotonic()
    command = (
        "from bob.paper.ijcb2023_synthdistill.scripts.table import table; import sys;"
        "assert not {'torch', 'matplotlib', 'pandas', 'bob.bio.base'} & set(sys.modules); table()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "FOLDER" in answer.stdout
    assert time.monotonic() - start < 5
