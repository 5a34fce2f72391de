import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from bob.paper.ijcb2023_synthdistill import downloading
from bob.paper.ijcb2023_synthdistill.downloading import check_sum, download
from bob.paper.ijcb2023_synthdistill.fetching import SOURCES, Source, default_folder, fetch
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

CONTENT = bytes(range(256)) * 4096 + b"end"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serve one file, with the faults that a test asks for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"version-1"'
        self.ranges = True
        self.cuts = []  # after how many bytes to end the next answers
        self.states = []  # of the next answers
        self.kind = "application/octet-stream"
        self.length = True
        self.asked = []  # Range of each request
        self.shift = 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.states:
            state = server.states.pop(0)
            if state != 200:
                self.send_error(state)
                return
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start += server.shift
            self.send_response(206)
            end = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(server.content)}")
        else:
            self.send_response(200)
        rest = server.content[start:]
        self.send_header("Content-Type", server.kind)
        if server.length:
            self.send_header("Content-Length", str(len(rest)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(rest[: server.cuts.pop(0)] if server.cuts else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "file.bin"


def get(server, target, checksum=MD5, **options):
    download(server.address, target, checksum, sleep=lambda _: None, **options)


def leftovers(target):
    return sorted(p.name for p in target.parent.iterdir() if p != target)


def test_whole_file(server, target, capsys):
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == []
    assert server.asked == [None]
    assert capsys.readouterr() == ("", "")  # no progress bar when not on a terminal


def test_interrupted_then_resumed_in_the_same_run(server, target):
    server.cuts = [300_000, 0, 200_000]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]
    assert leftovers(target) == []


def test_interrupted_then_resumed_by_the_next_run(server, target):
    server.cuts = [300_000]
    with pytest.raises(
        SynthDistillError, match=r"300,000 bytes are kept in .*file\.bin\.part\. Run"
    ):
        get(server, target, attempts=1)
    assert not target.exists()
    get(server, target)
    assert server.asked[-1] == "bytes=300000-"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", [MD5, None])
def test_server_that_ignores_range_sends_all_again(server, target, checksum):
    server.ranges = False
    server.cuts = [300_000]
    get(server, target, checksum)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_parts_of_different_versions_are_never_joined(server, target):
    server.cuts = [300_000]
    with pytest.raises(SynthDistillError, match="are kept"):
        get(server, target, None, attempts=1)
    server.content = CONTENT[::-1]
    server.etag = '"version-2"'
    get(server, target, None)
    assert target.read_bytes() == CONTENT[::-1]


def test_without_version_and_checksum_nothing_is_continued(server, target):
    server.etag = None
    server.cuts = [300_000]
    get(server, target, None)
    assert server.asked == [None, None]
    assert target.read_bytes() == CONTENT


def test_wrong_part_is_found_by_the_checksum_and_replaced(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"x" * 300_000)
    get(server, target)
    assert server.asked == ["bytes=300000-", None]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"and more"])
def test_part_that_is_whole_or_too_long(server, target, content):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(content)
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_server_that_continues_elsewhere_is_not_believed(server, target):
    server.cuts = [300_000]
    server.shift = 5
    get(server, target)
    assert server.asked == [None, "bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, target):
    server.content = CONTENT[:-1]
    with pytest.raises(SynthDistillError, match=r"file\.bin is damaged .* md5 is .* was expected"):
        get(server, target)
    assert list(target.parent.iterdir()) == []


def test_truncated_without_length_is_found_by_the_checksum(server, target):
    server.length = False
    server.cuts = [300_000]
    with pytest.raises(SynthDistillError, match="is damaged"):
        get(server, target)
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_old_file_stays_until_the_new_one_is_whole(server, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    server.cuts = [10]
    with pytest.raises(SynthDistillError, match="are kept"):
        get(server, target, attempts=1)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("state", [404, 403, 401, 410])
def test_refusal_is_final(server, target, state):
    server.states = [state] * 9
    with pytest.raises(SynthDistillError, match=rf"answered {state} .*--address"):
        get(server, target)
    assert server.asked == [None]


def test_passing_fault_of_the_server_is_waited_for(server, target):
    pauses = []
    server.states = [503, 500, 429]
    download(server.address, target, MD5, sleep=pauses.append, pause=2)
    assert pauses == [2, 4, 8]
    assert target.read_bytes() == CONTENT


def test_server_that_never_recovers_is_given_up(server, target):
    server.states = [503] * 99
    with pytest.raises(SynthDistillError, match="3 times in a row"):
        get(server, target, attempts=3)
    assert len(server.asked) == 3


def test_nobody_there_is_said(server, target):
    address = server.address
    server.server_close()
    with pytest.raises(SynthDistillError, match=r"cannot download http://127.*2 times in a row"):
        download(address, target, attempts=2, sleep=lambda _: None, timeout=1)


def test_web_page_is_not_taken_for_the_file(server, target):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(SynthDistillError, match="a web page instead of the file"):
        get(server, target)
    assert not target.exists()


def test_other_schemes_are_refused(target):
    with pytest.raises(SynthDistillError, match="expected an http or https address"):
        download("file:///etc/passwd", target)


def test_full_disk_is_said_and_what_came_is_kept(server, target, monkeypatch):
    target.parent.mkdir()
    target.with_name("file.bin.part").symlink_to("/dev/full")
    monkeypatch.setattr(downloading._Part, "restart", lambda self, version: None)
    with pytest.raises(SynthDistillError, match=r"No space left on device.*make room"):
        get(server, target)


def test_folder_that_cannot_be_made_is_said(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SynthDistillError, match="cannot make the folder"):
        get(server, tmp_path / "file" / "x.bin")


def test_check_sum(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    check_sum(path, None)
    check_sum(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    check_sum(path, f"sha256:{hashlib.sha256(b'abc').hexdigest()}")
    with pytest.raises(SynthDistillError, match="00 was expected"):
        check_sum(path, "md5:00")


def archive_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            file.addfile(member, io.BytesIO(content or b""))
    return stream.getvalue()


def source_of(server, content, member=None):
    server.content = content
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    return Source("x", "the x", "file.bin", server.address, "page", "key", checksum, member)


def test_fetch_takes_only_the_member(server, tmp_path):
    content = archive_of({"../evil.py": b"x", "/tmp/evil.py": b"x", "./t/w.pth": b"weights"})
    source = source_of(server, content, "w.pth")
    assert fetch(source, tmp_path / "in") == tmp_path / "in" / "w.pth"
    assert (tmp_path / "in" / "w.pth").read_bytes() == b"weights"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file.bin", "in", "w.pth"]


def test_fetch_skips_what_is_there(server, tmp_path):
    source = source_of(server, archive_of({"w.pth": b"weights"}), "w.pth")
    fetch(source, tmp_path)
    fetch(source, tmp_path)
    (tmp_path / "w.pth").unlink()
    fetch(source, tmp_path)  # from the archive
    assert len(server.asked) == 1
    (tmp_path / "w.pth").write_bytes(b"other")
    fetch(source, tmp_path, force=True)
    assert len(server.asked) == 2
    assert (tmp_path / "w.pth").read_bytes() == b"weights"


def test_fetch_checks_what_is_there(server, tmp_path):
    source = source_of(server, CONTENT)
    (tmp_path / "file.bin").write_bytes(b"other")
    with pytest.raises(SynthDistillError, match="--force replaces what is there"):
        fetch(source, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"other"


def test_fetch_from_another_address(server, tmp_path):
    source = source_of(server, CONTENT)
    elsewhere = Source("x", "the x", "file.bin", "http://127.0.0.1:9/", "p", "k", source.checksum)
    assert fetch(elsewhere, tmp_path, address=server.address).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8bnot", archive_of({"w.pth": b"w" * 9999})[:-30]],
    ids=["no archive", "cut archive"],  # an archive holds the time: its bytes name no test
)
def test_damaged_archive_is_said(server, tmp_path, content):
    with pytest.raises(SynthDistillError, match="is damaged"):
        fetch(source_of(server, content, "w.pth"), tmp_path)
    assert not (tmp_path / "w.pth").exists()


@pytest.mark.parametrize("members", [{"other.pth": b"x"}, {"w.pth": None}])
def test_archive_without_the_file_is_said(server, tmp_path, members):
    with pytest.raises(SynthDistillError, match=r"has no w\.pth"):
        fetch(source_of(server, archive_of(members), "w.pth"), tmp_path)
    assert not (tmp_path / "w.pth").exists()


def test_sources_are_what_is_known_of_them():
    teacher, generator = SOURCES["teacher"], SOURCES["generator"]
    assert teacher.checksum == "md5:3976c0a539811d888ef5b6217e5de425"
    assert teacher.wanted == "iresnet100-73e07ba7.pth"
    assert generator.wanted == "stylegan2-ffhq-256x256.pkl"
    assert generator.checksum is None
    for source in SOURCES.values():
        assert source.address.startswith("https://")
        assert source.address.endswith(f"/{source.file_name}")


def test_default_folder_is_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "bob.paper.ijcb2023_synthdistill"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().parent == tmp_path / ".local" / "share"
