import json

import pytest
from pair_world import RandomFaces, random_student

from bob.paper.ijcb2023_synthdistill.evaluation import chain
from bob.paper.ijcb2023_synthdistill.evaluation.chain import ModelSpec, evaluate
from bob.paper.ijcb2023_synthdistill.evaluation.provenance import trace
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

SCORES = "scores-dev.csv"


@pytest.fixture
def databases(tmp_path):
    return {
        "one": RandomFaces(tmp_path / "one", 8, seed=1).draw(),
        "two": RandomFaces(tmp_path / "two", 5, seed=2).draw(),
    }


@pytest.fixture
def models(student_file, small_teacher):
    return {"a": ModelSpec("student", student_file), "b": ModelSpec("teacher", small_teacher)}


def test_all_models_on_all_databases_then_nothing(models, databases, tmp_path):
    output = tmp_path / "results"
    done = evaluate(models, databases, output)
    assert [(e.model, e.database, e.computed) for e in done] == [
        ("a", "one", True), ("a", "two", True), ("b", "one", True), ("b", "two", True),
    ]  # fmt: skip
    for evaluation in done:
        assert evaluation.scores == output / evaluation.model / evaluation.database / SCORES
        # nothing but the scores and their record
        names = {path.name for path in evaluation.scores.parent.iterdir()}
        assert names == {SCORES, "evaluation.json"}
    origin = trace(done[0].scores, output / "a")
    assert origin.recorded
    assert origin.model == models["a"].path
    modified = [e.scores.stat().st_mtime_ns for e in done]
    again = evaluate(models, databases, output)
    assert not any(e.computed for e in again)
    assert [e.scores.stat().st_mtime_ns for e in again] == modified


def test_the_files_are_those_of_bobs_command(models, databases, tmp_path, monkeypatch):
    from bob.bio.base.script.pipeline_simple import pipeline_simple
    from click.testing import CliRunner

    done = evaluate({"a": models["a"]}, {"one": databases["one"]}, tmp_path / "results")
    (tmp_path / "database.py").write_text(
        "from pathlib import Path\nfrom pair_world import RandomFaces\n"
        f"database = RandomFaces(Path({str(tmp_path / 'one')!r}), 8, seed=1)\n"
    )
    (tmp_path / "pipeline.py").write_text(
        "from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline\n"
        f"pipeline = student_pipeline({str(models['a'].path)!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["-d", "database.py", "-p", "pipeline.py", "-o", "bob"]
    result = CliRunner().invoke(pipeline_simple, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "bob" / SCORES).read_bytes() == done[0].scores.read_bytes()


def test_one_client_gives_the_same_files(models, databases, tmp_path, cluster_client):
    plain = evaluate(models, databases, tmp_path / "plain")
    dask = evaluate(models, databases, tmp_path / "dask", dask_client=cluster_client)
    for one, other in zip(plain, dask, strict=True):
        assert one.scores.read_bytes() == other.scores.read_bytes()


def damage(folder, what):
    record = json.loads((folder / "evaluation.json").read_text())
    if what == "no scores":
        (folder / SCORES).unlink()
    elif what == "short scores":
        (folder / SCORES).write_text("\n".join((folder / SCORES).read_text().splitlines()[:-1]))
    elif what == "no record":
        (folder / "evaluation.json").unlink()
    elif what == "torn record":
        (folder / "evaluation.json").write_text(json.dumps(record)[:40])
    elif what == "record of another form":
        (folder / "evaluation.json").write_text("[1, 2]")
    elif what == "older format":
        (folder / "evaluation.json").write_text(json.dumps({**record, "format": 0}))


@pytest.mark.parametrize(
    "what",
    [
        "no scores", "short scores", "no record", "torn record", "record of another form",
        "older format", "nothing",
    ],
)  # fmt: skip
def test_what_is_missing_or_damaged_is_done_again(models, databases, tmp_path, what):
    arguments = {"a": models["a"]}, {"two": databases["two"]}, tmp_path / "results"
    first = evaluate(*arguments)[0]
    content = first.scores.read_bytes()
    damage(first.scores.parent, what)
    again = evaluate(*arguments)[0]
    assert again.computed == (what != "nothing")
    assert again.scores.read_bytes() == content
    assert evaluate(*arguments, force=True)[0].computed


def test_another_model_database_or_option_is_not_the_same(databases, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    random_student(run / "student.safetensors", seed=1)
    # a run folder stands for its student
    model, output = {"m": ModelSpec("student", run)}, tmp_path / "results"

    def computed(database="two", **options):
        return evaluate(model, {"d": databases[database]}, output, **options)[0].computed

    assert computed()
    assert not computed()
    assert computed(mirror=False)
    assert computed()
    assert computed("one")
    assert not computed("one")
    random_student(run / "student.safetensors", seed=2)
    assert computed("one")


def test_everything_that_is_missing_is_named_before_any_work(databases, tmp_path):
    models = {
        "good": ModelSpec("network", "pair_world:halves"),
        "gone": ModelSpec("student", tmp_path / "gone.safetensors"),
        "wrong": ModelSpec("network", "pair_world:no_such_network"),
    }
    with pytest.raises(SynthDistillError, match=r"(?s)gone\.safetensors.*no_such_network") as error:
        evaluate(models, databases, tmp_path / "results")
    assert error.value.message.startswith("nothing was evaluated")
    assert not (tmp_path / "results").exists()


def test_one_failure_does_not_stop_the_others(databases, tmp_path):
    models = {
        "nan": ModelSpec("network", "pair_world:Nan"),
        "good": ModelSpec("network", "pair_world:halves"),
    }
    next((tmp_path / "two").glob("*.png")).write_bytes(b"no image")
    with pytest.raises(SynthDistillError, match="3 of 4 evaluations failed") as error:
        evaluate(models, databases, tmp_path / "results")
    assert "nan on one: expected finite embeddings" in error.value.message
    assert "good on two: 1 of 5 images cannot be read" in error.value.message
    assert sorted(path.name for path in (tmp_path / "results").rglob("*.csv")) == [SCORES]
    assert (tmp_path / "results" / "good" / "one" / SCORES).exists()
    assert not list((tmp_path / "results").rglob("tmp"))


def test_our_benchmarks_go_by_name(models, tmp_path):
    with pytest.raises(SynthDistillError, match="no-such-benchmark"):
        evaluate(models, ["no-such-benchmark"], tmp_path)


@pytest.mark.parametrize("name", ["", "../out", "/absolute"])
def test_names_stay_within_the_results_folder(models, databases, tmp_path, name):
    with pytest.raises(SynthDistillError, match="expected the name of a folder"):
        evaluate({name: models["a"]}, databases, tmp_path)


def test_clients_by_name(tmp_path):
    with chain.open_client(None) as client:
        assert client is None
    with chain.open_client("threads") as client:
        assert client == "threads"
    words = "cannot start the dask client no-such-client"
    with pytest.raises(SynthDistillError, match=words), chain.open_client("no-such-client"):
        pass
    (tmp_path / "own.py").write_text("dask_client = 'sync'\n")
    with chain.open_client(str(tmp_path / "own.py")) as client:
        assert client == "sync"
