"""Read the official pair lists of the five benchmarks.

Each reader takes the list's path and the number of pairs that the benchmark has, and gives the
pairs in file order. The forms and folds are those of the official releases.
"""

from collections.abc import Iterator
from pathlib import Path

from ..files import SynthDistillError
from .mat import read_splits
from .pairs import FOLDS, ListedPair, image_name

MAX_LIST_SIZE = 32 * 1024 * 1024
"""Bytes of the longest list that is read: the official ones have less than one million."""


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read a text list: each line that is not empty, with its place for messages.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is no UTF-8 text, or is much too large.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_LIST_SIZE + 1)
    except OSError as error:
        raise SynthDistillError(f"cannot read {path}: {error.strerror or error}.") from error
    if len(content) > MAX_LIST_SIZE:
        raise SynthDistillError(
            f"{path} is no pair list: it has more than {MAX_LIST_SIZE:,} bytes."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SynthDistillError(f"{path} is no pair list: it is not UTF-8 text.") from error
    # only line feeds end lines: splitlines() would also split names at exotic characters
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield line.strip("\r"), f"{path}, line {number}"


def _fields(line: str) -> list[str]:
    """Split at tabs where there are any: a name may hold spaces."""
    return [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]


def _integer(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SynthDistillError(f"{where}: a number was expected, not {text[:40]!a}.")
    return int(text)


def read_lfw(path: Path, pairs: int) -> list[ListedPair]:
    """Read LFW's ``pairs.txt``: a header, then ``name i j`` or ``name1 i name2 j``.

    The header's numbers are the folds and the genuine (and impostor) pairs of each; folds are
    contiguous.

    Parameters
    ----------
    path
        The list.
    pairs
        Number of pairs of the benchmark.

    Raises
    ------
    SynthDistillError
        A line has another form, or the header does not promise the benchmark's number of pairs.
    """
    lines = read_lines(path)
    header, where = next(lines, ("", f"{path}, line 1"))
    expected = [FOLDS, pairs // (2 * FOLDS)]
    fields = _fields(header)
    if len(fields) != 2 or [_integer(field, where) for field in fields] != expected:
        raise SynthDistillError(
            f"{where}: the header `{expected[0]} {expected[1]}` (folds, genuine pairs of each) was "
            f"expected, not {header[:40]!a}. Get the official list."
        )
    listed = []
    for position, (line, where) in enumerate(lines):
        fields = _fields(line)
        if len(fields) not in (3, 4):
            raise SynthDistillError(
                f"{where}: `name i j` or `name1 i name2 j` was expected, not {line[:100]!a}."
            )
        genuine = len(fields) == 3
        left = fields[0], fields[1]
        right = fields[0] if genuine else fields[2], fields[-1]
        names = [
            image_name(f"{name}/{name}_{_integer(number, where):04d}", where)
            for name, number in (left, right)
        ]
        listed.append(ListedPair(names[0], names[1], genuine, position // (2 * expected[1])))
    return listed


def read_cross_lfw(path: Path, pairs: int) -> list[ListedPair]:
    """Read ``pairs_CALFW.txt`` or ``pairs_CPLFW.txt``: two lines a pair, ``image label``.

    The label of a genuine pair need not be 1; 0 is impostor. Fold k takes the k-th tenth of the
    genuine pairs and the k-th tenth of the impostor pairs.

    Parameters
    ----------
    path
        The list.
    pairs
        Number of pairs of the benchmark.

    Raises
    ------
    SynthDistillError
        A line has another form, or the two lines of a pair contradict each other.
    """
    entries = []
    for line, where in read_lines(path):
        fields = line.rsplit(None, 1)
        if len(fields) != 2:
            raise SynthDistillError(f"{where}: `image label` was expected.")
        entries.append((image_name(fields[0], where), _integer(fields[1], where) != 0, where))
    if len(entries) % 2:
        raise SynthDistillError(f"{path} ends in the middle of a pair: it is incomplete.")
    listed = []
    seen = {True: 0, False: 0}
    for (left, genuine, where), (right, other, _) in zip(entries[::2], entries[1::2], strict=True):
        if genuine != other:
            raise SynthDistillError(
                f"{where}: the two lines of a pair must both have the label 0, or both another."
            )
        # never more than the last fold: a wrong number of pairs is refused by its number
        fold = min(seen[genuine] // max(pairs // (2 * FOLDS), 1), FOLDS - 1)
        seen[genuine] += 1
        listed.append(ListedPair(left, right, genuine, fold))
    return listed


def read_cfp(path: Path, pairs: int) -> list[ListedPair]:
    """Read CFP's ``Protocol`` folder, frontal against profile.

    ``Split/FP/01..10/{same,diff}.txt`` hold lines ``a,b``, 1-based numbers of
    ``Pair_list_F.txt`` and ``Pair_list_P.txt``, whose lines are ``number path``.

    Parameters
    ----------
    path
        ``Protocol/Pair_list_F.txt``: the folder is found from it.
    pairs
        Number of pairs of the benchmark.

    Raises
    ------
    SynthDistillError
        A file is missing, a line has another form, or a number is not in the list of images.
    """
    protocol = path.parent
    frontal = _read_images(protocol / "Pair_list_F.txt")
    profile = _read_images(protocol / "Pair_list_P.txt")
    listed: list[ListedPair] = []
    for fold in range(FOLDS):
        for file_name, genuine in (("same.txt", True), ("diff.txt", False)):
            file = protocol / "Split" / "FP" / f"{fold + 1:02d}" / file_name
            start = len(listed)
            for line, where in read_lines(file):
                numbers = line.split(",")
                if len(numbers) != 2:
                    raise SynthDistillError(f"{where}: `a,b` was expected.")
                left = frontal.get(_integer(numbers[0].strip(), where))
                right = profile.get(_integer(numbers[1].strip(), where))
                if left is None or right is None:
                    raise SynthDistillError(
                        f"{where}: image {line[:40]!a} is in no Pair_list: the files of "
                        f"{protocol} do not belong together."
                    )
                listed.append(ListedPair(left, right, genuine, fold))
            if len(listed) - start != pairs // (2 * FOLDS):
                raise SynthDistillError(
                    f"{file} lists {len(listed) - start:,} pairs: {pairs // (2 * FOLDS):,} were "
                    "expected. Get the official one."
                )
    return listed


def _read_images(path: Path) -> dict[int, str]:
    """Read ``Pair_list_F.txt`` or ``Pair_list_P.txt``: number to ``001/frontal/01``."""
    images = {}
    for line, where in read_lines(path):
        fields = line.split(None, 1)
        if len(fields) != 2:
            raise SynthDistillError(f"{where}: `number path` was expected.")
        # the official paths start at the list: ../Data/Images/001/frontal/01.jpg
        parts = fields[1].strip().replace("\\", "/").split("/")
        images[_integer(fields[0], where)] = image_name("/".join(parts[-3:]), where)
    return images


def read_agedb(path: Path, pairs: int) -> list[ListedPair]:
    """Read AgeDB's ``04_FINAL_protocol_30_years.mat``: ten splits, labels +1 and -1.

    Parameters
    ----------
    path
        The list.
    pairs
        Number of pairs of the benchmark.

    Raises
    ------
    SynthDistillError
        The file is no such list, or its folds have another size.
    """
    splits = read_splits(path)
    sizes = [len(split) for split in splits]
    if sizes != [pairs // FOLDS] * FOLDS:
        raise SynthDistillError(
            f"{path} has splits of {sizes[:20]} pairs: {FOLDS} of {pairs // FOLDS:,} were "
            "expected. Get the official one."
        )
    return [
        ListedPair(
            image_name(left, f"{path}, split {fold + 1}"),
            image_name(right, f"{path}, split {fold + 1}"),
            genuine,
            fold,
        )
        for fold, split in enumerate(splits)
        for left, right, genuine in split
    ]
