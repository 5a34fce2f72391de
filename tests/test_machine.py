"""What a number was computed with."""

import subprocess

import pytest

from bob.paper.ijcb2023_synthdistill import machine


def git(folder, *arguments):
    name = ("-c", "user.name=x", "-c", "user.email=x@x")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a source tree with the package in a repository with one commit."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "tree" / "bob" / "paper" / "ijcb2023_synthdistill"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (tmp_path / "tree" / "pyproject.toml").write_text(f'[project]\nname = "{machine.PROJECT}"\n')
    git(tmp_path / "tree", "init")
    git(tmp_path / "tree", "add", ".")
    git(tmp_path / "tree", "commit", "-m", "x")
    return folder


def test_the_source_tree_has_a_revision(package, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    revision = machine.source_revision(package)
    assert len(revision) == 40
    (package / "__init__.py").write_text("changed")
    assert machine.source_revision(package) == f"{revision}-dirty"


def test_a_repository_around_an_installed_package_is_not_its_own(package):
    tree = package.parents[2]
    installed = tree / "venv" / "site-packages" / "bob" / "paper" / "ijcb2023_synthdistill"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert machine.source_revision(installed) is None


def test_another_project_s_repository_is_not_its_own(package):
    (package.parents[2] / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert machine.source_revision(package) is None


def test_without_git_or_untracked_there_is_no_revision(package, monkeypatch):
    git(package, "rm", "--cached", "__init__.py")
    assert machine.source_revision(package) is None
    monkeypatch.setenv("PATH", "")
    assert machine.source_revision(package) is None


def test_a_machine_is_described():
    found = machine.describe_machine()
    assert list(found) == ["platform", "processor", "cores", "instruction_set", "threads"]
    assert found["processor"]
    assert found["threads"] >= 1
