import functools
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tqdm
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import dask_bio_pipeline
from bob.bio.base.script.pipeline_simple import pipeline_simple
from bob.pipelines import Sample
from click.testing import CliRunner
from pair_world import RandomFaces, random_student
from score_files import SCORES, evaluate

from bob.paper.ijcb2023_synthdistill.evaluation import embedding, progress
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import (
    CosineScores,
    network_pipeline,
    student_pipeline,
)
from bob.paper.ijcb2023_synthdistill.files import (
    STUDENT,
    SynthDistillError,
    bob_pipeline,
    configure_path,
)


@pytest.fixture(scope="module")
def scores(student_file, random_faces, tmp_path_factory):
    """The scores without dask and without feature files, which all others must equal."""
    return evaluate(student_pipeline(student_file), random_faces, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("client", "size"), [("single-threaded", None), ("threads", 13)])
def test_local_schedulers_write_the_same_file(
    scores, student_file, random_faces, tmp_path, client, size
):
    assert (
        evaluate(student_pipeline(student_file), random_faces, tmp_path, client, size=size)
        == scores
    )


def write_down(log, path):
    with log.open("a") as stream:
        stream.write(f"{path.name}\n")


def test_worker_processes_write_the_same_file_and_read_each_image_once(
    scores, student_file, random_faces, tmp_path, cluster_client
):
    database = RandomFaces(
        random_faces.folder, act=functools.partial(write_down, tmp_path / "read")
    )
    found = evaluate(student_pipeline(student_file), database, tmp_path, cluster_client, size=11)
    assert found == scores
    names = (tmp_path / "read").read_text().splitlines()
    assert sorted(names) == sorted(path.name for path in database.folder.iterdir())
    assert set(cluster_client.run(embedding._cores).values()) == {1}


def test_a_bar_counts_images_on_a_terminal(random_faces, tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    bar = functools.partial(tqdm.tqdm, file=terminal, mininterval=0)
    monkeypatch.setattr(progress.tqdm, "tqdm", bar)
    evaluate(network_pipeline("pair_world:Halves"), random_faces, tmp_path)
    assert " 80/80 " in terminal.getvalue()


@pytest.mark.parametrize(
    ("sample_sets", "chosen", "partitions"),
    [
        (1200, {}, 10),
        (3, {}, 1),
        (1200, {"partition_size": 7}, 172),
        (1200, {"npartitions": 5}, 5),
    ],
)
def test_partitions_fill_batches_unless_the_user_chooses(
    sample_sets, chosen, partitions, student_file
):
    pipeline = dask_bio_pipeline(student_pipeline(student_file), **chosen)
    pipeline._suit_partitions(sample_sets)
    bag = pipeline.transformer.steps[0][1].transform(range(sample_sets))
    assert bag.npartitions == partitions


@pytest.mark.parametrize("all_vs_all", [True, False])
def test_scores_of_templates_are_those_of_bob(all_vs_all):
    rng = np.random.default_rng(3)
    # r2 is there twice: Bob scores both
    references = [Sample(rng.normal(size=4), template_id=name) for name in ("r3", "r2", "r1", "r2")]
    probes = [
        Sample(rng.normal(size=(1, 4)), template_id=f"p{number}", references=names)
        for number, names in enumerate((["r1", "r2"], ["r3"], ["r2", "absent", "r3"]))
    ]
    bob = Distance(distance_function="cosine", factor=-1)
    expected = bob.score_sample_templates(probes, references, all_vs_all)
    found = CosineScores().score_sample_templates(probes, references, all_vs_all)
    assert [len(scores) for scores in found] == ([4, 4, 4] if all_vs_all else [3, 1, 3])
    for one, other in zip(found, expected, strict=True):
        assert one.template_id == other.template_id
        assert [(s.template_id, s.data) for s in one] == [(s.template_id, s.data) for s in other]


def test_no_feature_file_is_kept_and_none_is_believed(random_faces, tmp_path):
    path = random_student(tmp_path / "student.safetensors", seed=1)
    output = tmp_path / "out"
    first = evaluate(student_pipeline(path), random_faces, output, checkpoint=True)
    assert sorted(p.name for p in output.rglob("*")) == [".lock", SCORES, "scores-dev.json"]
    random_student(path, seed=2)
    second = evaluate(student_pipeline(path), random_faces, output, checkpoint=True)
    assert second != first
    # images of the same names
    other = RandomFaces(tmp_path / "images", seed=9)
    assert evaluate(student_pipeline(path), other, output, checkpoint=True) != second


def test_a_short_score_file_is_not_written(student_file, random_faces, tmp_path):
    pipeline = student_pipeline(student_file)
    write = pipeline.write_scores
    pipeline.write_scores = lambda scores: write(scores[:-1])
    with pytest.raises(SynthDistillError, match=r"expected 79 scores, found 78"):
        evaluate(pipeline, random_faces, tmp_path)
    assert not (tmp_path / SCORES).exists()


def die(flag, main, path):
    """Kill the worker that loads one image: the first time, or every time."""
    if path.name == "image 45.png" and os.getpid() != main and not (flag and flag.exists()):
        if flag:
            flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_dies_and_the_run_goes_on(
    scores, student_file, random_faces, tmp_path, cluster_client
):
    act = functools.partial(die, tmp_path / "dead", os.getpid())
    database = RandomFaces(random_faces.folder, act=act)
    assert evaluate(student_pipeline(student_file), database, tmp_path, cluster_client) == scores
    assert (tmp_path / "dead").exists()


def test_workers_that_always_die_end_the_run_without_scores(
    student_file, random_faces, tmp_path, cluster_client, monkeypatch
):
    act = functools.partial(die, None, os.getpid())
    # dask gives up after three deaths: here after the first, which saves half a minute
    monkeypatch.setattr(cluster_client.cluster.scheduler, "allowed_failures", 0)
    with pytest.raises(SynthDistillError, match="workers died"):
        evaluate(
            student_pipeline(student_file),
            RandomFaces(random_faces.folder, act=act),
            tmp_path,
            cluster_client,
        )
    assert not (tmp_path / SCORES).exists()


def test_the_record_says_what_the_scores_are_of(student_file, random_faces, tmp_path):
    content = evaluate(student_pipeline(student_file, mirror=False), random_faces, tmp_path)
    record = json.loads((tmp_path / "scores-dev.json").read_text())
    digest = hashlib.sha256(student_file.read_bytes()).hexdigest()
    assert record["network"] == {"kind": "student", "place": str(student_file), "sha256": digest}
    assert record["options"] == {"mirror": False, "batch_size": None, "device": None}
    assert record["scores_sha256"] == hashlib.sha256(content).hexdigest()
    assert record["database"] == {}  # others' databases have no fingerprint
    assert record["versions"]["torch"]


def replace(other, student, path):
    if other.exists() and path.name == "image 45.png":
        other.rename(student)


def test_a_student_that_changes_meanwhile_gets_no_scores(student_file, random_faces, tmp_path):
    student = Path(shutil.copy(student_file, tmp_path))
    other = random_student(tmp_path / "other.safetensors", seed=3)
    database = RandomFaces(random_faces.folder, act=functools.partial(replace, other, student))
    with pytest.raises(SynthDistillError, match="changed during its evaluation"):
        evaluate(student_pipeline(student), database, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


HOLD = """
import sys, time
from pathlib import Path
from bob.paper.ijcb2023_synthdistill.evaluation.output import _hold
held = _hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_evaluation_into_one_folder_is_refused(student_file, random_faces, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        (tmp_path / "tmp").mkdir()
        (tmp_path / "tmp" / "part").touch()
        with pytest.raises(SynthDistillError, match="another evaluation is at work"):
            evaluate(student_pipeline(student_file), random_faces, tmp_path)
        assert (tmp_path / "tmp" / "part").exists()
        other.kill()
    evaluate(student_pipeline(student_file), random_faces, tmp_path)
    assert not (tmp_path / "tmp").exists()
    # and a link is not followed
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SynthDistillError, match="cannot write to"):
        evaluate(student_pipeline(student_file), random_faces, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def folder(tmp_path, student_file, random_faces, monkeypatch):
    """A run folder with its pipeline.py, and a database configuration."""
    (tmp_path / "run").mkdir()
    shutil.copy(student_file, tmp_path / "run" / "student.safetensors")
    (tmp_path / "run" / "pipeline.py").write_text(
        bob_pipeline("A student", "student", "student.safetensors")
    )
    (tmp_path / "database.py").write_text(
        "from pathlib import Path\n"
        "from pair_world import RandomFaces\n"
        f"database = RandomFaces(Path({str(random_faces.folder)!r}))\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def simple(*arguments):
    return CliRunner().invoke(pipeline_simple, ["-d", "database.py", "-m", "-o", "out", *arguments])


def test_pipeline_of_a_run_folder_in_bobs_command(folder, scores):
    result = simple("-p", "run/pipeline.py")
    assert result.exit_code == 0, result.output
    assert (folder / "out" / SCORES).read_bytes() == scores
    # what is missing is told when the pipeline is loaded, before dask's client is
    (folder / "run" / "student.safetensors").unlink()
    result = simple("-p", "run/pipeline.py", "-l", "no-such-client")
    assert result.exit_code == 1
    assert "expected the student's file, found nothing at" in result.output


def test_configured_pipelines_in_bobs_command(folder, scores, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    for kind in ("student", "teacher", "onnx"):
        result = simple("-p", f"synthdistill-{kind}", "-l", "no-such-client")
        assert result.exit_code == 1
        assert f"bob config set bob.paper.ijcb2023_synthdistill.{kind} PATH" in result.output
    configure_path(STUDENT, folder / "run" / "student.safetensors")
    result = simple("--no-dask", "-p", "synthdistill-student")
    assert result.exit_code == 0, result.output
    assert (folder / "out" / SCORES).read_bytes() == scores


def interrupt(flag, path):
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_bobs_command_with_130(folder, random_faces):
    (folder / "database.py").write_text(
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from pair_world import RandomFaces\n"
        "from test_pipeline import interrupt\n"
        f"act = partial(interrupt, Path({str(folder / 'interrupted')!r}))\n"
        f"database = RandomFaces(Path({str(random_faces.folder)!r}), act=act)\n"
    )
    command = "bio pipeline simple -d database.py -p run/pipeline.py -o out"
    paths = [str(folder), *sys.path]
    main = "from bob.cli import bob_main_cli as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *command.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert [path.name for path in (folder / "out").iterdir()] == [".lock"]
