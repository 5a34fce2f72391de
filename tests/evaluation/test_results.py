import numpy as np
import pytest
from score_files import reader, write_scores

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import ten_fold_accuracy
from bob.paper.ijcb2023_synthdistill.evaluation import results
from bob.paper.ijcb2023_synthdistill.evaluation.results import (
    SCORES,
    find_models,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def model(folder, seed=0, databases=("lfw",)):
    for database in databases:
        write_scores(folder / database / SCORES, database, seed)
    return folder


def measure(models, *databases, metric="accuracy"):
    return results.measure("row", models, metric, reader(*databases))


def test_models_are_found_where_they_lie(tmp_path):
    model(tmp_path / "results" / "student", databases=("lfw", "cfp-fp", "my-own"))
    model(tmp_path / "results" / "deep" / "teacher")
    for folder in ("run-10", "run-2", ".hidden/old"):
        (tmp_path / "results" / folder).mkdir(parents=True)
        (tmp_path / "results" / folder / "options.json").write_text("{}")
    models = find_models([tmp_path / "results"])
    assert list(models) == ["deep/teacher", "run-2", "run-10", "student"]
    assert models["student"] == tmp_path / "results" / "student"
    # a model's own folder may be given, and two of one name keep apart
    model(tmp_path / "other" / "student")
    both = [tmp_path / "results" / "student", tmp_path / "other" / "student"]
    assert find_models(both) == {str(folder): folder for folder in both}
    with pytest.raises(SynthDistillError, match=r"no model in .*lfw"):
        find_models([tmp_path / "other" / "student" / "lfw"])


def test_one_model_shows_the_deviation_over_folds(tmp_path):
    folder = model(tmp_path / "m")
    measured = measure([folder], "lfw", "calfw")
    frame = reader("lfw").read(folder, "lfw")
    accuracy, deviation, _ = ten_fold_accuracy(frame["score"], frame["genuine"], frame["fold"])
    assert 0.5 < accuracy < 1
    row = measured.cells
    assert (row["lfw"], row["lfw_std"]) == (accuracy, deviation)
    # never evaluated: empty, and no problem
    assert "calfw" not in row
    assert measured.problems == []


def test_several_seeds_show_mean_and_sample_deviation(tmp_path):
    models = [model(tmp_path / f"m{seed}", seed) for seed in range(3)]
    single = [measure([folder], "lfw").cells["lfw"] for folder in models]
    measured = measure(models, "lfw")
    row = measured.cells
    assert row["lfw"] == pytest.approx(np.mean(single), abs=1e-12)
    assert row["lfw_std"] == pytest.approx(np.std(single, ddof=1), abs=1e-12)
    assert row["seeds"] == "3"
    assert len(measured.traced[0].origins) == 3
    # a seed that is missing empties the cell
    (models[1] / "lfw" / SCORES).unlink()
    measured = measure(models, "lfw")
    assert "lfw" not in measured.cells
    assert str(models[1] / "lfw" / SCORES) in measured.problems[0]


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"\x89PNG\r\n\x00\xff"]
)
def test_a_damaged_score_file_is_named_and_its_cell_empty(tmp_path, damage):
    folder = model(tmp_path / "m", databases=("lfw", "cfp-fp"))
    path = folder / "lfw" / SCORES
    path.write_bytes(damage(path.read_bytes()))
    measured = measure([folder], "lfw", "cfp-fp")
    assert "lfw" not in measured.cells
    assert "cfp-fp" in measured.cells
    (problem,) = measured.problems
    assert str(path) in problem
