import numpy as np
import pandas as pd
import pytest
from score_files import reader, write_scores

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import eer, ten_fold_accuracy
from bob.paper.ijcb2023_synthdistill.evaluation.results import (
    SCORES,
    Entry,
    find_models,
    measure_entries,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def _model(folder, seed=0, databases=("lfw",), distance=1.0):
    for database in databases:
        write_scores(folder / database / "scores-dev.csv", database, seed, distance)
    return folder


def test_models_are_found_where_they_lie(tmp_path):
    _model(tmp_path / "results" / "student", databases=("lfw", "cfp-fp", "my-own"))
    _model(tmp_path / "results" / "deep" / "teacher")
    (tmp_path / "results" / "trained").mkdir()
    (tmp_path / "results" / "trained" / "options.json").write_text("{}")
    (tmp_path / "results" / ".hidden" / "old" / "lfw").mkdir(parents=True)
    (tmp_path / "results" / ".hidden" / "old" / "options.json").write_text("{}")
    models = find_models([tmp_path / "results"])
    assert list(models) == ["deep/teacher", "student", "trained"]
    assert models["student"] == tmp_path / "results" / "student"
    # a model's own folder may be given, and two of one name keep apart
    _model(tmp_path / "other" / "student")
    both = [tmp_path / "results" / "student", tmp_path / "other" / "student"]
    assert find_models(both) == {str(folder): folder for folder in both}


def test_a_folder_without_models_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SynthDistillError, match=r"no model in .*empty"):
        find_models([tmp_path / "empty"])
    with pytest.raises(SynthDistillError, match="cannot read the results folder"):
        find_models([tmp_path / "nowhere"])


def test_one_model_shows_the_deviation_over_folds(tmp_path):
    model = _model(tmp_path / "m")
    measured = measure_entries([Entry("row", [model])], "accuracy", reader("lfw", "calfw"))
    frame = reader("lfw").read(model, "lfw")
    accuracy, deviation, _ = ten_fold_accuracy(frame["score"], frame["genuine"], frame["fold"])
    assert 0.5 < accuracy < 1
    (row,) = measured.rows
    assert (row["lfw"], row["lfw_std"]) == (accuracy, deviation)
    # never evaluated: empty, and no problem
    assert "calfw" not in row
    assert measured.problems == []


def test_several_seeds_show_mean_and_sample_deviation(tmp_path):
    models = [_model(tmp_path / f"m{seed}", seed) for seed in range(3)]
    single = [
        measure_entries([Entry("row", [m])], "accuracy", reader("lfw")).rows[0]["lfw"]
        for m in models
    ]
    measured = measure_entries([Entry("row", models)], "accuracy", reader("lfw"))
    (row,) = measured.rows
    assert row["lfw"] == pytest.approx(np.mean(single), abs=1e-12)
    assert row["lfw_std"] == pytest.approx(np.std(single, ddof=1), abs=1e-12)
    assert row["seeds"] == "3"
    assert len(measured.traced[0].origins) == 3


def test_other_metrics(tmp_path):
    model = _model(tmp_path / "m")
    frame = reader("lfw").read(model, "lfw")

    def cell(metric):
        rows = measure_entries([Entry("row", [model])], metric, reader("lfw")).rows
        return rows[0].get("lfw"), rows[0].get("lfw_std")

    assert cell("eer") == (eer(frame["score"], frame["genuine"]), None)
    assert 0 < cell("tar@1e-2")[0] < 1
    # 100 impostors do not tell anything about one in a thousand
    assert cell("tar@1e-3") == (None, None)
    with pytest.raises(SynthDistillError, match="unknown metric"):
        cell("f1")


def _remove(path):
    path.unlink()


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _nan(path):
    frame = pd.read_csv(path)
    frame.loc[3, "score"] = np.nan
    frame.to_csv(path, index=False)


def _garbage(path):
    path.write_bytes(b"\x89PNG\r\n\x00\xff")


@pytest.mark.parametrize("damage", [_remove, _truncate, _nan, _garbage])
def test_a_damaged_score_file_is_named_and_its_cell_empty(tmp_path, damage):
    model = _model(tmp_path / "m", databases=("lfw", "cfp-fp"))
    damage(model / "lfw" / SCORES)
    measured = measure_entries([Entry("row", [model])], "accuracy", reader("lfw", "cfp-fp"))
    assert "lfw" not in measured.rows[0]
    assert "cfp-fp" in measured.rows[0]
    (problem,) = measured.problems
    assert str(model / "lfw" / SCORES) in problem


def test_one_missing_seed_empties_the_cell(tmp_path):
    models = [_model(tmp_path / f"m{seed}", seed) for seed in range(2)]
    (models[1] / "lfw" / SCORES).unlink()
    measured = measure_entries([Entry("row", models)], "accuracy", reader("lfw"))
    assert "lfw" not in measured.rows[0]
    assert str(models[1] / "lfw" / SCORES) in measured.problems[0]
