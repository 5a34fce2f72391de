"""The card says what was measured, with its origin, and no more."""

import json
import shutil

import pandas
import pytest
from huggingface_hub import ModelCard
from score_files import FakeBenchmark, write_record, write_scores

from bob.paper.ijcb2023_synthdistill.deployment import benchmarked
from bob.paper.ijcb2023_synthdistill.deployment.benchmarked import read_benchmarks
from bob.paper.ijcb2023_synthdistill.deployment.model_card import make_card
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def evaluated(run, tmp_path, monkeypatch):
    """A copy of the run, with scores of 100 genuine and 100 impostor pairs on LFW."""
    monkeypatch.setattr(benchmarked, "Verification", FakeBenchmark)
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "lfw" / "scores-dev.csv"
    write_scores(path, "lfw", distance=3)
    write_record(path, "lfw", copy / "student.safetensors")
    return copy


def test_thresholds_are_cosines_that_the_impostors_can_tell(evaluated):
    (found,) = read_benchmarks(evaluated)
    assert found["title"] == "LFW"
    assert found["impostors"] == 100
    assert not found["drawn"]
    assert found["mirror"]
    (fmr,) = found["thresholds"]  # one in 100; neither 1e-3 nor 1e-4
    assert fmr == "0.01"
    scores = pandas.read_csv(evaluated / "lfw" / "scores-dev.csv")
    impostors = scores["score"][~scores["genuine"]] + 1
    assert (impostors > found["thresholds"][fmr]).sum() == 1


def test_scores_of_something_else_are_refused(evaluated):
    record = evaluated / "lfw" / "scores-dev.json"
    kept = record.read_text()
    record.unlink()
    with pytest.raises(SynthDistillError, match="nothing says what"):
        list(read_benchmarks(evaluated))
    record.write_text(kept)
    (evaluated / "student.safetensors").write_bytes(b"trained further")
    with pytest.raises(SynthDistillError, match="of another network"):
        list(read_benchmarks(evaluated))


def test_the_card_of_a_run_with_scores_and_times(exported, evaluated):
    config = json.loads((exported / "config.json").read_text())
    config["benchmarks"] = list(read_benchmarks(evaluated))
    times = {"1": {"median": 1.234, "p95": 2.345}}
    config["latency"] = {
        "processor": "Abacus",
        "passes": 9,
        "ms": {"torch": times, "model.onnx": times},
    }
    card = ModelCard(make_card(config))
    (result,) = card.data.eval_results
    assert result.metric_value == round(config["benchmarks"][0]["accuracy"], 4)
    for words in (
        "| photographs | none |",
        "stylegan2-micro.pkl`, SHA-256",
        "NVIDIA's, for research and evaluation only",
        "licence unknown to the package",
        "| images | 32 generated",
        f"| LFW | {100 * result.metric_value:.2f} ±",
        f"| 100 | {config['benchmarks'][0]['thresholds']['0.01']:.3f} |  |  |",
        "| torch | 1.23 (2.35) |",
        "Abacus",
        "mirrored face",
    ):
        assert words in card.content
    assert card.data.license == "other"
    assert "Drawn faces" not in card.content
    config["benchmarks"][0]["drawn"] = True
    drawn = make_card(config)
    assert "nobody in a photograph" in drawn
    assert "LFW (drawn faces)" in drawn


def test_the_card_of_a_student_alone_claims_nothing(exported):
    config = json.loads((exported / "config.json").read_text())
    card = make_card({**config, "trained": {}, "benchmarks": []})
    for words in ("No threshold is known", "say here what is known", "Not measured"):
        assert words in card
    assert "photographs | none" not in card
    assert "without a photograph" not in card
    trained = {**config["trained"], "options": {"method": "mine.Supervised"}}
    assert "unknown: another method trained it" in make_card({**config, "trained": trained})
