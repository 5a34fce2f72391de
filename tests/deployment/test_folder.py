"""The export folder: whole or not there, and nobody's files lost."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from clapper.config import load

from bob.paper.ijcb2023_synthdistill.deployment import folder as room
from bob.paper.ijcb2023_synthdistill.deployment import model_card, onnx_export
from bob.paper.ijcb2023_synthdistill.deployment.folder import Source, check_folder, export
from bob.paper.ijcb2023_synthdistill.evaluation.complexity import model_properties
from bob.paper.ijcb2023_synthdistill.evaluation.embedding import EmbeddingTransformer
from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student


def test_its_configuration_names_each_file_by_its_content(run, exported):
    config = json.loads((exported / "config.json").read_text())
    names = {"model.onnx", "model.int8.onnx", "model.safetensors"}
    assert set(config["files"]) == names
    others = {"config.json", "README.md", "pipeline.py", "pipeline_int8.py"}
    assert {path.name for path in exported.iterdir()} == names | others
    for name, file in config["files"].items():
        content = (exported / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["bytes"] == len(content)
    assert config["files"]["model.onnx"]["deviation_from_torch"] < 1e-4
    assert config["trained"] == json.loads((run / "options.json").read_text())
    first = load_student(run / "student.safetensors").state_dict()
    second = load_student(exported / "model.safetensors").state_dict()
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_bob_evaluates_it_as_the_student(run, exported):
    for name in ("pipeline.py", "pipeline_int8.py"):
        recipe = load([str(exported / name)]).pipeline.embedding.recipe
        assert recipe.path().parent == exported
    faces = np.random.default_rng(0).integers(0, 256, (5, 3, 112, 112), np.uint8)
    expected, found = (
        EmbeddingTransformer(recipe, batch_size=4).transform(faces)
        for recipe in (
            NetworkRecipe("student", run / "student.safetensors"),
            NetworkRecipe("onnx", exported / "model.onnx"),
        )
    )
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_tables_count_what_the_file_says_and_time_it(exported):
    config = json.loads((exported / "config.json").read_text())
    found = model_properties(exported / "model.int8.onnx", "onnx", timed=True)
    assert found["parameters"] == config["parameters"]
    assert found["multiply_adds"] == config["multiply_adds"]
    assert found["file_size"] == config["files"]["model.int8.onnx"]["bytes"]
    assert 0 < found["seconds"] < 1


def test_what_is_there_is_kept_unless_forced(tmp_path, run):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(SynthDistillError, match="--force"):
        check_folder(tmp_path, force=False)
    check_folder(tmp_path, force=True)
    with pytest.raises(SynthDistillError, match="is a run folder"):
        check_folder(run, force=True)
    with pytest.raises(SynthDistillError, match="is a file"):
        check_folder(tmp_path / "notes.txt", force=True)


def test_an_export_that_fails_leaves_what_was_there(tmp_path, run, monkeypatch):
    def fail(config):
        raise SynthDistillError("no card")

    monkeypatch.setattr(onnx_export, "export_onnx", lambda _, path, *__: path.touch() or 0.0)
    monkeypatch.setattr(model_card, "make_card", fail)
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "model.onnx").write_text("earlier")
    with pytest.raises(SynthDistillError, match="no card"):
        export(Source.find(run), folder, int8=False)
    assert (folder / "model.onnx").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_student_alone_needs_a_generator(tmp_path, run, micro_generator):
    student = shutil.copy(run / "student.safetensors", tmp_path)
    source = Source.find(tmp_path)
    assert str(source.student) == student
    assert source.run is None
    with pytest.raises(SynthDistillError, match="--generator FILE, or leave them out"):
        source.generator()
    assert Source.find(run / "student.safetensors").generator() == micro_generator


def test_a_generator_is_found_by_its_content(tmp_path, run, micro_generator):
    def of(path, digest):
        return Source(run, run, {"files": {"generator": {"path": str(path), "sha256": digest}}})

    digest = hashlib.sha256(micro_generator.read_bytes()).hexdigest()
    with pytest.raises(SynthDistillError, match=r"is not at .*moved.pkl"):
        of(tmp_path / "moved.pkl", digest).generator()
    with pytest.raises(SynthDistillError, match="say where"):  # another file lies there now
        of(micro_generator, "0" * 64).generator()
    # the package's own, wherever the package was when it trained
    own = next(room.Path(room.__file__).parents[1].rglob("generator.safetensors"))
    elsewhere = f"/elsewhere/ijcb2023_synthdistill/{own.relative_to(own.parents[2])}"
    assert of(elsewhere, hashlib.sha256(own.read_bytes()).hexdigest()).generator() == own


def test_what_is_no_run_is_told(tmp_path, run):
    with pytest.raises(SynthDistillError, match="it holds none"):
        Source.find(tmp_path)
    shutil.copy(run / "student.safetensors", tmp_path)
    (tmp_path / "options.json").write_text('{"options": 1, "files": {}, "images": 1}')
    with pytest.raises(SynthDistillError, match=r"cannot read .*options.json"):
        Source.find(tmp_path)
