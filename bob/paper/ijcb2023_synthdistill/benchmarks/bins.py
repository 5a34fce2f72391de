"""InsightFace's ``.bin`` files: a pickle of (list of encoded images, list of labels)."""

import mmap
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from ..files import SynthDistillError, atomic_write
from ..unpickling import NUMPY, PLAIN, NumpyArray, read_pickle
from .images import ImageSource
from .pair_lists import FOLDS, ListedPair, check_numbers

_WHAT = "an InsightFace benchmark (.bin)"


def read_bin(path: Path, pairs: int, title: str) -> tuple[list[ListedPair], dict[str, ImageSource]]:
    """Read pairs and the places of the images. No image is decoded, no code executed.

    Images 2k and 2k+1 are pair k; the ten folds are contiguous. An image is named by the number of
    its first occurrence, so that equal images are one. The file may be written by Python 2 or 3;
    its images are bytes or numpy arrays of uint8.
    """
    # `encoding="bytes"`: what Python 2 wrote as strings are images
    content = read_pickle(path, {**PLAIN, **NUMPY}, what=_WHAT, encoding="bytes")
    lists = [_list(part) for part in content] if isinstance(content, list | tuple) else []
    if len(lists) != 2 or None in lists:
        raise _unexpected(path, "a list of images and a list of labels")
    encoded, labels = (part or [] for part in lists)
    if not all(isinstance(label, bool | int) and label in (0, 1) for label in labels):
        raise _unexpected(path, "labels that are true or false")
    if len(encoded) != 2 * len(labels):
        raise _unexpected(
            path, f"two images for each label, not {len(encoded):,} for {len(labels):,} labels,"
        )
    check_numbers(labels, pairs, path, title)
    names, sources = _images(encoded, path)
    listed = [
        ListedPair(names[2 * k], names[2 * k + 1], bool(label), k // (pairs // FOLDS))
        for k, label in enumerate(labels)
    ]
    return listed, sources


def _list(value: Any) -> list[Any] | None:
    if isinstance(value, NumpyArray) and value.value.ndim == 1:
        return value.value.tolist()
    return list(value) if isinstance(value, list | tuple) else None


def _images(encoded: list[Any], path: Path) -> tuple[list[str], dict[str, ImageSource]]:
    """Name the images, equal ones equally, and find their places in the file."""
    names: list[str] = []
    sources: dict[str, ImageSource] = {}
    by_content: dict[bytes, str] = {}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as file:
        position = 0
        for number, item in enumerate(encoded):
            image = _bytes(item, number, path)
            name = by_content.setdefault(image, f"{number:05d}")
            names.append(name)
            if name not in sources:
                # images lie in the file one after the other, unless protocol 2 escaped them: then
                # they travel with the samples
                found = file.find(image, position) if position >= 0 else -1
                position = found + len(image) if found >= 0 else -1
                sources[name] = (
                    ImageSource(str(path), found, len(image))
                    if found >= 0
                    else ImageSource(str(path), content=image)
                )
    return names, sources


def _bytes(item: Any, number: int, path: Path) -> bytes:
    if isinstance(item, NumpyArray):
        item = item.value.tobytes() if item.value.dtype == numpy.uint8 else None
    if not isinstance(item, bytes | bytearray) or not item:
        raise _unexpected(path, f"an encoded image as number {number:,} of its list")
    return bytes(item)


def _unexpected(path: Path, expected: str) -> SynthDistillError:
    return SynthDistillError(
        f"{path} is not {_WHAT}: {expected} was expected. Get the official file again."
    )


def write_bin(path: Path, images: Sequence[bytes], labels: Sequence[bool]) -> None:
    """Write a benchmark in InsightFace's form: encoded images 2k and 2k+1 are pair k."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        pickle.dump((list(images), [bool(label) for label in labels]), stream, protocol=4)
