import functools
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces import architectures
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
def scripts(monkeypatch):
    """The folder of scripts, importable; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


def test_size():
    total = sum(path.stat().st_size for path in (toyfaces.GENERATOR, toyfaces.TEACHER))
    assert total <= 8e6


def test_files_have_the_architectures_of_the_scripts(generator, teacher):
    built = Generator(**architectures.GENERATOR)
    assert generator.options == built.options
    shapes = {name: tensor.shape for name, tensor in built.state_dict().items()}
    assert {n: t.shape for n, t in generator.state_dict().items()} == shapes
    network = IResNet(**architectures.TEACHER)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {n: t.shape for n, t in teacher.network.state_dict().items()} == shapes
    assert teacher.network.eps == network.eps
    assert next(teacher.parameters()).dtype == torch.float32


def test_mapping_is_what_the_script_builds(generator, scripts):
    latents = scripts("latents")
    assert generator.z_dim == latents.Z_DIM
    built = Generator(**architectures.GENERATOR)
    latents.build_mapping(built)
    z = torch.randn(8, generator.z_dim)
    assert torch.allclose(built.mapping(z), generator.mapping(z), atol=1e-5)
    assert torch.allclose(built.mapping.w_avg, generator.mapping.w_avg, atol=1e-5)
    normalised = z / z.square().mean(dim=1, keepdim=True).sqrt()
    assert torch.allclose(latents.decode(built.mapping(z)[:, 0]), normalised, atol=1e-4)


def test_w_has_about_unit_spread_and_its_average(generator):
    torch.manual_seed(0)
    w = generator.mapping(torch.randn(4096, generator.z_dim))[:, 0]
    assert 0.7 < float(w.std(dim=0).mean()) < 1.5
    assert torch.allclose(w.mean(dim=0), generator.mapping.w_avg, atol=0.12)


def test_samples_are_faces_that_the_renderer_would_draw(generator, samples, scripts):
    latents = scripts("latents")
    ws, images = samples
    drawn = render(*latents.describe(latents.decode(ws[:, 0])), generator.resolution, "ffhq")
    error = (images - drawn).abs().mean()
    others = (images - drawn.roll(1, dims=0)).abs().mean()
    assert error < 0.12
    assert others > 3 * error


def test_samples_are_in_range_and_vary(samples, teacher):
    images = samples[1]
    assert images.shape == (32, 3, 64, 64)
    assert (images.abs() > 1.1).float().mean() < 0.01
    assert images.std(dim=0).mean() > 0.2
    embeddings = torch.nn.functional.normalize(teacher(faces.crop(images)))
    cosines = (embeddings @ embeddings.t())[~torch.eye(32, dtype=bool)]
    assert cosines.mean() < 0.35
    assert (cosines > 0.8).float().mean() < 0.05


def test_a_small_move_in_w_changes_the_face_a_little(generator, samples, teacher):
    ws, images = samples
    torch.manual_seed(6)
    noise = torch.randn(len(ws), 1, generator.w_dim)
    embeddings = teacher(faces.crop(images))
    similar = []
    for size in (0.0, 0.25, 1.0, 3.0):
        moved = generator.synthesis(ws + size * noise)
        similar.append(
            float(torch.cosine_similarity(embeddings, teacher(faces.crop(moved))).mean())
        )
    # the noise of the synthesis alone changes nearly nothing
    assert similar[0] > 0.99
    assert similar[0] > similar[1] > similar[2] > similar[3]
    assert similar[1] > 0.8
    # the coefficient of the paper: related, and yet another image
    assert 0.2 < similar[2] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "least"),
    [("lfw", 0.95), ("calfw", 0.90), ("cplfw", 0.85), ("cfp-fp", 0.85), ("agedb-30", 0.90)],
)
def test_teacher_recognises(teacher, scripts, benchmark, least):
    pairs = scripts("pairs")
    measured = pairs.accuracy(teacher, *pairs.draw_pairs(benchmark, 150))
    assert least <= measured < 1.0


def test_scripts_explain_themselves(scripts):
    from click.testing import CliRunner

    for name in ("train_teacher", "train_generator", "pictures", "build"):
        result = CliRunner().invoke(scripts(name).main, ["--help"])
        assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_everything_is_built_from_nothing(scripts, tmp_path, monkeypatch):
    from click.testing import CliRunner

    build, album = scripts("build"), tmp_path / "album"
    seen = []
    load = build.train_generator.load_teacher
    monkeypatch.setattr(
        build.train_generator, "load_teacher", lambda path: seen.append(path) or load(path)
    )
    measure = build.train_teacher.measure
    for script in (build.train_teacher, build.figures):
        monkeypatch.setattr(script, "measure", functools.partial(measure, count=10))
    few = ["--images", "128", "--count", "128"]
    result = CliRunner().invoke(
        build.main, ["-o", str(tmp_path), "--pictures", str(album), *few], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "cosine" in result.output
    assert len(list(album.glob("*.png"))) == 4
    for path in (toyfaces.TEACHER, toyfaces.GENERATOR):
        made = (tmp_path / path.name).read_bytes()
        assert made != path.read_bytes()
        assert len(made) == pytest.approx(path.stat().st_size, rel=0.01)
    # the generator learns by the view of the teacher that was just made
    assert [Path(path) for path in seen] == [tmp_path / toyfaces.TEACHER.name]


def test_teacher_training_runs(scripts, tmp_path):
    """The scripts' own loop, for four batches, and the file it writes."""
    script = scripts("train_teacher")
    batches = script.Batches(people=8, batch_size=8, count=4, seed=3)
    network = IResNet(**architectures.TEACHER)
    before = network.fc.weight.clone()
    script.learn(
        network,
        batches,
        rate=1e-3,
        margin=0.3,
        scale=16.0,
        hint=1.0,
        workers=0,
        every=2,
        checkpoint=tmp_path / "teacher.safetensors",
    )
    assert not torch.equal(before, network.fc.weight)
    assert load_teacher(tmp_path / "teacher.safetensors").embedding_size == 512


def test_generator_training_runs(scripts, tmp_path):
    from click.testing import CliRunner

    script = scripts("train_generator")
    path = tmp_path / "generator.safetensors"
    arguments = ["-o", str(path), "--images", "12", "--batch-size", "4", "--workers", "0"]
    result = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert load_generator(path).resolution == architectures.GENERATOR["resolution"]
