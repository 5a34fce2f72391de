"""Find out what a folder given for a benchmark holds, and open it.

Three layouts: InsightFace's ``.bin``; aligned faces of 112x112 pixels with the official pair list;
photographs with the official pair list and eye positions (:py:data:`EYES_FILE`).
"""

import dataclasses
import itertools
import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import SynthDistillError
from .benchmark import Benchmark
from .bins import read_bin
from .eyes import EYES_COLUMNS, EYES_FILE, Eyes, read_eyes
from .images import ALIGNED_SIZE, DRAWN_MARK, ImageSource, is_drawn, read_size
from .own_pairs import with_folds
from .pair_lists import IMAGE_SUFFIXES, Pairs, check_numbers, first, without_ending

logger = logging.getLogger(__name__)

_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))


@dataclass(frozen=True)
class Opened:
    """A benchmark that was found and read.

    ``sources`` says where each image lies, in the order of ``pairs.images``; ``eyes`` are the eye
    positions in the same order, none if the images are aligned; ``description`` says in words what
    was found where; ``drawn`` that one's own pairs are of drawn faces.
    """

    pairs: Pairs
    sources: list[ImageSource]
    description: str
    eyes: list[Eyes] = field(default_factory=list)
    drawn: bool = False


def open_layout(benchmark: Benchmark, directory: Path, *, complete: bool = True) -> Opened:
    """Find which layout a folder holds, and read pairs and places of images.

    ``directory`` is the folder, or an InsightFace ``.bin`` itself. A folder that holds nothing of
    the benchmark, a wrong list, missing images, and images that are neither aligned nor have eye
    positions are refused. Unless it must be ``complete``, images that are missing get a path where
    nothing is, and eyes that are missing a place that is no number.
    """
    bin_path = directory if directory.is_file() else directory / benchmark.bin_name
    if not benchmark.pairs:
        opened = _open_folder(benchmark, directory, Path(benchmark.list_name), complete)
    elif bin_path.is_file():
        opened = _open_bin(benchmark, bin_path)
    elif list_path := _find(directory, benchmark.list_name):
        opened = _open_folder(benchmark, directory, list_path, complete)
    else:
        found = "does not exist"
        if directory.is_dir():
            found = "holds neither" if any(directory.iterdir()) else "is empty"
        raise SynthDistillError(
            f"no {benchmark.title}: {directory} {found}. Expected there: InsightFace's "
            f"`{benchmark.bin_name}`, or the official list `{benchmark.list_name}` with the "
            f"images, aligned or with a `{EYES_FILE}`. Name another place by `bob config set "
            f"{benchmark.key} FOLDER`."
        )
    drawn = any(map(is_drawn, opened.sources[:20])) or any(
        DRAWN_MARK.decode().lower() in name.lower() for name in opened.pairs.images[:20]
    )
    if drawn and benchmark.pairs and not benchmark.drawn:
        raise SynthDistillError(
            f"{directory} holds drawn faces ({DRAWN_MARK.decode()}), and not {benchmark.title}: "
            f"{opened.description}. Name the folder of the real files by `bob config set "
            f"{benchmark.key} FOLDER`."
        )
    logger.info("%s: %s", benchmark.name, opened.description)
    return dataclasses.replace(opened, drawn=drawn and not benchmark.pairs)


def _open_bin(benchmark: Benchmark, path: Path) -> Opened:
    listed, sources = read_bin(path, benchmark.pairs, benchmark.title)
    pairs = Pairs.of(listed)
    found = f"{len(pairs):,} pairs of {len(pairs.images):,} distinct images in the InsightFace file"
    return Opened(pairs, [sources[name] for name in pairs.images], f"{found} {path}")


def _open_folder(benchmark: Benchmark, directory: Path, list_path: Path, complete: bool) -> Opened:
    listed, numbers = benchmark.read_list(list_path, benchmark.pairs), ""
    if benchmark.pairs:
        genuine = [pair.genuine for pair in listed]
        check_numbers(genuine, benchmark.pairs, list_path, benchmark.title)
    else:
        listed, words = with_folds(listed, list_path)
        numbers = f" ({words})"
    pairs = Pairs.of(listed)
    folder, files = _find_images(benchmark, directory, pairs.images, complete)
    eyes_path = _find(directory, EYES_FILE) or _find(list_path.parent, EYES_FILE)
    sources = [ImageSource(file, aligned=eyes_path is None) for file in files]
    eyes: list[Eyes] = []
    if eyes_path is None:
        _check_aligned(benchmark, sources[0])
        kind = "aligned images"
    else:
        eyes = read_eyes(eyes_path, pairs.images, complete)
        kind = "unaligned images with eye positions"
    return Opened(
        pairs,
        sources,
        f"{len(pairs):,} pairs{numbers} of {len(pairs.images):,} distinct {kind} in {folder}, "
        f"listed in {list_path}",
        eyes,
    )


def _folders(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/"))


def _find(directory: Path, name: str) -> Path | None:
    """Find a file in a folder or in one directly below (as archives unpack)."""
    folders = [directory, *_folders(directory)]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _find_images(
    benchmark: Benchmark, directory: Path, names: tuple[str, ...], complete: bool
) -> tuple[Path, list[str]]:
    """Find the folder that the list's names start from, and all images."""

    def first_found(start: tuple[Sequence[str], Path]) -> int:
        return sum(_find_image(start[1], name) is not None for name in start[0][:3])

    # a list may start its names at a folder above, or at one that is not here
    starts = itertools.product(_without_shared_folders(names), _image_folders(directory))
    named, folder = max(starts, key=first_found)
    files = [_find_image(folder, name) for name in named]
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    if missing and (complete or len(missing) == len(names)):
        raise SynthDistillError(
            f"{len(missing):,} of {len(names):,} images of {benchmark.title} are missing in "
            f"{folder}: {first(missing)} (as {'/'.join(IMAGE_SUFFIXES)}). Copy them again."
        )
    return folder, [file or f"{folder}/{name}" for name, file in zip(names, files, strict=True)]


def _image_folders(directory: Path) -> Iterator[Path]:
    """List where images may start: the folder, and up to two levels below."""
    yield directory
    below = _folders(directory)
    yield from below
    if len(below) <= 50:  # else they are the folders of persons
        for folder in below:
            further = _folders(folder)
            yield from further if len(further) <= 50 else []


def _without_shared_folders(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give the names as they are, then without the folders that all of them begin with."""
    yield names
    while len({name.partition("/")[0] for name in names}) == 1 and all("/" in n for n in names):
        names = [name.partition("/")[2] for name in names]
        yield names


def _find_image(folder: Path, name: str) -> str | None:
    # macOS stores the letters of a name and their accents apart
    forms = dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
    suffixes = _SUFFIXES if without_ending(name) == name else ("", *_SUFFIXES)
    for form, suffix in itertools.product(forms, suffixes):
        path = f"{folder}/{form}{suffix}"
        if os.path.isfile(path):  # noqa: PTH113 - several times as fast as Path.is_file
            return path
    return None


def _check_aligned(benchmark: Benchmark, source: ImageSource) -> None:
    """Tell at the start that images are photographs, not at the first of them."""
    try:
        height, width = read_size(dataclasses.replace(source, aligned=False))
    except SynthDistillError:
        return  # it is named with all others that cannot be used
    if (height, width) != (ALIGNED_SIZE, ALIGNED_SIZE):
        raise SynthDistillError(
            f"the images of {benchmark.title} are not aligned: {source} has {width}x{height} "
            f"pixels. Give aligned ones, of {ALIGNED_SIZE}x{ALIGNED_SIZE}, or put the eyes"
            f" beside the list, in `{EYES_FILE}` with the columns {', '.join(EYES_COLUMNS)}."
        )
