import numpy as np
import pytest
from score_files import FakeBenchmark, write_scores

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import ten_fold_accuracy
from bob.paper.ijcb2023_synthdistill.evaluation import results
from bob.paper.ijcb2023_synthdistill.evaluation.report import make_report
from bob.paper.ijcb2023_synthdistill.evaluation.results import SCORES, find_models
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def model(folder, seed=0, databases=("lfw",)):
    for database in databases:
        write_scores(folder / database / SCORES, database, seed)
    return folder


def measure(models, *databases, metric="accuracy"):
    scores = {
        name: [results.read_model(folder, FakeBenchmark(name)) for folder in models]
        for name in databases
    }
    return results.measure(scores, metric, len(databases))


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
    frame = results.read_model(folder, FakeBenchmark("lfw")).pairs
    accuracy, deviation, _ = ten_fold_accuracy(frame["score"], frame["genuine"], frame["fold"])
    assert 0.5 < accuracy < 1
    assert measure([folder], "lfw") == {"lfw": accuracy, "lfw_std": deviation}


def test_several_seeds_show_mean_and_sample_deviation(tmp_path):
    names = ("lfw", "calfw")
    models = [model(tmp_path / f"m{seed}", seed, names) for seed in range(3)]
    single = [measure([folder], *names) for folder in models]
    cells = measure(models, *names)
    for name in (*names, "mean"):
        values = [one[name] for one in single]
        assert cells[name] == pytest.approx(np.mean(values), abs=1e-12)
        assert cells[f"{name}_std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert cells["mean"] == pytest.approx((cells["lfw"] + cells["calfw"]) / 2)
    # of the pairs there are too few
    assert measure(models, *names, metric="tar@1e-3") == {}


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda _: b"\x89PNG\r\n\x00\xff", None],
)
def test_a_row_with_a_damaged_score_file_has_an_empty_cell_and_names_it(tmp_path, damage):
    models = [model(tmp_path / name, databases=("lfw", "cfp-fp")) for name in ("one", "other")]
    path = models[1] / "lfw" / SCORES
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    rows = [{"label": "row", "folders": models}]
    declared = {"title": "t", "metric": "accuracy", "properties": [], "rows": rows}
    found = make_report(declared, [FakeBenchmark(name) for name in ("lfw", "cfp-fp", "calfw")])
    cells = found.rows[0].cells
    assert cells["seeds"] == "2"
    # never evaluated on calfw: empty, and no problem
    assert {"lfw", "cfp-fp", "calfw", "mean"} & cells.keys() == {"cfp-fp"}
    (problem,) = found.problems
    assert str(path) in problem
