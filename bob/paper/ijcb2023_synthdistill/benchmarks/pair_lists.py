"""Pairs of images with label and fold, and the lists in which benchmarks give them.

Each reader takes the list's path and the number of pairs that the benchmark has, and gives the
pairs in file order. The forms and folds are those of the official releases.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy

from ..files import SynthDistillError, reading

FOLDS = 10
"""Number of folds of each benchmark."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Endings of the image files that are looked for, in this order."""


class ListedPair(NamedTuple):
    """One pair as a list names it: image names, fold."""

    left: str
    right: str
    genuine: bool
    fold: int


@dataclass(frozen=True)
class Pairs:
    """The pairs of a benchmark, in the order of its list.

    ``images`` are the names of the distinct images in order of appearance; ``left`` and ``right``
    ``[N]`` int are indices into them; ``genuine`` is ``[N]`` bool and ``fold`` ``[N]`` int.
    """

    images: tuple[str, ...]
    left: numpy.ndarray
    right: numpy.ndarray
    genuine: numpy.ndarray
    fold: numpy.ndarray

    @classmethod
    def of(cls, listed: Sequence[ListedPair]) -> "Pairs":
        """Turn listed pairs into arrays, each distinct image once."""
        places: dict[str, int] = {}
        sides = [[places.setdefault(name, len(places)) for name in pair[:2]] for pair in listed]
        left, right = numpy.array(sides, dtype=int).reshape(-1, 2).T.copy()
        genuine = numpy.array([pair.genuine for pair in listed], dtype=bool)
        fold = numpy.array([pair.fold for pair in listed], dtype=int)
        return cls(tuple(places), left, right, genuine, fold)

    def __len__(self) -> int:
        return len(self.left)


def check_numbers(genuine: Sequence[bool], expected: int, path: Path, title: str) -> None:
    """Refuse a list with another number of pairs, or of genuine pairs, than the benchmark has."""
    found, found_genuine = len(genuine), sum(map(bool, genuine))
    if (found, found_genuine) != (expected, expected // 2):
        raise SynthDistillError(
            f"{path} lists {found:,} pairs, {found_genuine:,} of them genuine; {title} has "
            f"{expected:,} and {expected // 2:,}: get the official one."
        )


def without_ending(name: str) -> str:
    """Give a name without the ending of an image file, if it has one."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in IMAGE_SUFFIXES else name


def image_name(path: str, where: str, *, ending: bool = False) -> str:
    """Make the name of an image of the path that a list gives at ``where``, without its ending.

    Names become paths below the images' folder: one that leads outside of it, or that no file can
    have, is refused.
    """
    pure = PurePosixPath(path.strip().replace("\\", "/"))
    name = str(pure)
    wrong = pure.is_absolute() or not pure.parts or ".." in pure.parts or not name.isprintable()
    if wrong or len(name.encode("utf-8", "replace")) > 240:
        raise SynthDistillError(
            f"{where}: {path[:100]!a} cannot be an image: a path below the images' folder was "
            "expected."
        )
    return name if ending else without_ending(name)


def first(names: Sequence[str], count: int = 3) -> str:
    """Name the first of many."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read a text list: each line that is not empty, with its place for messages."""
    with reading(path, "a list") as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SynthDistillError(f"{path} is no list: it is not UTF-8 text.") from error
    # only line feeds end lines: splitlines() would also split names at exotic characters
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield line.strip("\r"), f"{path}, line {number}"


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Read a CSV file that has these columns, among others: each row, with its place."""
    lines = list(read_lines(path))
    reader = csv.DictReader((line for line, _ in lines), restval="", skipinitialspace=True)
    found = reader.fieldnames or ()
    if not set(columns) <= set(found):
        raise SynthDistillError(
            f"{path} must have the columns {', '.join(columns)}; it has {', '.join(found)[:100]!a}."
        )
    try:
        for row in reader:
            yield row, lines[reader.line_num - 1][1]
    except csv.Error as error:
        raise SynthDistillError(f"{path} is no CSV file: {error}.") from error


def _matches(
    lines: Iterable[tuple[str, str]], pattern: str, form: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Take lines apart by a pattern, which ``form`` says in words: the groups, and the place."""
    for line, where in lines:
        found = re.fullmatch(pattern, line.strip())
        if found is None:
            raise SynthDistillError(f"{where}: {form} was expected, not {line[:100]!a}.")
        yield found.groups(), where


def read_lfw(path: Path, pairs: int) -> list[ListedPair]:
    """Read LFW's ``pairs.txt``: a header, then ``name i j`` or ``name1 i name2 j``.

    The header's numbers are the folds and the genuine (and impostor) pairs of each; folds are
    contiguous. Names hold spaces only where tabs stand between the fields.
    """
    lines = (
        (re.sub(r"\s*\t\s*" if "\t" in line else r"[\s,]+", "\t", line.strip()), where)
        for line, where in read_lines(path)
    )
    half = pairs // (2 * FOLDS)
    header, where = next(lines, ("", f"{path}, line 1"))
    if header.split("\t") != [str(FOLDS), str(half)]:
        raise SynthDistillError(
            f"{where}: the header `{FOLDS} {half}` of the official list was expected, not "
            f"{header[:40]!a}."
        )
    pattern = r"([^\t]+)\t(\d{1,9})\t(?:([^\t]+)\t)?(\d{1,9})"
    listed: list[ListedPair] = []
    for fields, where in _matches(lines, pattern, "`name i j` or `name1 i name2 j`"):
        name, number, other, other_number = fields
        left, right = (
            image_name(f"{person}/{person}_{int(image):04d}", where)
            for person, image in ((name, number), (other or name, other_number))
        )
        listed.append(ListedPair(left, right, other is None, len(listed) // (2 * half)))
    return listed


def read_cross_lfw(path: Path, pairs: int) -> list[ListedPair]:
    """Read ``pairs_CALFW.txt`` or ``pairs_CPLFW.txt``: two lines a pair, ``image label``.

    The label of a genuine pair is 1 or more, that of an impostor pair 0 (or -1). Fold k takes the
    k-th tenth of the genuine pairs and the k-th tenth of the impostor pairs.
    """
    lines = _matches(read_lines(path), r"(.*[^\s,])[\s,]+(-?\d{1,9})", "`image label`")
    entries = [(image_name(image, where), int(label) > 0, where) for (image, label), where in lines]
    if len(entries) % 2:
        raise SynthDistillError(f"{path} ends in the middle of a pair: it is incomplete.")
    listed, seen = [], {True: 0, False: 0}
    for (left, genuine, where), (right, other, _) in zip(entries[::2], entries[1::2], strict=True):
        if genuine != other:
            raise SynthDistillError(f"{where}: the two lines of a pair have other labels.")
        # never more than the last fold: a wrong number of pairs is refused by its number
        fold = min(seen[genuine] * 2 * FOLDS // pairs, FOLDS - 1)
        seen[genuine] += 1
        listed.append(ListedPair(left, right, genuine, fold))
    return listed


def read_cfp(path: Path, pairs: int) -> list[ListedPair]:
    """Read CFP's ``Protocol`` folder, frontal against profile; ``path`` is its Pair_list_F.txt.

    ``Split/FP/01..10/{same,diff}.txt`` hold lines ``a,b``, 1-based numbers of
    ``Pair_list_F.txt`` and ``Pair_list_P.txt``, whose lines are ``number path``.
    """
    protocol = path.parent
    frontal, profile = (_read_images(protocol / f"Pair_list_{side}.txt") for side in "FP")
    half = pairs // (2 * FOLDS)
    listed: list[ListedPair] = []
    for fold in range(FOLDS):
        for file_name, genuine in (("same.txt", True), ("diff.txt", False)):
            file = protocol / "Split" / "FP" / f"{fold + 1:02d}" / file_name
            start = len(listed)
            lines = _matches(read_lines(file), r"(\d{1,9})[,\s]+(\d{1,9})", "`a,b`")
            for (one, other), where in lines:
                left, right = frontal.get(int(one)), profile.get(int(other))
                if left is None or right is None:
                    raise SynthDistillError(
                        f"{where}: image {one} or {other} is in no Pair_list of {protocol}."
                    )
                listed.append(ListedPair(left, right, genuine, fold))
            if len(listed) - start != half:
                raise SynthDistillError(
                    f"{file} lists {len(listed) - start:,} pairs: {half:,} were expected."
                )
    return listed


def _read_images(path: Path) -> dict[int, str]:
    """Read ``Pair_list_F.txt`` or ``Pair_list_P.txt``: number to ``001/frontal/01``."""
    images = {}
    for (number, file), where in _matches(read_lines(path), r"(\d{1,9})\s+(.+)", "`number path`"):
        # the official paths start at the list: ../Data/Images/001/frontal/01.jpg
        parts = file.replace("\\", "/").split("/")[-3:]
        images[int(number)] = image_name("/".join(parts), where)
    return images
