"""Files are whole or untouched, and the user's paths are Bob's."""

import errno
import logging
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from clapper.click import user_defaults_group
from clapper.rc import UserDefaults
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill import files
from bob.paper.ijcb2023_synthdistill.files import (
    TEACHER,
    SynthDistillError,
    atomic_write,
    configure_path,
    configured_path,
    require_path,
)
from bob.paper.ijcb2023_synthdistill.weights import safetensors_bytes


def test_a_write_replaces_the_file_whole(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("one", "two"):
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("accident", "told", "words"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left on device"), SynthDistillError, "No space .*room"),
    ],
)
def test_a_failed_write_leaves_the_file(tmp_path, accident, told, words):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            raise accident

    with pytest.raises(told, match=words):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_read_is_told(tmp_path):
    with (
        pytest.raises(SynthDistillError, match=r"cannot read .*Is a directory.*Expected a list"),
        files.reading(tmp_path, "a list"),
    ):
        pass


def test_safetensors_are_the_same_bytes_and_readable(tmp_path):
    tensors = {"b": torch.randn(3, 5), "a": torch.arange(7), "empty": torch.zeros(0, 2)}
    metadata = {f"key {k}": f"value {k} é" for k in range(20)}
    first = safetensors_bytes(tensors, metadata)
    assert first == safetensors_bytes(tensors, dict(reversed(metadata.items())))
    path = tmp_path / "x.safetensors"
    path.write_bytes(first)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == metadata
    loaded = safetensors.torch.load_file(path)
    assert all(torch.equal(loaded[k], tensors[k]) for k in tensors)


@pytest.fixture
def rc(tmp_path, monkeypatch):
    """Point the user's configuration to an empty folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "bobrc.toml"


def test_bob_reads_what_we_write_and_we_read_what_bob_writes(rc, tmp_path, monkeypatch):
    rc.parent.rmdir()
    monkeypatch.chdir(tmp_path.parent)
    assert configure_path("bob.bio.face.lfw.directory", Path(tmp_path.name)) == rc
    path = tmp_path / "some where" / "teacher.pth"

    # as in bob.cli
    @user_defaults_group(logger=logging.getLogger("test"), config=UserDefaults(files.CONFIGURATION))
    def config(**_):
        pass

    monkeypatch.setenv("HOME", str(tmp_path))
    answer = CliRunner().invoke(config, ["get", "bob.bio.face.lfw.directory"])
    assert answer.stdout.strip() == str(tmp_path)
    assert CliRunner().invoke(config, ["set", TEACHER, "~/some where/teacher.pth"]).exit_code == 0
    assert configured_path(TEACHER) == path
    assert configured_path("bob.bio.face.lfw.directory") == tmp_path


def test_a_required_path_says_the_command(rc, tmp_path):
    with pytest.raises(SynthDistillError, match=rf"the teacher.*bob config set {TEACHER} PATH"):
        require_path(TEACHER, "the teacher")
    configure_path(TEACHER, tmp_path / "gone.pth")
    with pytest.raises(SynthDistillError, match=rf"gone\.pth.*bob config set {TEACHER} PATH"):
        require_path(TEACHER, "the teacher")
    (tmp_path / "gone.pth").touch()
    assert require_path(TEACHER, "the teacher") == tmp_path / "gone.pth"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a = [", r"cannot read.*bobrc\.toml"),
        (f"[{TEACHER}]\nx = 1", f"expected a path under {TEACHER}"),
    ],
)
def test_a_broken_configuration_is_told(rc, content, words):
    rc.write_text(content)
    with pytest.raises(SynthDistillError, match=words):
        configured_path(TEACHER)


def test_control_characters_of_names_do_not_reach_the_terminal():
    error = SynthDistillError("no image in ü/\x1b[2J\x9b\udc80\r\n\tx")
    assert error.message == "no image in ü/\\x1b[2J\\x9b\\udc80\\r\n\\tx"
    assert pickle.loads(pickle.dumps(error)).message == error.message
