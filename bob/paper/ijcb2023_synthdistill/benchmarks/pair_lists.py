"""Pairs of images with label and fold, and the lists in which the five benchmarks give them.

Each reader takes the list's path and the number of pairs that the benchmark has, and gives the
pairs in file order. The forms and folds are those of the official releases.
"""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy

from ..files import SynthDistillError, reading

FOLDS = 10
"""Number of folds of each benchmark."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Endings of the image files that are looked for, in this order."""

MAX_LIST_SIZE = 32 * 1024 * 1024
"""Bytes of the longest list that is read: the official ones have less than one million."""


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
        return cls(
            tuple(places),
            left,
            right,
            numpy.array([pair.genuine for pair in listed], dtype=bool),
            numpy.array([pair.fold for pair in listed], dtype=int),
        )

    def __len__(self) -> int:
        return len(self.left)


def check_numbers(genuine: Sequence[bool], expected: int, path: Path, title: str) -> None:
    """Refuse a list with another number of pairs, or of genuine pairs, than the benchmark has."""
    found, found_genuine = len(genuine), sum(map(bool, genuine))
    if (found, found_genuine) != (expected, expected // 2):
        raise SynthDistillError(
            f"{path} lists {found:,} pairs, {found_genuine:,} of them genuine; {title} has "
            f"{expected:,} and {expected // 2:,}. This is another list, another benchmark's file, "
            "or an incomplete copy: get the official one."
        )


def without_ending(name: str) -> str:
    """Give a name without the ending of an image file, if it has one."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in IMAGE_SUFFIXES else name


def image_name(path: str, where: str) -> str:
    """Make the name of an image of the path that a list gives: relative, with its ending if any.

    Names become paths below the images' folder and below Bob's folder of features: a path that
    leads outside of them, and one that no file can have, is refused. ``where`` is its file and
    line.
    """
    pure = PurePosixPath(path.strip().replace("\\", "/"))
    name = str(pure)
    if (
        pure.is_absolute()
        or not pure.parts
        or ".." in pure.parts
        or not name.isprintable()
        or len(name) > 1000
        # 240 bytes leave room for the endings of Bob's feature files
        or any(len(part.encode("utf-8", "replace")) > 240 for part in pure.parts)
    ):
        raise SynthDistillError(
            f"{where}: {path[:100]!a} cannot be an image of this benchmark: a relative path "
            "below its folder was expected."
        )
    return name


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read a text list: each line that is not empty, with its place for messages."""
    with reading(path, "a list") as stream:
        content = stream.read(MAX_LIST_SIZE + 1)
    if len(content) > MAX_LIST_SIZE:
        raise SynthDistillError(f"{path} is no list: it has more than {MAX_LIST_SIZE:,} bytes.")
    try:
        text = content.decode("utf-8-sig")
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
        # a hostile line must not keep the pattern busy
        found = re.fullmatch(pattern, line.strip()) if len(line) <= 2000 else None
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
    next(
        _matches(
            lines,
            rf"{FOLDS}\t{half}",
            f"the header `{FOLDS} {half}` (folds, genuine pairs of each) of the official list",
        ),
        None,
    )
    pattern = r"([^\t]+)\t(\d{1,9})\t(?:([^\t]+)\t)?(\d{1,9})"
    listed = []
    for position, ((name, number, other, other_number), where) in enumerate(
        _matches(lines, pattern, "`name i j` or `name1 i name2 j`")
    ):
        left, right = (
            image_name(f"{person}/{person}_{int(image):04d}", where)
            for person, image in ((name, number), (other or name, other_number))
        )
        listed.append(ListedPair(left, right, other is None, position // (2 * half)))
    return listed


def read_cross_lfw(path: Path, pairs: int) -> list[ListedPair]:
    """Read ``pairs_CALFW.txt`` or ``pairs_CPLFW.txt``: two lines a pair, ``image label``.

    The label of a genuine pair is 1 or more, that of an impostor pair 0 (or -1). Fold k takes the
    k-th tenth of the genuine pairs and the k-th tenth of the impostor pairs.
    """
    entries = [
        (without_ending(image_name(image, where)), int(label) > 0, where)
        for (image, label), where in _matches(
            read_lines(path), r"(.*[^\s,])[\s,]+(-?\d{1,9})", "`image label`"
        )
    ]
    if len(entries) % 2:
        raise SynthDistillError(f"{path} ends in the middle of a pair: it is incomplete.")
    listed = []
    seen = {True: 0, False: 0}
    for (left, genuine, where), (right, other, _) in zip(entries[::2], entries[1::2], strict=True):
        if genuine != other:
            raise SynthDistillError(
                f"{where}: the two lines of a pair must both have the label 0, or both one above."
            )
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
            for (one, other), where in _matches(
                read_lines(file), r"(\d{1,9})[,\s]+(\d{1,9})", "`a,b`"
            ):
                left, right = frontal.get(int(one)), profile.get(int(other))
                if left is None or right is None:
                    raise SynthDistillError(
                        f"{where}: image {one} or {other} is in no Pair_list: the files of "
                        f"{protocol} do not belong together."
                    )
                listed.append(ListedPair(left, right, genuine, fold))
            if len(listed) - start != half:
                raise SynthDistillError(
                    f"{file} lists {len(listed) - start:,} pairs: {half:,} were expected. Get the "
                    "official one."
                )
    return listed


def _read_images(path: Path) -> dict[int, str]:
    """Read ``Pair_list_F.txt`` or ``Pair_list_P.txt``: number to ``001/frontal/01``."""
    return {
        # the official paths start at the list: ../Data/Images/001/frontal/01.jpg
        int(number): without_ending(
            image_name("/".join(file.replace("\\", "/").split("/")[-3:]), where)
        )
        for (number, file), where in _matches(
            read_lines(path), r"(\d{1,9})\s+(.+)", "`number path`"
        )
    }


GENUINE = {
    **dict.fromkeys(("1", "true", "yes", "genuine", "same"), True),
    **dict.fromkeys(("0", "-1", "false", "no", "impostor", "different"), False),
}
"""What the column ``genuine`` of a list of one's own may say, and what it means."""


def read_csv(path: Path, pairs: int = 0) -> list[ListedPair]:  # noqa: ARG001 - any number
    """Read a list of one's own: CSV, columns ``left``, ``right``, ``genuine``, perhaps ``fold``.

    Images keep their ending where the list says it. A list without folds gives fold -1.
    """
    listed = []
    for row, where in read_table(path, ("left", "right", "genuine")):
        label, fold = row["genuine"].strip().lower(), row.get("fold", "-1").strip()
        if label not in GENUINE:
            raise SynthDistillError(
                f"{where}: `genuine` is {row['genuine'][:40]!a}: 1 or 0 was expected (or "
                f"{', '.join(word for word in GENUINE if word.isalpha())})."
            )
        if not re.fullmatch(r"\d{1,9}" if "fold" in row else "-1", fold):
            raise SynthDistillError(f"{where}: `fold` is {fold[:40]!a}: a number was expected.")
        left, right = (image_name(row[side], where) for side in ("left", "right"))
        listed.append(ListedPair(left, right, GENUINE[label], int(fold)))
    return listed


def with_folds(listed: Sequence[ListedPair], path: Path) -> tuple[list[ListedPair], str]:
    """Put pairs without folds into some; say in words how many pairs and folds there are.

    Fold k takes the k-th part of the genuine pairs and the k-th part of the impostor pairs. There
    are ten folds, or as many as pairs of the rarer kind, but at least two.
    """
    numbers = Counter(pair.genuine for pair in listed)
    made = any(pair.fold < 0 for pair in listed)
    if made:
        folds = max(2, min(FOLDS, *numbers.values()))
        places = {kind: itertools.count() for kind in numbers}
        listed = [
            pair._replace(fold=next(places[pair.genuine]) * folds // numbers[pair.genuine])
            for pair in listed
        ]
    found = len({pair.fold for pair in listed})
    words = f"{numbers[True]:,} genuine and {numbers[False]:,} impostor, in {found} folds"
    if len(numbers) < 2 or found < 2:
        raise SynthDistillError(
            f"{path} lists {len(listed):,} pairs ({words}): some of each kind, in at least two "
            "folds, were expected. Without the column `fold`, folds are made."
        )
    return list(listed), words + (" made in their order" if made else "")


_SPLITS = """
import contextlib, json, resource, sys
from scipy.io import loadmat

with contextlib.suppress(ValueError):  # macOS has no such limit
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    found = loadmat(sys.argv[1], appendmat=False, squeeze_me=True, struct_as_record=False)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")

def plain(value):
    names = getattr(value, "_fieldnames", None)
    return value.tolist() if names is None else [getattr(value, name) for name in names]

print(json.dumps(found.get("splits"), default=plain))
"""


def _read_splits(path: Path) -> Any:
    """Read AgeDB's ``splits``, cells and structures as nested lists.

    In a process of its own: scipy believes what a damaged file claims, and has ended with a
    segmentation fault.
    """
    with reading(path, "AgeDB's protocol"):
        pass
    done = subprocess.run(  # noqa: S603
        # -P: nothing is imported from the working folder
        [sys.executable, "-P", "-c", _SPLITS, str(path)],
        capture_output=True,
        check=True,
        timeout=60,
        # each thread of OpenBLAS takes a part of the limit
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def _name(value: Any) -> str:
    """Read an image's name: text, or the first field of a structure."""
    while isinstance(value, list):
        value = value[0]
    if not isinstance(value, str):
        raise ValueError("an image has no name")
    return value


def read_agedb(path: Path, pairs: int) -> list[ListedPair]:
    """Read AgeDB's ``04_FINAL_protocol_30_years.mat``: ten splits, labels +1 and -1.

    A split is a structure (or a cell) of the images, 2 x N, each given by its name or a structure
    that begins with it, and of N labels.
    """
    listed = []
    try:
        splits = _read_splits(path)
        for fold, parts in enumerate(splits):
            (labels,) = (part for part in parts if not isinstance(part[0], str | list))
            (images,) = (part for part in parts if isinstance(part[0], list))
            sides = images if len(images) == 2 else zip(*images, strict=True)
            where = f"{path}, split {fold + 1}"
            for left, right, label in zip(*sides, labels, strict=True):
                if label not in (1, -1):
                    raise ValueError(f"the label {label} is neither +1 nor -1")
                names = [without_ending(image_name(_name(side), where)) for side in (left, right)]
                listed.append(ListedPair(names[0], names[1], label == 1, fold))
    except (
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
        subprocess.SubprocessError,
    ) as error:
        said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
        raise SynthDistillError(
            f"{path} is not AgeDB's protocol (a MATLAB file of version 5 to 7 with the variable "
            f"`splits`: images, 2 x N, with N labels +1 or -1), or it is damaged: "
            f"{(said or str(error)).split(chr(10))[-1][:200]!a}. Get the official file again."
        ) from error
    sizes = numpy.bincount([pair.fold for pair in listed], minlength=FOLDS).tolist()
    if sizes != [pairs // FOLDS] * FOLDS:
        raise SynthDistillError(
            f"{path} has splits of {sizes[:20]} pairs: {FOLDS} of {pairs // FOLDS:,} were "
            "expected. Get the official one."
        )
    return listed
