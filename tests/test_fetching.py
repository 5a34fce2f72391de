"""What the tables need: whether it is here, and how it comes here."""

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest
import requests
import torch
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill import fetching
from bob.paper.ijcb2023_synthdistill.files import (
    GENERATOR,
    STUDENT,
    TEACHER,
    SynthDistillError,
    configure_path,
    configured_path,
)
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import save_teacher
from bob.paper.ijcb2023_synthdistill.scripts.fetch import fetch

BENCHMARKS = ["lfw", "calfw", "cplfw", "cfp-fp", "agedb-30"]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Give the test a configuration and a folder for weights of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "bob.paper.ijcb2023_synthdistill"


@pytest.fixture
def server(monkeypatch):
    """Stand in for the network: one content at every address, or none."""
    server = SimpleNamespace(content=b"weights", requests=0)

    def download(address, path, _):
        server.requests += 1
        if server.content is None:
            raise requests.ConnectionError(f"nobody at {address}")
        Path(path).write_bytes(server.content)

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: download)
    return server


def need_of(server, content, member=None):
    server.content = content
    digest = f"md5:{hashlib.md5(content).hexdigest()}"
    need = fetching.Need("x", "key", "", "", lambda p: ("right", p.read_bytes()[:7].decode()))
    here = {"address": "http://here/file.bin", "page": "PAGE"}
    return dataclasses.replace(need, digest=digest, member=member, **here)


def archive_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            file.addfile(info, io.BytesIO(content or b""))
    return stream.getvalue()


def test_a_file_comes_whole_and_once(server, tmp_path):
    need = need_of(server, b"weights")
    for _ in range(2):
        assert fetching.fetch(need, tmp_path / "new") == (tmp_path / "new" / "file.bin", "weights")
    assert server.requests == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"other", "a damaged or another file: MD5"), (None, "cannot download .*nobody at")],
)
def test_what_goes_wrong_leaves_what_was_there(server, tmp_path, content, words):
    need = need_of(server, b"weights")
    (tmp_path / "file.bin").write_bytes(b"old")
    server.content = content
    with pytest.raises(SynthDistillError, match=rf"(?s){words}.*By hand: open PAGE"):
        fetching.fetch(need, tmp_path, force=True)
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    # a wrong file is not asked for again and again
    assert server.requests == 1


def test_only_the_wanted_file_leaves_an_archive(server, tmp_path):
    members = {"../evil.py": b"x", "/tmp/evil.py": b"x", "./t/w.pth": b"weights"}
    need, folder = need_of(server, archive_of(members), "w.pth"), tmp_path / "in"
    assert fetching.fetch(need, folder) == (folder / "w.pth", "weights")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file.bin", "in", "w.pth"]
    # from the archive, as long as it is the right one
    for content, asked in ((None, 1), (b"half", 2)):
        (folder / "w.pth").unlink()
        if content:
            (folder / "file.bin").write_bytes(content)
        fetching.fetch(need, folder)
        assert server.requests == asked
    # only a file is one
    with pytest.raises(SynthDistillError, match=r"has no w\.pth"):
        fetching.fetch(need_of(server, archive_of({"w.pth": None}), "w.pth"), tmp_path / "link")


def test_the_generator_is_fetched_loaded_and_configured(server, data, micro_generator):
    server.content = micro_generator.read_bytes()
    result = CliRunner().invoke(fetch, ["generator"])
    assert result.exit_code == 0, result.output
    path = data / "stylegan2-ffhq-256x256.pkl"
    assert "32 px" in result.stdout
    assert f"bob config set {GENERATOR} {path}" in result.stdout
    assert configured_path(GENERATOR) is None
    assert CliRunner().invoke(fetch, ["generator", "--configure"]).exit_code == 0
    assert configured_path(GENERATOR) == path
    assert server.requests == 1
    # another one comes from its own place
    name = "stylegan3-t-ffhq-1024x1024"
    assert fetching.needs(name)["generator"].address.endswith(f"/versions/1/files/{name}.pkl")


def test_a_generator_that_is_none_is_not_kept(server, data):
    server.content = b"<html>Log in"
    result = CliRunner().invoke(fetch, ["generator"])
    assert result.exit_code == 1
    assert ".tmp" not in result.output
    for step in ("a web page", "catalog.ngc.nvidia.com", str(data), f"set {GENERATOR} PATH"):
        assert step in result.output
    assert list(data.iterdir()) == []


def look():
    return {item["name"]: item for item in fetching.take_stock()}


def test_nothing_is_set():
    items = look()
    assert list(items) == ["generator", "teacher", "imagenet", "student", "detector", *BENCHMARKS]
    for name in ("generator", "teacher", "student", *BENCHMARKS):
        assert items[name]["state"] == "not set"
        assert items[name]["key"] in items[name]["command"]
    assert not fetching.is_complete(list(items.values()))
    needed = [{**item, "state": "right"} for item in items.values() if item["required"]]
    assert fetching.is_complete([*needed, items["student"]])
    assert not fetching.is_complete([*needed, {**items["student"], "state": "wrong"}])
    assert not fetching.is_complete([{**needed[0], "state": "other"}, *needed[1:]])


def test_weights_are_loaded(tmp_path, micro_generator):
    torch.manual_seed(0)
    save_teacher(tmp_path / "t.safetensors", IResNet((1, 1, 1, 1), (4, 4, 4, 4), 8), {})
    save_student(tmp_path / "s.safetensors", create_student("tinyfar-c", "random"))
    configure_path(GENERATOR, micro_generator)
    configure_path(TEACHER, tmp_path / "t.safetensors")
    configure_path(STUDENT, tmp_path / "s.safetensors")
    items = look()
    states = [items[n]["state"] for n in ("generator", "teacher", "student")]
    assert states == ["other", "other", "right"]
    assert "8 elements" in items["teacher"]["message"]
    assert items["student"]["message"] == "tinyfar-c, 1.8 M parameters"
    (tmp_path / "t.safetensors").write_bytes(b"\x80\x02cposix\nsystem\n")
    (tmp_path / "s.safetensors").unlink()
    configure_path(GENERATOR, tmp_path / "t.safetensors")
    items = look()
    states = [items[n]["state"] for n in ("generator", "teacher", "student")]
    assert states == ["wrong", "wrong", "missing"]
    assert "synthdistill-fetch teacher" in items["teacher"]["command"]


def test_check_prints_and_its_status_tells(monkeypatch):
    result = CliRunner().invoke(fetch, ["--check"])
    assert "mended by   synthdistill-fetch generator --configure" in result.output
    result = CliRunner().invoke(fetch, ["--check", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["complete"] is False
    item = {**found["items"][0], "state": "right", "command": None}
    monkeypatch.setattr(fetching, "take_stock", lambda: iter([item]))
    result = CliRunner().invoke(fetch, ["--check"])
    assert result.exit_code == 0
    assert "All is in place" in result.output
