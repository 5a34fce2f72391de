import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import dask_bio_pipeline, execute_pipeline_simple
from bob.bio.base.script.pipeline_simple import pipeline_simple
from bob.pipelines import DelayedSample, Sample
from click.testing import CliRunner
from pair_world import RandomFaces, load, random_student

from bob.paper.ijcb2023_synthdistill.evaluation import embedding
from bob.paper.ijcb2023_synthdistill.evaluation.embedding import EmbeddingTransformer
from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import (
    CosineScores,
    NetworkPipeline,
    network_pipeline,
    student_pipeline,
    teacher_pipeline,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

SCORES = "scores-dev.csv"


def run(pipeline, database, output, client=None, checkpoint=False, size=None, **options):
    defaults = {"write_metadata_scores": True, "dask_n_partitions": None, "dask_n_workers": None}
    execute_pipeline_simple(
        pipeline,
        database,
        client,
        groups=["dev"],
        output=str(output),
        checkpoint=checkpoint,
        dask_partition_size=size,
        **{**defaults, **options},
    )
    return (Path(output) / SCORES).read_bytes()


@pytest.fixture(scope="module")
def scores(student_file, random_faces, tmp_path_factory):
    """The scores without dask and without feature files, which all others must equal."""
    return run(student_pipeline(student_file), random_faces, tmp_path_factory.mktemp("plain"))


def test_scores_are_the_cosines_of_the_embeddings(scores, student_file, random_faces):
    lines = [line.split(",") for line in scores.decode().splitlines()]
    assert lines[0][0] == "probe_template_id"
    assert {"probe_fold", "bio_ref_template_id", "score"} <= set(lines[0])
    column = {name: i for i, name in enumerate(lines[0])}
    found = {
        (line[0], line[column["bio_ref_template_id"]]): float(line[column["score"]])
        for line in lines[1:]
    }
    images = np.stack([load(random_faces.path(i)) for i in range(2 * random_faces.count)])
    embeddings = EmbeddingTransformer(NetworkRecipe("student", student_file)).transform(images)
    embeddings = embeddings.astype(float)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = {
        (f"image {p}", f"image {r}"): embeddings[p] @ embeddings[r] - 1
        for p, r in random_faces.pairs()
    }
    assert len(lines) - 1 == len(expected)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[k] for k in expected], list(expected.values()), atol=1e-6)
    assert np.std(list(found.values())) > 1e-4


@pytest.mark.parametrize(
    ("client", "size"), [("single-threaded", 7), ("single-threaded", None), ("threads", 13)]
)
def test_local_schedulers_write_the_same_file(
    scores, student_file, random_faces, tmp_path, client, size
):
    assert run(student_pipeline(student_file), random_faces, tmp_path, client, size=size) == scores


def test_worker_processes_write_the_same_file(
    scores, student_file, random_faces, tmp_path, cluster_client
):
    for size, checkpoint in ((11, False), (16, True)):
        output = tmp_path / str(size)
        pipeline = student_pipeline(student_file)
        found = run(pipeline, random_faces, output, cluster_client, checkpoint, size)
        assert found == scores


class Counted(RandomFaces):
    """Writes down each image that is read."""

    def set(self, i, **metadata):
        samples = super().set(i, **metadata)
        path, log = self.path(i), self.folder.parent / "read"
        samples.samples[0] = DelayedSample(
            functools.partial(read, path, log), key=samples.samples[0].key
        )
        return samples


def read(path, log):
    with log.open("a") as stream:
        stream.write(f"{path.name}\n")
    return load(path)


def test_workers_read_each_image_once(student_file, tmp_path, cluster_client):
    database = Counted(tmp_path / "images").draw()
    run(student_pipeline(student_file), database, tmp_path, cluster_client, size=5)
    names = (tmp_path / "read").read_text().splitlines()
    assert sorted(names) == sorted(path.name for path in database.folder.iterdir())


def threads_here():
    return embedding._cores()


def test_workers_take_one_core_each(cluster_client):
    assert set(cluster_client.run(threads_here).values()) == {1}


@pytest.mark.parametrize(
    ("sample_sets", "chosen", "size"),
    [(1200, {}, 128), (200, {}, 32), (3, {}, 16), (1200, {"partition_size": 7}, 7)],
)
def test_partitions_fill_batches_unless_the_user_chooses(sample_sets, chosen, size, student_file):
    pipeline = dask_bio_pipeline(student_pipeline(student_file), **chosen)
    pipeline._suit_partitions(sample_sets)
    bag = pipeline.transformer.steps[0][1].transform(range(sample_sets))
    assert bag.npartitions == -(-sample_sets // size)


def test_a_number_of_partitions_is_kept(student_file):
    pipeline = dask_bio_pipeline(student_pipeline(student_file), npartitions=5)
    pipeline._suit_partitions(1200)
    assert pipeline.transformer.steps[0][1].transform(range(1200)).npartitions == 5


@pytest.mark.parametrize("all_vs_all", [True, False])
def test_scores_of_templates_are_those_of_bob(all_vs_all):
    rng = np.random.default_rng(3)
    # r2 is there twice: Bob scores both
    references = [Sample(rng.normal(size=4), template_id=name) for name in ("r3", "r2", "r1", "r2")]
    probes = [
        Sample(rng.normal(size=(1, 4)), template_id=f"p{number}", references=names)
        for number, names in enumerate((["r1", "r2"], ["r3"], ["r2", "absent", "r3"]))
    ]
    ours = CosineScores()
    expected = Distance(distance_function="cosine", factor=-1).score_sample_templates(
        probes, references, all_vs_all
    )
    found = ours.score_sample_templates(probes, references, all_vs_all)
    assert [len(scores) for scores in found] == ([4, 4, 4] if all_vs_all else [3, 1, 3])
    for one, other in zip(found, expected, strict=True):
        assert one.template_id == other.template_id
        assert [(s.template_id, s.data) for s in one] == [(s.template_id, s.data) for s in other]


def test_a_probe_without_any_reference_is_refused_as_bob_does():
    probe = Sample(np.ones((1, 4)), template_id="p", references=["absent"])
    reference = Sample(np.ones(4), template_id="r")
    with pytest.raises(ValueError, match="No enroll sampleset found"):
        CosineScores().score_sample_templates([probe], [reference], False)


def test_no_feature_file_is_kept_and_none_is_believed(random_faces, tmp_path):
    path = random_student(tmp_path / "student.safetensors", seed=1)
    output = tmp_path / "out"
    first = run(student_pipeline(path), random_faces, output, checkpoint=True)
    assert sorted(p.name for p in output.rglob("*")) == [".lock", SCORES, "scores-dev.json"]
    random_student(path, seed=2)
    second = run(student_pipeline(path), random_faces, output, checkpoint=True)
    assert second != first
    # images of the same names
    other = RandomFaces(tmp_path / "images", seed=9).draw()
    assert run(student_pipeline(path), other, output, checkpoint=True) != second


def test_teacher_and_network_by_name(small_teacher, random_faces, tmp_path):
    count = len(random_faces.pairs()) + 1
    teacher = run(teacher_pipeline(small_teacher), random_faces, tmp_path / "teacher")
    assert len(teacher.splitlines()) == count
    network = run(network_pipeline("pair_world:halves"), random_faces, tmp_path / "network")
    assert len(network.splitlines()) == count
    assert network != teacher


def test_four_columns_are_complete_too(student_file, random_faces, tmp_path):
    execute_pipeline_simple(
        student_pipeline(student_file), random_faces, None, ["dev"], str(tmp_path), False, False,
        None, None, None,
    )  # fmt: skip
    lines = (tmp_path / "scores-dev").read_text().splitlines()
    assert len(lines) == len(random_faces.pairs())


def test_a_short_score_file_is_not_written(student_file, random_faces, tmp_path):
    pipeline = student_pipeline(student_file)
    write = pipeline.write_scores
    pipeline.write_scores = lambda scores: write(scores[:-1])
    with pytest.raises(SynthDistillError, match=r"expected 79 scores, found 78"):
        run(pipeline, random_faces, tmp_path)
    assert not (tmp_path / SCORES).exists()


class Deadly(RandomFaces):
    """One image kills the process that loads it: the first time, or every time."""

    always = False

    def set(self, i, **metadata):
        samples = super().set(i, **metadata)
        if i == self.count + 5:
            flag = None if self.always else self.folder.parent / "dead"
            loader = functools.partial(die_and_load, self.path(i), flag, os.getpid())
            samples.samples = [DelayedSample(loader, parent=samples.samples[0])]
        return samples


def die_and_load(path, flag, main):
    if os.getpid() != main:
        with contextlib.suppress(FileExistsError):
            if flag:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
    return load(path)


def test_a_worker_dies_and_the_run_goes_on(
    scores, student_file, random_faces, tmp_path, cluster_client
):
    database = Deadly(random_faces.folder)
    assert run(student_pipeline(student_file), database, tmp_path, cluster_client) == scores
    assert (random_faces.folder.parent / "dead").exists()


def test_workers_that_always_die_end_the_run_without_scores(
    student_file, random_faces, tmp_path, cluster_client, monkeypatch
):
    database = Deadly(random_faces.folder)
    database.always = True
    # dask gives up after three deaths: here after the first, which saves half a minute
    monkeypatch.setattr(cluster_client.cluster.scheduler, "allowed_failures", 0)
    with pytest.raises(Exception, match=r"died|[Kk]illed"):
        run(student_pipeline(student_file), database, tmp_path, cluster_client)
    assert not (tmp_path / SCORES).exists()


def test_the_record_says_what_the_scores_are_of(student_file, random_faces, tmp_path):
    run(student_pipeline(student_file, mirror=False), random_faces, tmp_path)
    record = json.loads((tmp_path / "scores-dev.json").read_text())
    digest = hashlib.sha256(student_file.read_bytes()).hexdigest()
    assert record["network"] == {"kind": "student", "place": str(student_file), "sha256": digest}
    assert record["options"] == {"mirror": False, "batch_size": None, "device": None}
    digest = hashlib.sha256((tmp_path / SCORES).read_bytes()).hexdigest()
    assert record["scores_sha256"] == digest
    assert record["database"] == {}  # others' databases have no fingerprint
    assert record["versions"]["torch"]


class Retraining(RandomFaces):
    """While its images are read the student becomes another one."""

    def set(self, i, **metadata):
        samples = super().set(i, **metadata)
        loader = functools.partial(replace_and_load, self.path(i), self.other, self.student)
        samples.samples[0] = DelayedSample(loader, parent=samples.samples[0])
        return samples


def replace_and_load(path, other, student):
    if other.exists():
        with contextlib.suppress(FileNotFoundError):
            other.rename(student)
    return load(path)


def test_a_student_that_changes_meanwhile_gets_no_scores(student_file, random_faces, tmp_path):
    database = Retraining(random_faces.folder)
    database.student = Path(shutil.copy(student_file, tmp_path))
    database.other = random_student(tmp_path / "other.safetensors", seed=3)
    with pytest.raises(SynthDistillError, match="changed during its evaluation"):
        run(student_pipeline(database.student), database, tmp_path / "out")
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
            run(student_pipeline(student_file), random_faces, tmp_path)
        assert (tmp_path / "tmp" / "part").exists()
        other.kill()
    run(student_pipeline(student_file), random_faces, tmp_path)
    assert not (tmp_path / "tmp").exists()
    # and a link is not followed
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SynthDistillError, match="cannot write to"):
        run(student_pipeline(student_file), random_faces, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def folder(tmp_path, student_file, random_faces, monkeypatch):
    """A run folder with its pipeline.py, and a database configuration."""
    from bob.paper.ijcb2023_synthdistill.distillation import run_folder

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "student.safetensors").write_bytes(student_file.read_bytes())
    (tmp_path / "run" / "pipeline.py").write_text(
        run_folder.PIPELINE.format(imports="", network="")
    )
    (tmp_path / "database.py").write_text(
        "from pathlib import Path\n"
        "from pair_world import RandomFaces\n"
        f"database = RandomFaces(Path({str(random_faces.folder)!r}))\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pipeline_of_a_run_folder_in_bobs_command(folder, scores):
    command = ["-d", "database.py", "-p", "run/pipeline.py", "-m", "-o", "out"]
    result = CliRunner().invoke(pipeline_simple, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (folder / "out" / SCORES).read_bytes() == scores


def test_configured_pipelines_in_bobs_command(folder, scores, small_teacher, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    from bob.paper.ijcb2023_synthdistill.files import STUDENT, configure_path

    command = ["-d", "database.py", "-m", "--no-dask", "-o", "out", "-p"]
    for kind in ("student", "teacher"):
        result = CliRunner().invoke(pipeline_simple, [*command, f"synthdistill-{kind}"])
        assert result.exit_code == 1
        assert f"bob config set bob.paper.ijcb2023_synthdistill.{kind} PATH" in result.output
        assert not (folder / "out" / SCORES).exists()
    configure_path(STUDENT, folder / "run" / "student.safetensors")
    result = CliRunner().invoke(pipeline_simple, [*command, "synthdistill-student"])
    assert result.exit_code == 0, result.output
    assert (folder / "out" / SCORES).read_bytes() == scores


def test_a_run_that_has_no_student_yet_is_told_so(folder):
    (folder / "run" / "student.safetensors").unlink()
    result = CliRunner().invoke(
        pipeline_simple, ["-d", "database.py", "-p", "run/pipeline.py", "-m", "-o", "out"]
    )
    assert result.exit_code == 1
    assert "expected the student's file, found nothing at" in result.output


def test_making_a_pipeline_opens_nothing(tmp_path):
    assert isinstance(student_pipeline(tmp_path / "later.safetensors"), NetworkPipeline)


def bob(folder, *arguments):
    """Run Bob's command in a process of its own."""
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", "from bob.cli import bob_main_cli as main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("client", [[], ["--no-dask"]])
def test_ctrl_c_ends_bobs_command_with_130(folder, random_faces, client):
    (random_faces.folder.parent / "interrupted").unlink(missing_ok=True)
    config = (folder / "database.py").read_text().replace("RandomFaces", "Interrupting")
    (folder / "database.py").write_text(config)
    command = ["bio", "pipeline", "simple", "-d", "database.py", "-p", "run/pipeline.py"]
    done = bob(folder, *command, "-o", "out", *client)
    assert done.returncode == 130, done.stderr
    assert [path.name for path in (folder / "out").iterdir()] == [".lock"]
