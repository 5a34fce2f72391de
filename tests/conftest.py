"""What several test rooms share: a world of tiny networks, small enough to train in seconds."""

import os

# tests run side by side: more threads would only wait for one another
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory):
    """Keep the user's Bob configuration and caches out of the tests."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def micro_generator() -> Path:
    """NVIDIA's file format: 32 px, random weights, fails whoever executes it."""
    return DATA / "stylegan2-micro.pkl"


@pytest.fixture(scope="session")
def small_teacher(tmp_path_factory) -> Path:
    """A small IResNet with random weights, as a file."""
    import torch

    from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
    from bob.paper.ijcb2023_synthdistill.recognition.teacher import save_teacher

    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = IResNet((1, 1, 1, 1), widths=(4, 8, 8, 8))
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_teacher(path, network.eval(), {})
    return path


@pytest.fixture(scope="session")
def tiny_run(micro_generator, small_teacher):
    """Options of a run that ends in seconds: 2 epochs of 3 iterations of 4 images."""
    from bob.paper.ijcb2023_synthdistill.distillation.options import Options

    return Options(
        student="test_efficientnet",
        initialisation="random",
        generator=micro_generator,
        teacher=small_teacher,
        epochs=2,
        images_per_epoch=12,
        batch_size=4,
        validation_images=8,
        device="cpu",
    )
