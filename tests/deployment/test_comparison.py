"""A model is found with its thresholds, and each threshold with its origin."""

import json
import shutil

import pytest

from bob.paper.ijcb2023_synthdistill.deployment.comparison import Model
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def folder(exported, tmp_path):
    """An export with thresholds of two benchmarks."""
    copy = shutil.copytree(exported, tmp_path / "exported")
    config = json.loads((copy / "config.json").read_text())
    common = {"drawn": False, "mirror": True, "pairs": 0, "accuracy": 0.9, "accuracy_std": 0.1}
    config["benchmarks"] = [
        {"name": "lfw", "title": "LFW", "impostors": 300, "thresholds": {"0.01": 0.31}, **common},
        {
            "name": "calfw",
            "title": "CALFW",
            "impostors": 3000,
            "thresholds": {"0.01": 0.32, "0.001": 0.42},
            **common,
        },
    ]
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_the_first_benchmark_that_can_tell_the_rate(folder):
    model = Model.find(folder)
    for fmr, name, value, origin in (
        (1e-2, None, 0.31, "lfw"),
        (1e-3, None, 0.42, "calfw"),
        (1e-2, "calfw", 0.32, "calfw"),
    ):
        threshold, one = model.threshold(fmr, name)
        assert (threshold, one["name"]) == (value, origin)


@pytest.mark.parametrize(
    ("fmr", "name", "words"),
    [
        (1e-4, None, "cannot be told by 3,000 impostor pairs: at least 10,000"),
        (1e-3, "lfw", "cannot be told by 300 impostor pairs: at least 1,000"),
        (1e-2, "cplfw", "no threshold from cplfw; there are those of: lfw, calfw"),
    ],
)
def test_a_rate_that_cannot_be_told_is_refused(folder, fmr, name, words):
    with pytest.raises(SynthDistillError, match=words):
        Model.find(folder).threshold(fmr, name)


def test_each_file_finds_what_stands_beside_it(folder, run, tmp_path):
    for name in ("model.onnx", "model.int8.onnx"):
        assert len(Model.find(folder / name).benchmarks) == 2
    alone = shutil.copy(folder / "model.onnx", tmp_path / "alone.onnx")
    assert Model.find(tmp_path / "alone.onnx").threshold(1e-3) is None
    shutil.copy(alone, folder / "other.onnx")  # not in its list
    assert Model.find(folder / "other.onnx").benchmarks == []
    assert Model.find(run).recipe.kind == "student"
    assert Model.find(run).threshold(1e-2) is None


def test_a_file_that_was_replaced_has_no_threshold(folder):
    shutil.copy(folder / "model.int8.onnx", folder / "model.onnx")
    with pytest.raises(SynthDistillError, match="it was replaced"):
        Model.find(folder)


def test_a_broken_configuration_is_told(folder):
    (folder / "config.json").write_text('{"files": {}, "benchmarks": [{}]}')
    with pytest.raises(SynthDistillError, match=r"cannot read .*config.json"):
        Model.find(folder)
