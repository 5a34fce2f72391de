"""`synthdistill-verify` from the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from invoking import invoke
from means import save_means
from PIL import Image

from bob.paper.ijcb2023_synthdistill.deployment import comparison
from bob.paper.ijcb2023_synthdistill.scripts.verify import verify


@pytest.fixture
def run(tmp_path):
    save_means(tmp_path / "m.safetensors")
    for seed, name in enumerate("ab"):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((112, 112)).save(tmp_path / f"{name}.png")
    options = ["--model", tmp_path / "m.safetensors", "--network", "means:Means"]

    return lambda first, second, *arguments, **code: invoke(
        verify, tmp_path / first, tmp_path / second, *options, *arguments, **code
    )


def test_by_a_threshold_of_ones_own(run):
    result = run("a.png", "a.png", "--aligned", "--threshold", "0.9", "--json")
    found = json.loads(result.stdout)
    assert found["score"] == pytest.approx(1)
    assert found["threshold"] == 0.9
    assert found["same"] is True
    assert found["origin"] is None
    found = run("a.png", "b.png", "--aligned", "--threshold", "0.9").stdout
    assert found.startswith("different (cosine ")


def test_by_a_benchmarks_impostors(run, monkeypatch):
    one = {"name": "x", "title": "X", "impostors": 3000, "drawn": True, "mirror": True}
    one["thresholds"] = {"0.001": 0.5}
    find = comparison.Model.find
    monkeypatch.setattr(
        comparison.Model, "find", lambda *options: replace(find(*options), benchmarks=[one])
    )
    result = run("a.png", "a.png", "--aligned")
    assert "threshold: false match rate 0.001 on X, 3,000 impostor pairs" in result.stdout
    assert "drawn faces" in result.stdout
    found = json.loads(run("a.png", "a.png", "--aligned", "--json").stdout)
    assert found["origin"] == {"name": "x", "title": "X", "impostors": 3000, "drawn": True}
    assert found["fmr"] == 0.001
    refused = run("a.png", "a.png", "--aligned", "--fmr", "1e-4", code=1)
    assert "cannot be told by 3,000 impostor pairs" in refused.output


def test_without_a_threshold_the_score_stands_alone(run):
    result = run("a.png", "b.png", "--aligned")
    assert "no threshold is known" in result.stdout
    found = json.loads(run("a.png", "b.png", "--aligned", "--json").stdout)
    assert found["threshold"] is found["same"] is None


def test_eyes_and_picture(run, tmp_path):
    picture = tmp_path / "both.png"
    eyes = ("--eyes-a", 30, 50, 70, 52, "--eyes-b", 30, 50, 70, 52)
    run("a.png", "b.png", *eyes, "--threshold", "0.5", "--picture", picture)
    with Image.open(picture) as drawn:
        assert drawn.size == (1200, 1050)
