import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from clapper.click import user_defaults_group
from clapper.rc import UserDefaults
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill import files
from bob.paper.ijcb2023_synthdistill.files import (
    TEACHER,
    SynthDistillError,
    configure_path,
    configured_path,
    require_path,
)


@pytest.fixture
def rc(tmp_path, monkeypatch):
    """Point the user's configuration to an empty folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "bobrc.toml"


def test_unset_key_is_none(rc):
    assert configured_path(TEACHER) is None
    assert not rc.exists()


def test_file_is_the_one_that_bob_uses():
    """Read Bob's command: to run it takes many seconds of imports of its plugins."""
    source = Path(importlib.util.find_spec("bob.cli").origin).read_text()
    assert f'UserDefaults("{files.CONFIGURATION}"' in source
    assert "clapper.rc" in source


def test_bob_reads_what_we_write_and_we_read_what_bob_writes(rc, tmp_path):
    configure_path("bob.bio.face.lfw.directory", tmp_path)
    path = tmp_path / "some where" / "teacher.pth"

    # as in bob.cli
    @user_defaults_group(logger=logging.getLogger("test"), config=UserDefaults(files.CONFIGURATION))
    def config(**_):
        pass

    answer = CliRunner().invoke(config, ["get", "bob.bio.face.lfw.directory"])
    assert answer.stdout.strip() == str(tmp_path)
    assert CliRunner().invoke(config, ["set", TEACHER, str(path)]).exit_code == 0
    assert configured_path(TEACHER) == path
    assert configured_path("bob.bio.face.lfw.directory") == tmp_path


def test_configure_makes_the_folder_and_writes_whole_paths(rc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configure_path(TEACHER, Path("weights/t.pth")) == rc
    assert configured_path(TEACHER) == tmp_path / "weights" / "t.pth"


def test_expands_the_home_folder(rc, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    rc.parent.mkdir()
    rc.write_text(f'"{TEACHER}" = "~/t.pth"\n')
    assert configured_path(TEACHER) == Path("/somewhere/t.pth")


def test_require_path_says_the_command(rc, tmp_path, monkeypatch):
    with pytest.raises(SynthDistillError, match=rf"the teacher.*bob config set {TEACHER} PATH"):
        require_path(TEACHER, "the teacher")
    configure_path(TEACHER, tmp_path / "gone.pth")
    with pytest.raises(SynthDistillError, match=rf"gone\.pth.*bob config set {TEACHER} PATH"):
        require_path(TEACHER, "the teacher")
    (tmp_path / "gone.pth").touch()
    assert require_path(TEACHER, "the teacher") == tmp_path / "gone.pth"


def test_relative_path_that_is_not_there_is_explained(rc, tmp_path, monkeypatch):
    rc.parent.mkdir()
    rc.write_text(f'"{TEACHER}" = "t.pth"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SynthDistillError, match="better give the whole path"):
        require_path(TEACHER, "the teacher")


@pytest.mark.parametrize("content", [b"a = [", b"\xff\xfe\x00", b"5", b"[1, 2"])
def test_broken_file_is_an_error_in_words(rc, content):
    rc.parent.mkdir()
    rc.write_bytes(content)
    with pytest.raises(SynthDistillError, match=r"cannot read.*bobrc\.toml"):
        configured_path(TEACHER)


@pytest.mark.parametrize("content", [f"{TEACHER} = 5", f"[{TEACHER}]\nx = 1", f'{TEACHER} = ""'])
def test_value_that_is_no_path_is_an_error_in_words(rc, content):
    rc.parent.mkdir()
    rc.write_text(content)
    with pytest.raises(SynthDistillError, match=f"expected a path under {TEACHER}"):
        configured_path(TEACHER)


def test_value_in_the_way_of_a_section_is_an_error_and_nothing_is_lost(rc):
    rc.parent.mkdir()
    rc.write_text('[bob]\npaper = "x"\n')
    with pytest.raises(SynthDistillError, match=f"cannot set {TEACHER}"):
        configure_path(TEACHER, Path("/t.pth"))
    assert rc.read_text() == '[bob]\npaper = "x"\n'


def test_imports_neither_bob_nor_torch():
    code = (
        f"import sys, {files.__name__}\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'bob.bio', 'bob.cli', 'dask')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
