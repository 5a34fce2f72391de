"""AgeDB's MATLAB file: honest ones of several shapes, and damaged ones."""

import re
import struct

import numpy
import pytest
from scipy.io import savemat

from bob.paper.ijcb2023_synthdistill.benchmarks import agedb
from bob.paper.ijcb2023_synthdistill.benchmarks.agedb import read_agedb
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def refuses(expected, path):
    with pytest.raises(SynthDistillError, match=re.escape(expected)) as raised:
        read_agedb(path, 20)
    assert str(path) in raised.value.message


def splits(image=lambda name: {"path": name, "age": 30.0}, fold=None, label=1.0, count=2):
    """Make ten splits; by default as the official file: structures of names and ages."""
    cells = numpy.empty((10, 1), dtype=object)
    for k in range(10):
        names = numpy.empty((2, count), dtype=object)
        for i in range(count):
            names[0, i], names[1, i] = image(f"{k}_{i}_A"), image(f"{k}_{i}_B")
        labels = numpy.array([[label, -1.0] * (count // 2)])
        cells[k, 0] = fold(names, labels) if fold else {"pairs": names, "labels": labels}
    return cells


def as_cell(names, labels):
    cell = numpy.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = labels.T, names.T
    return cell


def write(path, content):
    savemat(path, {"other": 1.0, "splits": content}, do_compression=True)
    return path


@pytest.mark.parametrize("content", [{}, {"image": str}, {"fold": as_cell}])
def test_read(tmp_path, content):
    pairs = read_agedb(write(tmp_path / "a.mat", splits(count=4, **content)), 40)
    assert len(pairs) == 40
    assert pairs[0] == ("0_0_A", "0_0_B", True, 0)
    assert pairs[5] == ("1_1_A", "1_1_B", False, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (splits(label=2.0), "neither +1 nor -1"),
        (splits()[:9], "splits of [2, 2"),
        (numpy.zeros((10, 2)), "is not AgeDB"),
    ],
)
def test_agedb_refuses(tmp_path, content, expected):
    refuses(expected, write(tmp_path / "a.mat", content))


def test_agedb_damaged_or_hostile(tmp_path, monkeypatch):
    """A lack of memory, and a crash."""
    path = write(tmp_path / "a.mat", splits())
    huge = struct.pack("<II4sIIIiiII", 14, 56, b"\6\0\0\0", 8, 6, 0, 5, 8, 2**30, 2**30)
    path.write_bytes(path.read_bytes()[:128] + huge)
    refuses("Get the official file again", path)
    monkeypatch.setattr(agedb, "_SPLITS", "import os; os.abort()")
    refuses("died", path)
