"""Find out what a folder given for a benchmark holds, and open it.

Three layouts: InsightFace's ``.bin``; aligned faces of 112x112 pixels with the official pair list;
photographs with the official pair list and eye positions (:py:data:`EYES_FILE`).
"""

import csv
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..files import SynthDistillError
from .benchmark import Benchmark
from .bins import read_bin
from .images import ALIGNED_SIZE, ImageSource, read_size
from .lists import read_lines
from .pairs import IMAGE_SUFFIXES, Pairs, check_numbers, image_name, index_pairs

logger = logging.getLogger(__name__)

EYES_FILE = "eye_positions.csv"
"""The file that makes a folder one of unaligned images. Columns: ``path`` as in the pair list (the
ending may be left out), ``reye_y``, ``reye_x`` (the person's right eye, so the one that is left in
the image), ``leye_y``, ``leye_x``; pixels from the upper left corner."""

EYES_COLUMNS = ("path", "reye_y", "reye_x", "leye_y", "leye_x")

Eyes = dict[str, tuple[float, float]]
"""Eye positions in Bob's words: ``reye`` and ``leye``, each (y, x)."""


@dataclass(frozen=True)
class Opened:
    """A benchmark that was found and read.

    Parameters
    ----------
    pairs
        Pairs, labels and folds.
    sources
        Where each image lies, in the order of ``pairs.images``.
    eyes
        The eye positions in the same order; empty if the images are aligned.
    description
        What was found where, in words.
    fingerprint
        A digest of pairs and images: changes when another file is put in the place.
    """

    pairs: Pairs
    sources: list[ImageSource]
    description: str
    fingerprint: str
    eyes: list[Eyes] = field(default_factory=list)


def open_layout(benchmark: Benchmark, directory: Path) -> Opened:
    """Find which layout a folder holds, and read pairs and places of images.

    Parameters
    ----------
    benchmark
        The benchmark that should be there.
    directory
        The folder, or an InsightFace ``.bin`` itself.

    Raises
    ------
    SynthDistillError
        Nothing of the benchmark is there, its list is wrong, images are missing (which and how
        many), or they are neither aligned nor have eye positions.
    """
    if directory.is_file():
        opened = _open_bin(benchmark, directory)
    elif (directory / benchmark.bin_name).is_file():
        opened = _open_bin(benchmark, directory / benchmark.bin_name)
    elif (listed := _find_list(benchmark, directory)) is not None:
        opened = _open_folder(benchmark, directory, listed)
    else:
        raise SynthDistillError(_nothing_found(benchmark, directory))
    logger.info("%s: %s", benchmark.name, opened.description)
    return opened


def _nothing_found(benchmark: Benchmark, directory: Path) -> str:
    if not directory.is_dir():
        found = "does not exist"
    elif not any(directory.iterdir()):
        found = "is empty"
    else:
        found = "holds neither"
    return (
        f"no {benchmark.title}: {directory} {found}. Expected there: InsightFace's "
        f"`{benchmark.bin_name}`, or the official list `{benchmark.list_name}` with the images, "
        f"either aligned to {ALIGNED_SIZE}x{ALIGNED_SIZE} pixels or with a `{EYES_FILE}`. Name "
        f"another place by `bob config set {benchmark.key} FOLDER`."
    )


def _open_bin(benchmark: Benchmark, path: Path) -> Opened:
    listed, sources, digest = read_bin(path, benchmark.pairs, benchmark.title)
    pairs = index_pairs(listed)
    return Opened(
        pairs,
        [sources[name] for name in pairs.images],
        f"{len(pairs):,} pairs of {len(pairs.images):,} distinct images in the InsightFace file "
        f"{path}",
        digest,
    )


def _open_folder(benchmark: Benchmark, directory: Path, list_path: Path) -> Opened:
    listed = benchmark.read_list(list_path, benchmark.pairs)
    check_numbers([pair.genuine for pair in listed], benchmark.pairs, list_path, benchmark.title)
    pairs = index_pairs(listed)
    eyes_path = _find(directory, EYES_FILE)
    folder, files = _find_images(benchmark, directory, pairs)
    sources = [ImageSource(str(file), aligned=eyes_path is None) for file in files]
    if eyes_path is None:
        _check_aligned(benchmark, sources[0])
        eyes, kind = [], "aligned images"
    else:
        eyes, kind = _read_eyes(eyes_path, pairs.images), "unaligned images with eye positions"
    digest = hashlib.sha256()
    for pair in listed:
        digest.update("\0".join(map(str, pair)).encode("utf-8", "surrogatepass") + b"\n")
    for file, *position in zip(files, *([eyes] if eyes else []), strict=True):
        # the size stands for the content: hashing photographs would take minutes
        digest.update(f"{file.name} {file.stat().st_size} {position}\n".encode("utf-8", "replace"))
    return Opened(
        pairs,
        sources,
        f"{len(pairs):,} pairs of {len(pairs.images):,} distinct {kind} in {folder}, listed in "
        f"{list_path}",
        digest.hexdigest(),
        eyes,
    )


def _find_list(benchmark: Benchmark, directory: Path) -> Path | None:
    return _find(directory, benchmark.list_name)


def _find(directory: Path, name: str) -> Path | None:
    """Find a file in a folder or in one directly below (as archives unpack)."""
    if (directory / name).is_file():
        return directory / name
    if directory.is_dir():
        for folder in _folders(directory):
            if (folder / name).is_file():
                return folder / name
    return None


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir())


def _find_images(benchmark: Benchmark, directory: Path, pairs: Pairs) -> tuple[Path, list[Path]]:
    """Find the folder that the list's names start from, and all images."""
    counted = [
        (sum(_find_image(folder, name) is not None for name in pairs.images[:3]), folder)
        for folder in _image_folders(directory)
    ]
    found, folder = max(counted, key=lambda pair: pair[0])
    files = [_find_image(folder, name) for name in pairs.images] if found else []
    missing = [
        name
        for name, file in zip(pairs.images, files or [None] * len(pairs.images), strict=True)
        if file is None
    ]
    if missing:
        raise SynthDistillError(
            f"{len(missing):,} of {len(pairs.images):,} images of {benchmark.title} are missing in "
            f"{folder if found else directory}: {_first(missing)} (as {'/'.join(IMAGE_SUFFIXES)})."
            " Unpack or copy them again, with all folders."
        )
    return folder, [file for file in files if file is not None]


def _image_folders(directory: Path) -> Iterator[Path]:
    """List where images may start: the folder, and up to two levels below."""
    yield directory
    below = _folders(directory)
    yield from below
    if len(below) <= 50:  # else they are the folders of persons
        for folder in below:
            further = _folders(folder)
            yield from further if len(further) <= 50 else []


def _find_image(folder: Path, name: str) -> Path | None:
    for suffix in (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES)):
        # not with_suffix: a name may hold a dot
        path = folder / (name + suffix)
        if path.is_file():
            return path
    return None


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _check_aligned(benchmark: Benchmark, source: ImageSource) -> None:
    """Tell at the start that images are photographs, not at the first of them."""
    height, width = read_size(source)
    if (height, width) != (ALIGNED_SIZE, ALIGNED_SIZE):
        raise SynthDistillError(
            f"the images of {benchmark.title} are not aligned: {source} has {width}x{height} "
            f"pixels, {ALIGNED_SIZE}x{ALIGNED_SIZE} were expected. Give the aligned images, or "
            f"put the eye positions of all images beside the list, in `{EYES_FILE}` with the "
            f"columns {', '.join(EYES_COLUMNS)}."
        )


def _read_eyes(path: Path, names: tuple[str, ...]) -> list[Eyes]:
    """Read the eye positions of all images.

    Raises
    ------
    SynthDistillError
        The file has another form, lacks images (which and how many), or has the eyes exchanged.
    """
    places = []

    def lines() -> Iterator[str]:
        for line, where in read_lines(path):
            places.append(where)
            yield line

    positions: dict[str, Eyes] = {}
    try:
        reader = csv.DictReader(lines())
        if not set(EYES_COLUMNS) <= set(reader.fieldnames or ()):
            raise SynthDistillError(
                f"{path} must have the columns {', '.join(EYES_COLUMNS)}; it has "
                f"{', '.join(reader.fieldnames or ())[:100]!a}."
            )
        for row in reader:
            numbers = [float(row[column] or "") for column in EYES_COLUMNS[1:]]
            if not all(abs(number) < 1e6 for number in numbers):
                raise ValueError("a position is not finite")
            reye, leye = (numbers[0], numbers[1]), (numbers[2], numbers[3])
            if reye == leye:
                raise ValueError("both eyes have the same position")
            positions[image_name(row["path"] or "", places[-1])] = {"reye": reye, "leye": leye}
    except (ValueError, TypeError, csv.Error) as error:
        raise SynthDistillError(
            f"{places[-1] if places else path}: a path and four numbers were expected: {error}."
        ) from error
    missing = [name for name in names if name not in positions]
    if missing:
        raise SynthDistillError(
            f"{path} lacks the eye positions of {len(missing):,} of {len(names):,} images: "
            f"{_first(missing)}."
        )
    eyes = [positions[name] for name in names]
    exchanged = sum(eye["reye"][1] > eye["leye"][1] for eye in eyes)
    if exchanged > len(eyes) // 2:
        raise SynthDistillError(
            f"{path} has the eyes exchanged in {exchanged:,} of {len(eyes):,} images: `reye` is "
            "the person's right eye, which is left in the image."
        )
    return eyes
