"""Pairs of images with label and fold: what every benchmark is, whatever its file form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy

from ..files import SynthDistillError

FOLDS = 10
"""Number of folds of each benchmark."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Endings of the image files that are looked for, in this order."""


class ListedPair(NamedTuple):
    """One pair as a list names it: image names without ending, 0-based fold."""

    left: str
    right: str
    genuine: bool
    fold: int


@dataclass(frozen=True)
class Pairs:
    """The pairs of a benchmark, in the order of its list.

    Parameters
    ----------
    images
        Names of the distinct images, in order of appearance.
    left, right
        ``[N]`` int: indices into ``images``.
    genuine
        ``[N]`` bool: whether both images show the same person.
    fold
        ``[N]`` int: 0 to 9.
    """

    images: tuple[str, ...]
    left: numpy.ndarray
    right: numpy.ndarray
    genuine: numpy.ndarray
    fold: numpy.ndarray

    def __len__(self) -> int:
        return len(self.left)


def index_pairs(listed: Sequence[ListedPair]) -> Pairs:
    """Turn listed pairs into arrays, each distinct image once."""
    indices: dict[str, int] = {}
    left, right = [], []
    for pair in listed:
        left.append(indices.setdefault(pair.left, len(indices)))
        right.append(indices.setdefault(pair.right, len(indices)))
    return Pairs(
        images=tuple(indices),
        left=numpy.array(left, dtype=int),
        right=numpy.array(right, dtype=int),
        genuine=numpy.array([pair.genuine for pair in listed], dtype=bool),
        fold=numpy.array([pair.fold for pair in listed], dtype=int),
    )


def check_numbers(genuine: Sequence[bool], expected: int, where: Path | str, title: str) -> None:
    """Refuse a list with another number of pairs, or of genuine pairs, than the benchmark has.

    Parameters
    ----------
    genuine
        The labels that were read.
    expected
        The number of pairs; half of them are genuine.
    where
        The file, for the message.
    title
        The benchmark's name, for the message.

    Raises
    ------
    SynthDistillError
        The numbers differ.
    """
    found, found_genuine = len(genuine), sum(map(bool, genuine))
    if found != expected or found_genuine != expected // 2:
        raise SynthDistillError(
            f"{where} lists {found:,} pairs, {found_genuine:,} of them genuine; {title} has "
            f"{expected:,} and {expected // 2:,}. This is another list, another benchmark's file, "
            "or an incomplete copy: get the official one."
        )


def image_name(path: str, where: str) -> str:
    """Make the name of an image of the path that a list gives: relative, without ending.

    Names become paths below the images' folder and below Bob's folder of features, so that a list
    must not lead outside of them.

    Parameters
    ----------
    path
        The path as listed, with slashes of either kind.
    where
        File and line, for the message.

    Raises
    ------
    SynthDistillError
        The path is absolute, leads outside, or cannot be a file's name.
    """
    pure = PurePosixPath(path.strip().replace("\\", "/"))
    if pure.suffix.lower() in IMAGE_SUFFIXES:
        pure = pure.with_suffix("")
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
