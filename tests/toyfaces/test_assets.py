"""The shipped networks: faces that the renderer would draw, a teacher that tells them apart."""

import functools
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.files import sha256
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

SCRIPTS = Path(__file__).parents[2] / "experiments" / "toyfaces"


@pytest.fixture(scope="module")
def generator():
    return load_generator(toyfaces.GENERATOR)


@pytest.fixture(scope="module")
def teacher():
    return load_teacher(toyfaces.TEACHER)


@pytest.fixture(scope="module")
def samples(generator):
    """ws of 32 faces, and the images."""
    torch.manual_seed(5)
    ws = generator.mapping(torch.randn(32, generator.z_dim))
    return ws, generator.synthesis(ws)


@pytest.fixture
def build(monkeypatch):
    """The script that makes the assets; what it imports from its folder is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import build

    yield build
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


def shapes(network):
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def test_files_are_small_and_have_the_architectures_of_the_scripts(generator, teacher, build):
    card = (toyfaces.TEACHER.parent / "CARD.md").read_text()
    for path in (toyfaces.TEACHER, toyfaces.GENERATOR):
        assert f"| `{path.name}` | `{sha256(path)}` |" in card
    assert sum(path.stat().st_size for path in (toyfaces.GENERATOR, toyfaces.TEACHER)) <= 8e6
    built = Generator(**sys.modules["train_generator"].ARCHITECTURE)
    assert generator.options == built.options
    assert shapes(generator) == shapes(built)
    network = IResNet(**sys.modules["train_teacher"].ARCHITECTURE)
    assert shapes(teacher.network) == shapes(network)
    assert teacher.network.eps == network.eps
    assert next(teacher.parameters()).dtype == torch.float32


def test_samples_are_faces_that_the_renderer_would_draw(generator, samples, build):
    ws, images = samples
    drawn = render(*sys.modules["train_generator"].describe(ws[:, 0]), generator.resolution, "ffhq")
    error = (images - drawn).abs().mean()
    assert error < 0.12
    assert (images - drawn.roll(1, dims=0)).abs().mean() > 3 * error


def test_a_small_move_in_w_changes_the_face_a_little(generator, samples, teacher):
    ws, images = samples
    torch.manual_seed(6)
    noise = torch.randn(len(ws), 1, generator.w_dim)
    embeddings = teacher(faces.crop(images))
    still, little, paper, far = (
        float(torch.cosine_similarity(embeddings, teacher(faces.crop(moved))).mean())
        for moved in (generator.synthesis(ws + size * noise) for size in (0.0, 0.25, 1.0, 3.0))
    )
    # the noise of the synthesis alone changes nearly nothing
    assert still > 0.99
    assert still > little > paper > far
    assert little > 0.8
    # the coefficient of the paper: related, and yet another image
    assert 0.2 < paper < 0.9


def test_teacher_recognises(teacher, build):
    figures = sys.modules["figures"]
    assert figures.accuracy(teacher, *figures.draw_pairs("cfp-fp", 40)) >= 0.85


def test_everything_is_built_from_nothing(build, tmp_path, monkeypatch):
    """The script runs, and its generator learns by the view of the teacher that it just made."""
    few = {"images": 16, "batch_size": 8, "workers": 0}
    seen = []
    for name, options in (
        ("train_teacher", {**few, "people": 8, "pairs": 5}),
        ("train_generator", few),
        ("figures", {"count": 16, "pairs": 5}),
        ("draw_pictures", {"count": 1}),
    ):
        monkeypatch.setattr(build, name, functools.partial(getattr(build, name), **options))
    script = sys.modules["train_generator"]
    monkeypatch.setattr(
        script, "load_teacher", lambda path: seen.append(path) or load_teacher(path)
    )
    # of 512 x 512 numbers four times
    monkeypatch.setattr(sys.modules["figures"], "frechet", lambda *_: 1.0)
    arguments = ["-o", str(tmp_path), "--pictures", str(tmp_path / "album")]
    result = CliRunner().invoke(build.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "cosine" in result.output
    assert len(list((tmp_path / "album").glob("*.png"))) == 2
    for path in (toyfaces.TEACHER, toyfaces.GENERATOR):
        made = (tmp_path / path.name).read_bytes()
        assert len(made) == pytest.approx(path.stat().st_size, rel=0.01)
    assert seen == [tmp_path / toyfaces.TEACHER.name]
