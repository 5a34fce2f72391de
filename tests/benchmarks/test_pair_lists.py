"""The official pair lists, line by line."""

import re

import pytest

from bob.paper.ijcb2023_synthdistill.benchmarks.pair_lists import (
    image_name,
    read_cfp,
    read_cross_lfw,
    read_lfw,
)
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
    pairs = read_lfw(write(tmp_path / "pairs.txt", "10\t1", *lines), 20)
    assert pairs[0] == ("A_0/A_0_0001", "A_0/A_0_0012", True, 0)
    assert pairs[5] == ("A_2/A_2_0001", "B 2 C/B 2 C_0002", False, 2)
    assert [pair.fold for pair in pairs] == [k // 2 for k in range(20)]


@pytest.mark.parametrize("between", [b" ", b",", b", "])
def test_lfw_without_tabs_and_with_windows_lines(tmp_path, between):
    lines = b"10 1\r\n" + b"A 1 2\r\nA 1 B 2\r\n" * 10
    (tmp_path / "pairs.txt").write_bytes(lines.replace(b" ", between))
    assert read_lfw(tmp_path / "pairs.txt", 20)[-1] == ("A/A_0001", "B/B_0002", False, 9)


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("10\t300", "A\t1\t2", "line 1: the header `10 1`"),
        ("10\t1", "A\tone\t2", "line 2: `name i j`"),
        ("10\t1", "../../etc/passwd\t1\t2", "cannot be an image"),
        ("10\t1", "a\x00b\t1\t2", "cannot be an image"),
    ],
)
def test_lfw_refuses(tmp_path, header, line, expected):
    refuses(expected, read_lfw, write(tmp_path / "pairs.txt", header, line))


def test_cross_lfw_folds(tmp_path):
    lines = [f"g {k}_0001.jpg {k + 3}\nx_{k}.jpg 7" for k in range(20)]
    lines += [f"i {k}_0001.jpg 0\nx_{k}.jpg 0" for k in range(20)]
    pairs = read_cross_lfw(write(tmp_path / "pairs_CALFW.txt", *lines), 40)
    assert pairs[0] == ("g 0_0001", "x_0", True, 0)
    # fold k = genuine[2k : 2k+2] + impostor[2k : 2k+2]
    assert [pair.fold for pair in pairs] == [k // 2 for k in range(20)] * 2
    assert [pair.genuine for pair in pairs] == [True] * 20 + [False] * 20


def test_cross_lfw_with_commas_and_minus_one(tmp_path):
    lines = ["a, b.jpg,1", "c.jpg, 1", "d.jpg,-1", "e.jpg -1"]
    pairs = read_cross_lfw(write(tmp_path / "pairs_CALFW.txt", *lines), 20)
    assert pairs == [("a, b", "c", True, 0), ("d", "e", False, 0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a.jpg 1", "b.jpg 0"], "the two lines"),
        (["a.jpg 1"], "middle of a pair"),
        (["a.jpg x", "b.jpg x"], "line 1: `image label`"),
    ],
)
def test_cross_lfw_refuses(tmp_path, lines, expected):
    refuses(expected, read_cross_lfw, write(tmp_path / "pairs_CPLFW.txt", *lines))


def cfp(folder, same="1,2"):
    for fold in range(1, 11):
        write(folder / f"Split/FP/{fold:02d}/same.txt", same)
        write(folder / f"Split/FP/{fold:02d}/diff.txt", "2,1")
    for side, kind in (("F", "frontal"), ("P", "profile")):
        lines = [f"{n} ../Data/Images/00{n}/{kind}/0{n}.jpg" for n in (1, 2)]
        write(folder / f"Pair_list_{side}.txt", *lines)
    return folder / "Pair_list_F.txt"


def test_cfp(tmp_path):
    path = cfp(tmp_path / "Protocol")
    pairs = read_cfp(path, 20)
    assert pairs[:2] == [
        ("001/frontal/01", "002/profile/02", True, 0),
        ("002/frontal/02", "001/profile/01", False, 0),
    ]
    assert pairs[-1].fold == 9
    (path.parent / "Split/FP/07/diff.txt").unlink()
    refuses("07/diff.txt", read_cfp, path)


@pytest.mark.parametrize(
    ("same", "expected"),
    [("1,3", "in no Pair_list"), ("1", "`a,b`"), ("1,2\n1,2", "lists 2 pairs")],
)
def test_cfp_refuses(tmp_path, same, expected):
    refuses(expected, read_cfp, cfp(tmp_path / "Protocol", same))


def test_image_names():
    names = {"a b/ü.jpg": "a b/ü", "a\\b.PNG": "a/b", "./J.Lo_1": "J.Lo_1", "a.jpg.bmp": "a.jpg"}
    assert {path: image_name(path, "here") for path in names} == names
