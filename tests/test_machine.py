"""What a number was computed with."""

import subprocess

from bob.paper.ijcb2023_synthdistill import machine


def git(folder, *arguments):
    name = ("-c", "user.name=x", "-c", "user.email=x@x")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_source_tree_has_a_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "file").touch()
    for command in (["init"], ["add", "."], ["commit", "-m", "x"]):
        git(tmp_path, *command)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    revision = machine.source_revision(tmp_path)
    assert len(revision) == 40
    (tmp_path / "file").write_text("changed")
    assert machine.source_revision(tmp_path) == f"{revision}-dirty"
    # a repository around an installed package is not its own
    (tmp_path / "venv").mkdir()
    assert machine.source_revision(tmp_path / "venv") is None
    monkeypatch.setenv("PATH", "")
    assert machine.source_revision(tmp_path) is None
