"""Files are whole or untouched, and the same content gives the same bytes."""

import json
import os

import pytest
import safetensors.torch
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, atomic_write, sha256
from bob.paper.ijcb2023_synthdistill.weights import safetensors_bytes


def test_a_write_replaces_the_file_whole(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("one", "two"):
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_failed_write_leaves_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        _fail(temporary)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def _fail(temporary):
    temporary.write_text("new")
    raise ZeroDivisionError


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SynthDistillError, match=r"cannot write .*file/new"),
        atomic_write(tmp_path / "file" / "new"),
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
    assert json.loads(first[8 : 8 + int.from_bytes(first[:8], "little")])["a"]["dtype"] == "I64"


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")
