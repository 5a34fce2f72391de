"""The official pair lists, line by line."""

import re
import struct

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from bob.paper.ijcb2023_synthdistill.benchmarks import pair_lists
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refuses(expected, read, path):
    with pytest.raises(SynthDistillError, match=re.escape(expected)) as raised:
        read(path, 20)
    assert str(path.parent) in raised.value.message


def test_lfw(tmp_path):
    lines = [
        line for fold in range(10) for line in (f"A_{fold}\t1\t12", f"A_{fold}\t1\tB 2 C\t{fold}")
    ]
    pairs = pair_lists.read_lfw(write(tmp_path / "pairs.txt", "10\t1", *lines), 20)
    assert pairs[0] == ("A_0/A_0_0001", "A_0/A_0_0012", True, 0)
    assert pairs[5] == ("A_2/A_2_0001", "B 2 C/B 2 C_0002", False, 2)
    assert [pair.fold for pair in pairs] == [k // 2 for k in range(20)]


def test_lfw_with_spaces_or_commas_instead_of_tabs_and_windows_lines(tmp_path):
    path = tmp_path / "pairs.txt"
    for between in (b" ", b",", b", "):
        lines = b"10 1\r\n" + b"A 1 2\r\nA 1 B 2\r\n" * 10
        path.write_bytes(lines.replace(b" ", between))
        assert pair_lists.read_lfw(path, 20)[-1] == ("A/A_0001", "B/B_0002", False, 9)


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("10\t300", "A\t1\t2", "line 1: the header `10 1`"),
        ("10", "A\t1\t2", "the header `10 1`"),
        ("A\t1\t2", "A\t1\t2", "the header `10 1`"),
        ("10\t1", "A\t1", "line 2: `name i j`"),
        ("10\t1", "A\tone\t2", "line 2: `name i j`"),
        ("10\t1", "A\t1\t" + "9" * 5000, "line 2: `name i j`"),
        ("10\t1", "../../etc/passwd\t1\t2", "cannot be an image"),
        ("10\t1", "/etc\t1\t2", "cannot be an image"),
        ("10\t1", "a" * 300 + "\t1\t2", "cannot be an image"),
        ("10\t1", "a\x00b\t1\t2", "cannot be an image"),
    ],
)
def test_lfw_refuses(tmp_path, header, line, expected):
    refuses(expected, pair_lists.read_lfw, write(tmp_path / "pairs.txt", header, line))


def test_cross_lfw_folds(tmp_path):
    lines = []
    for kind in (True, False):
        for k in range(20):
            lines += [
                f"{'g' if kind else 'i'} {k}_0001.jpg {k + 3 if kind else 0}",
                f"x_{k}.jpg {7 if kind else 0}",
            ]
    pairs = pair_lists.read_cross_lfw(write(tmp_path / "pairs_CALFW.txt", *lines), 40)
    assert pairs[0] == ("g 0_0001", "x_0", True, 0)
    # fold k = genuine[2k : 2k+2] + impostor[2k : 2k+2]
    assert [pair.fold for pair in pairs] == [k // 2 for k in range(20)] * 2
    assert [pair.genuine for pair in pairs] == [True] * 20 + [False] * 20


def test_cross_lfw_with_commas_and_minus_one(tmp_path):
    lines = ["a, b.jpg,1", "c.jpg, 1", "d.jpg,-1", "e.jpg -1"]
    pairs = pair_lists.read_cross_lfw(write(tmp_path / "pairs_CALFW.txt", *lines), 20)
    assert pairs == [("a, b", "c", True, 0), ("d", "e", False, 0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a.jpg 1", "b.jpg 0"], "the two lines"),
        (["a.jpg 1"], "middle of a pair"),
        (["a.jpg", "b.jpg"], "line 1: `image label`"),
        (["a.jpg x", "b.jpg x"], "line 1: `image label`"),
    ],
)
def test_cross_lfw_refuses(tmp_path, lines, expected):
    refuses(expected, pair_lists.read_cross_lfw, write(tmp_path / "pairs_CPLFW.txt", *lines))


def cfp(folder, same="1,2", diff="2,1"):
    for fold in range(1, 11):
        write(folder / f"Split/FP/{fold:02d}/same.txt", same)
        write(folder / f"Split/FP/{fold:02d}/diff.txt", diff)
    for side, kind in (("F", "frontal"), ("P", "profile")):
        lines = [f"{n} ../Data/Images/00{n}/{kind}/0{n}.jpg" for n in (1, 2)]
        write(folder / f"Pair_list_{side}.txt", *lines)
    return folder / "Pair_list_F.txt"


def test_cfp(tmp_path):
    pairs = pair_lists.read_cfp(cfp(tmp_path / "Protocol"), 20)
    assert pairs[:2] == [
        ("001/frontal/01", "002/profile/02", True, 0),
        ("002/frontal/02", "001/profile/01", False, 0),
    ]
    assert pairs[-1].fold == 9


@pytest.mark.parametrize(
    ("same", "expected"),
    [
        ("1,3", "in no Pair_list"),
        ("1", "`a,b`"),
        ("1,2\n1,2", "lists 2 pairs"),
        ("0,1", "in no Pair_list"),
    ],
)
def test_cfp_refuses(tmp_path, same, expected):
    refuses(expected, pair_lists.read_cfp, cfp(tmp_path / "Protocol", same))


def test_cfp_with_a_missing_split(tmp_path):
    path = cfp(tmp_path / "Protocol")
    (path.parent / "Split/FP/07/diff.txt").unlink()
    refuses("07/diff.txt", pair_lists.read_cfp, path)


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


def agedb(path, content, compressed=True):
    savemat(path, {"other": 1.0, "splits": content}, do_compression=compressed)
    return path


@pytest.mark.parametrize(
    ("content", "compressed"),
    [
        (splits(count=4), True),
        (splits(image=str, count=4), False),
        (splits(fold=as_cell, count=4), True),
        (splits(image=str, fold=as_cell, count=4), True),
    ],
    ids=["structures", "names", "cells", "names in cells"],
)
def test_agedb(tmp_path, content, compressed):
    pairs = pair_lists.read_agedb(agedb(tmp_path / "a.mat", content, compressed), 40)
    assert len(pairs) == 40
    assert pairs[0] == ("0_0_A", "0_0_B", True, 0)
    assert pairs[5] == ("1_1_A", "1_1_B", False, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (splits(label=2.0), "neither +1 nor -1"),
        (splits(count=4), "splits of [4, 4"),
        (splits()[:9], "splits of"),
        (splits(image=lambda name: 5.0), "is not AgeDB"),
        (splits(image=lambda name: f"../../{name}"), "cannot be an image"),
        (numpy.zeros((10, 2)), "is not AgeDB"),
        ("splits", "is not AgeDB"),
    ],
)
def test_agedb_refuses(tmp_path, content, expected):
    refuses(expected, pair_lists.read_agedb, agedb(tmp_path / "a.mat", content))


def test_agedb_damaged_or_hostile(tmp_path):
    """Each ends its reader in another way: an error, a lack of memory, perhaps a crash."""
    content = agedb(tmp_path / "good.mat", splits(), compressed=False).read_bytes()
    path = tmp_path / "a.mat"
    huge = struct.pack("<II4sIIIiiII", 14, 56, b"\6\0\0\0", 8, 6, 0, 5, 8, 2**30, 2**30)
    for damaged in (b"", b"no list", content[:200], content[: len(content) // 2],
                    content[:128] + huge, content.replace(b"splits", b"spilts")):  # fmt: skip
        path.write_bytes(damaged)
        refuses("Get the official file again", pair_lists.read_agedb, path)
    refuses("cannot read", pair_lists.read_agedb, tmp_path / "none.mat")


def test_agedb_whose_reader_crashes(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_lists, "_SPLITS", "import os; os.abort()")
    refuses("died", pair_lists.read_agedb, agedb(tmp_path / "a.mat", splits()))


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=300)
    | st.text(alphabet="10 \tabc,./\\\n\r", max_size=300).map(str.encode)
)
@pytest.mark.parametrize("read", [pair_lists.read_lfw, pair_lists.read_cross_lfw])
def test_hostile_lists(tmp_path_factory, refusal, read, content):
    path = tmp_path_factory.mktemp("hostile", numbered=True) / "list"
    path.write_bytes(content if read is not pair_lists.read_lfw else b"10\t1\n" + content)
    pairs = []
    message = refusal(lambda: pairs.extend(read(path, 20)))
    assert not message or str(path) in message
    assert not any(".." in pair.left.split("/") for pair in pairs)


def test_huge_list(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_lists, "MAX_LIST_SIZE", 10)
    path = write(tmp_path / "pairs.txt", "10\t1", "A\t1\t2")
    refuses("more than 10 bytes", pair_lists.read_lfw, path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a b/ü.jpg", "a b/ü"),
        ("a\\b.PNG", "a/b"),
        ("./J.Lo_0001", "J.Lo_0001"),
        ("a.jpg.bmp", "a.jpg"),
    ],
)
def test_image_names(path, name):
    assert pair_lists.without_ending(pair_lists.image_name(path, "here")) == name
