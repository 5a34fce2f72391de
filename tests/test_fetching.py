"""What the tables need: whether it is here, and how it comes here, from a server of one file."""

import dataclasses
import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest
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
CONTENT = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Give the test a configuration and a folder for weights of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "bob.paper.ijcb2023_synthdistill"


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.state, self.requests = CONTENT, None, 200, 0
        self.address = f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(self.server.state)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def need_of(server, content, member=None):
    server.content = content
    digest = f"md5:{hashlib.md5(content).hexdigest()}"
    need = fetching.Need("x", "key", "", "", lambda p: ("right", p.read_bytes()[:7].decode()))
    here = {"address": server.address, "page": "PAGE"}
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


def test_a_file_comes_whole_and_once(server, tmp_path, capsys):
    need = need_of(server, b"weights")
    for _ in range(2):
        assert fetching.fetch(need, tmp_path / "new") == (tmp_path / "new" / "file.bin", "weights")
    assert server.requests == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.bin"]
    # no progress bar where there is no terminal
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": CONTENT[::-1]}, "a damaged or another file: MD5"),
        ({"cut": 1000}, "cannot download"),
        ({"state": 404}, "cannot download .*404"),
    ],
)
def test_what_goes_wrong_leaves_what_was_there(server, tmp_path, change, words):
    need = need_of(server, CONTENT)
    (tmp_path / "file.bin").write_bytes(b"old")
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(SynthDistillError, match=rf"(?s){words}.*By hand: open PAGE"):
        fetching.fetch(need, tmp_path, server.address, force=True)
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    # a wrong file is not asked for again and again
    assert server.requests <= 1


def test_only_the_wanted_file_leaves_an_archive(server, tmp_path):
    members = {"../evil.py": b"x", "/tmp/evil.py": b"x", "./t/w.pth": b"weights"}
    need = need_of(server, archive_of(members), "w.pth")
    folder = tmp_path / "in"
    assert fetching.fetch(need, folder) == (folder / "w.pth", "weights")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file.bin", "in", "w.pth"]
    (folder / "w.pth").write_bytes(b"other")
    assert fetching.fetch(need, folder, force=True)[1] == "weights"
    assert server.requests == 2
    # from the archive, as long as it is the right one
    for content, requests in ((None, 2), (b"half", 3)):
        (folder / "w.pth").unlink()
        if content:
            (folder / "file.bin").write_bytes(content)
        fetching.fetch(need, folder)
        assert server.requests == requests
    # only a file is one
    with pytest.raises(SynthDistillError, match=r"has no w\.pth"):
        fetching.fetch(need_of(server, archive_of({"w.pth": None}), "w.pth"), tmp_path / "link")


def test_the_generator_is_fetched_loaded_and_configured(server, data, micro_generator):
    server.content = micro_generator.read_bytes()
    arguments = ["generator", "--address", server.address]
    result = CliRunner().invoke(fetch, arguments)
    assert result.exit_code == 0, result.output
    path = data / "stylegan2-ffhq-256x256.pkl"  # the name at the address that is known
    assert "32 px" in result.stdout
    assert f"bob config set {GENERATOR} {path}" in result.stdout
    assert configured_path(GENERATOR) is None
    assert CliRunner().invoke(fetch, [*arguments, "--configure"]).exit_code == 0
    assert configured_path(GENERATOR) == path
    assert server.requests == 1


def test_another_generator_comes_from_its_own_place(server, data, micro_generator):
    name = "stylegan3-t-ffhq-1024x1024"
    need = fetching.needs(name)["generator"]
    assert "/stylegan3/" in need.page
    assert need.address.endswith(f"/research/stylegan3/versions/1/files/{name}.pkl")
    server.content = (micro_generator.parent / "stylegan3-t-micro.pkl").read_bytes()
    arguments = ["generator", "--name", name, "--address", server.address]
    result = CliRunner().invoke(fetch, arguments)
    assert result.exit_code == 0, result.output
    assert (data / f"{name}.pkl").exists()
    assert "StyleGAN3, 32 px" in result.stdout


@pytest.mark.parametrize(
    ("content", "words"), [(b"<html>Log in", "a web page"), (b"\x80\x04 nothing", "another file")]
)
def test_a_generator_that_is_none_is_not_kept(server, data, content, words):
    server.content = content
    result = CliRunner().invoke(fetch, ["generator", "--address", server.address])
    assert result.exit_code == 1
    assert words in result.output
    assert ".tmp" not in result.output
    for step in ("catalog.ngc.nvidia.com", str(data), f"bob config set {GENERATOR} PATH"):
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
    assert items["cfp-fp"]["command"].startswith("bob config set bob.bio.face.cfp_fp.directory ")
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
    keys = ["name", "state", "message", "needed_for", "required", "key", "path", "command"]
    assert list(found["items"][0]) == keys

    item = {**found["items"][0], "state": "right", "command": None}
    monkeypatch.setattr(fetching, "take_stock", lambda: iter([item]))
    result = CliRunner().invoke(fetch, ["--check"])
    assert result.exit_code == 0
    assert "All is in place" in result.output
