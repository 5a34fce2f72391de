"""`synthdistill-embed` from the command line."""

from functools import partial

import numpy as np
import pytest
from invoking import invoke
from means import save_means
from PIL import Image

from bob.paper.ijcb2023_synthdistill.benchmarks.eyes import read_eyes
from bob.paper.ijcb2023_synthdistill.deployment import photographs
from bob.paper.ijcb2023_synthdistill.scripts import embed as command


@pytest.fixture
def folder(tmp_path):
    """Five aligned faces in folders, among other things."""
    for number in range(5):
        path = tmp_path / "faces" / f"person {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "faces" / "notes.txt").write_text("no photograph")
    save_means(tmp_path / "m.safetensors")
    return tmp_path / "faces"


run = partial(invoke, command.embed)


@pytest.fixture
def model(folder):
    return "--model", folder.parent / "m.safetensors", "--network", "means:Means"


def test_folders_in_batches(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 2)
    run(folder, *model, "--aligned", "-o", tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as found:
        assert found["embeddings"].shape == (5, 48)
        names = found["paths"].tolist()
        third = found["embeddings"][names.index("person 0/2.png")]
    assert sorted(names) == [
        f"person {n}/{m}.png" for n, m in ((0, 0), (0, 2), (0, 4), (1, 1), (1, 3))
    ]
    run(folder / "person 0" / "2.png", *model, "--aligned", "-o", tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as found:
        np.testing.assert_allclose(found["embeddings"][0], third, rtol=1e-5)


def test_each_that_failed_has_its_line(folder, model, tmp_path):
    (folder / "a.jpg").write_bytes(b"no photograph")
    Image.new("RGB", (64, 64)).save(folder / "b.png")
    result = run(folder, *model, "--aligned", "-o", tmp_path / "all.npz", code=1)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "a.jpg" in errors[0]
    assert "b.png" in errors[1]
    assert "5 of 7 photographs" in result.stderr
    with np.load(tmp_path / "all.npz") as found:
        assert len(found["embeddings"]) == 5


def test_eye_positions_that_benchmarks_read(folder, tmp_path, monkeypatch):
    class Found:
        def __init__(self, path):
            pass

        def find(self, image):
            return [photographs.TEMPLATE]

    monkeypatch.setattr(photographs, "Detector", Found)
    run(folder, "--landmarks", tmp_path / "eyes.csv")
    (eyes,) = read_eyes(tmp_path / "eyes.csv", ["person 1/3.png"], complete=True)
    assert eyes["reye"] == pytest.approx((51.6963, 38.2946))
    assert eyes["leye"] == pytest.approx((51.5014, 73.5318))


def test_nothing_to_do_is_told(folder, model, tmp_path):
    (tmp_path / "empty").mkdir()
    said = run(tmp_path / "empty", "--landmarks", "e.csv", code=1).output
    assert "there are no photographs in" in said
    (tmp_path / "empty" / "a.jpg").write_bytes(b"")
    result = run(tmp_path / "empty", *model, "--aligned", "-o", tmp_path / "all.npz", code=1)
    assert "none of 1 photographs can be used" in result.output
    assert not (tmp_path / "all.npz").exists()
    for options in ((), ("-o", "x.npz"), ("--landmarks", "e.csv", "--aligned")):
        run(folder, *options, code=2)
