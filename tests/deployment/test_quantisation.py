"""Eight bits: what they cost is measured, and mended."""

import numpy as np
import pytest

from bob.paper.ijcb2023_synthdistill.deployment import quantisation
from bob.paper.ijcb2023_synthdistill.deployment.quantisation import generate_faces, quantise
from bob.paper.ijcb2023_synthdistill.recognition.onnx_network import open_session


@pytest.fixture(scope="module")
def faces(micro_generator):
    return generate_faces(micro_generator, 20)


@pytest.fixture(autouse=True)
def few_probes(monkeypatch):
    monkeypatch.setattr(quantisation, "PROBES", 8)


def cosines(exported, path, faces):
    first, second = (
        open_session(file).run(None, {"faces": faces})[0]
        for file in (exported / "model.onnx", path)
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths


def test_generated_faces_are_pixels_and_always_the_same(micro_generator, faces):
    assert faces.shape == (20, 3, 112, 112)
    assert faces.dtype == np.float32
    assert faces.min() >= 0
    assert 200 < faces.max() <= 255
    np.testing.assert_array_equal(generate_faces(micro_generator, 20), faces)


def test_what_eight_bits_harm_most_stays_in_float(exported, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "WANTED", -1)
    every = quantise(exported / "model.onnx", tmp_path / "q.onnx", faces)
    assert every.kept == 0
    costs = list(every.damage.values())
    assert costs == sorted(costs, reverse=True)
    assert "student.backbone.conv_stem" in every.damage
    measured = cosines(exported, tmp_path / "q.onnx", faces[-8:])
    assert every.mean_cosine == pytest.approx(measured.mean(), abs=1e-5)
    assert every.least_cosine == pytest.approx(measured.min(), abs=1e-5)
    small, large = (p.stat().st_size for p in (tmp_path / "q.onnx", exported / "model.onnx"))
    assert small < 0.6 * large

    monkeypatch.setattr(quantisation, "WANTED", 1 - (1 - every.mean_cosine) / 2)
    some = quantise(exported / "model.onnx", tmp_path / "q.onnx", faces)
    assert 0 < some.kept < len(some.damage)
    assert some.mean_cosine >= quantisation.WANTED
