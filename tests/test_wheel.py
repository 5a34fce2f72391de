"""The package as others get it: a wheel, installed away from the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words, cwd):
    """Run a command outside the repository, and give what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel; its requirements are those of the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("bob", "LICENSES"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    # a line of a .pth file adds the folder and leaves the .pth files in it alone: no checkout
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "env" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    shutil.rmtree(source)
    return python


def test_the_wheel_brings_its_data_and_registers_databases_and_pipelines(installed, tmp_path):
    program = """
from importlib.metadata import entry_points
from importlib.resources import files
package = files("bob.paper.ijcb2023_synthdistill")
for name in ("py.typed", "toyfaces/assets/generator.safetensors", "toyfaces/assets/CARD.md",
             "evaluation/published_results.csv"):
    assert package.joinpath(name).is_file(), name
for group in ("bob.bio.database", "bob.bio.pipeline", "synthdistill.config",
              "synthdistill.benchmark", "console_scripts"):
    ours = [entry for entry in entry_points(group=group) if "synthdistill" in entry.value]
    assert ours, group
    for entry in ours:
        entry.load()
print(package)
"""
    where = run(installed, "-c", program, cwd=tmp_path).splitlines()[-1]
    assert Path(where).is_relative_to(installed.parents[1])


def test_toyfaces_train_without_the_repository(installed, tmp_path):
    options = "--epochs 1 --images-per-epoch 4 --batch-size 4 --validation-images 0 --device cpu"
    command = installed.parent / "synthdistill-train"
    run(command, "toyfaces", "-o", "run", *options.split(), cwd=tmp_path)
    assert (tmp_path / "run" / "student.safetensors").is_file()
