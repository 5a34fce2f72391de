"""AgeDB's MATLAB file: honest ones of several shapes, and hostile ones."""

import io
import resource
import struct
import zlib

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from bob.paper.ijcb2023_synthdistill.benchmarks import mat
from bob.paper.ijcb2023_synthdistill.benchmarks.lists import read_agedb
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def splits(
    image=lambda name: {"path": name, "age": 30.0}, fold=None, label=1.0, count=2, row=False
):
    """Make ten splits; by default as the official file: structures of names and ages."""
    cells = numpy.empty((1, 10) if row else (10, 1), dtype=object)
    for k in range(10):
        names = numpy.empty((2, count), dtype=object)
        for i in range(count):
            names[0, i], names[1, i] = image(f"{k}_{i}_A"), image(f"{k}_{i}_B")
        labels = numpy.array([[label, -1.0] * (count // 2)])
        cells.flat[k] = fold(names, labels) if fold else {"pairs": names, "labels": labels}
    return cells


def as_cell(names, labels):
    cell = numpy.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = labels.T, names.T
    return cell


def write(path, content, compressed=True):
    savemat(path, {"other": 1.0, "splits": content}, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        splits(count=4),
        splits(image=str, count=4),
        splits(fold=as_cell, count=4),
        splits(image=str, fold=as_cell, row=True, count=4),
    ],
    ids=["structures", "names", "cells", "names in cells"],
)
def test_shapes(tmp_path, content, compressed):
    pairs = read_agedb(write(tmp_path / "a.mat", content, compressed), 40)
    assert len(pairs) == 40
    assert pairs[0] == ("0_0_A", "0_0_B", True, 0)
    assert pairs[5] == ("1_1_A", "1_1_B", False, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (splits(label=2.0), "neither"),
        (splits(count=4), "splits of"),
        (splits()[:9], "splits of"),
        (splits(image=lambda name: 5.0), "no name"),
        (splits(image=lambda name: f"../../{name}"), "cannot be an image"),
        (numpy.zeros((10, 2)), "neither a structure nor a cell"),
        ("splits", "splits"),
    ],
)
def test_wrong_content(tmp_path, content, expected):
    with pytest.raises(SynthDistillError, match=expected):
        read_agedb(write(tmp_path / "a.mat", content), 20)


def test_missing_variable(tmp_path):
    savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(SynthDistillError, match="not AgeDB"):
        read_agedb(tmp_path / "a.mat", 20)


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind, body):
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def matrix(kind, shape, body=b"", name=b"splits"):
    return element(
        14,
        element(6, struct.pack("<II", kind, 0))
        + element(5, struct.pack(f"<{len(shape)}i", *shape))
        + element(1, name)
        + body,
    )


HOSTILE = {
    "cells": matrix(1, (1_000_000, 1_000_000)),
    "structures": matrix(2, (2**30, 1), element(5, struct.pack("<i", 8)) + element(1, b"")),
    "numbers": matrix(6, (2**30, 2**30), element(9, b"\0" * 8)),
    "text": matrix(4, (1, 2**31 - 1), element(16, b"abc")),
    "negative": matrix(1, (-1, 5)),
    "object": matrix(3, (1, 1)),
    "function": matrix(16, (1, 1)),
    "opaque": matrix(17, (1, 1)),
    "sparse": matrix(5, (2**30, 2**30)),
    "announced": struct.pack("<II", 14, 2**31) + b"\0" * 64,
    "bomb": element(15, zlib.compress(b"\0" * (40 * 1024 * 1024), 9)),
    "many": matrix(1, (600_000, 1), element(14, b"") * 600_000),
}
nested = b""
for _ in range(20):
    nested = matrix(1, (1, 1), nested)
HOSTILE["nested"] = nested


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tmp_path, name):
    path = tmp_path / "a.mat"
    path.write_bytes(HEADER + HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SynthDistillError, match="not AgeDB"):
        mat.read_splits(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_missing_file(tmp_path):
    with pytest.raises(SynthDistillError, match="cannot read"):
        mat.read_splits(tmp_path / "a.mat")


stream = io.BytesIO()
savemat(stream, {"splits": splits()})
PLAIN = stream.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(PLAIN)),
)
def test_damaged(tmp_path_factory, refusal, changes, length):
    content = bytearray(PLAIN)
    for position, value in changes:
        content[position] = value
    path = tmp_path_factory.mktemp("mat", numbered=True) / "a.mat"
    path.write_bytes(content if length % 3 else content[:length])
    message = refusal(lambda: read_agedb(path, 20))
    assert not message or str(path) in message
