"""Write miniature benchmarks in the layouts in which the real ones are found."""

import contextlib
import csv
import functools
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from PIL import Image
from tqdm import tqdm

from ..benchmarks.benchmark import REAL, Benchmark
from ..benchmarks.bins import write_bin
from ..benchmarks.layouts import EYES_COLUMNS, EYES_FILE
from ..benchmarks.pair_lists import FOLDS
from ..files import SynthDistillError, atomic_write
from .benchmarks import MARKER, Miniature, draw, new_settings, read_marker, version

LAYOUTS = ("bin", "aligned", "unaligned")
"""InsightFace's files; aligned faces with the official list; photographs with eye positions."""

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "png": ("PNG", {"compress_level": 1}),
}
"""Image formats: Pillow's name and options. JPEG is what the real benchmarks are made of."""

PHOTO_SIZE = 250
"""Height and width of unaligned photographs, in pixels: that of LFW."""

# images that one core draws at once: some progress to be seen, and little to wait for at the end
_BATCH = 32

# The forms of the official lists -----------------------------------------------------------------


class Form(NamedTuple):
    """How one benchmark names its images, and lists its pairs.

    Parameters
    ----------
    folder
        Where images start.
    image
        Gives an image's name as listed, without ending, of a miniature and the image's index.
    write_list
        Writes the list, given the folder, the miniature and the images as listed, with ending.
    """

    folder: str
    image: Callable[[Miniature, int], str]
    write_list: Callable[[Path, Miniature, list[str]], None]


def _person(miniature: Miniature, image: int) -> tuple[str, int]:
    photograph = miniature.photographs[image]
    return f"Toy_{photograph.person + 1:04d}", photograph.number + 1


def _lfw_image(miniature: Miniature, image: int) -> str:
    name, number = _person(miniature, image)
    return f"{name}/{name}_{number:04d}"


def _write_lfw(folder: Path, miniature: Miniature, _: list[str]) -> None:
    lines = [f"{FOLDS}\t{len(miniature.pairs) // FOLDS // 2}"]
    for left, right, genuine, _fold in miniature.pairs:
        name, number = _person(miniature, left)
        other, other_number = _person(miniature, right)
        between = "" if genuine else f"{other}\t"
        lines.append(f"{name}\t{number}\t{between}{other_number}")
    _write_text(folder / "pairs.txt", lines)


def _cross_lfw_image(miniature: Miniature, image: int) -> str:
    name, number = _person(miniature, image)
    return f"{name}_{number:04d}"


def _write_cross_lfw(file_name: str) -> Callable[[Path, Miniature, list[str]], None]:
    def write_list(folder: Path, miniature: Miniature, files: list[str]) -> None:
        lines = []
        # all genuine pairs, then all impostor pairs; each kind fold by fold
        for wanted in (True, False):
            for left, right, genuine, _ in miniature.pairs:
                if genuine is wanted:
                    label = miniature.photographs[left].person + 1 if genuine else 0
                    lines += [f"{files[image]} {label}" for image in (left, right)]
        _write_text(folder / file_name, lines)

    return write_list


def _cfp_image(miniature: Miniature, image: int) -> str:
    photograph = miniature.photographs[image]
    kind = "profile" if photograph.right else "frontal"
    return f"{photograph.person + 1:03d}/{kind}/{photograph.number + 1:02d}"


def _write_cfp(folder: Path, miniature: Miniature, files: list[str]) -> None:
    numbers: dict[int, int] = {}
    for list_name, right in (("F", False), ("P", True)):
        images = [i for i, photo in enumerate(miniature.photographs) if photo.right is right]
        numbers |= {image: number for number, image in enumerate(images, start=1)}
        lines = [f"{numbers[image]} ../Data/Images/{files[image]}" for image in images]
        _write_text(folder / "Protocol" / f"Pair_list_{list_name}.txt", lines)
    for fold in range(FOLDS):
        for file_name, wanted in (("same.txt", True), ("diff.txt", False)):
            lines = [
                f"{numbers[left]},{numbers[right]}"
                for left, right, genuine, place in miniature.pairs
                if place == fold and genuine is wanted
            ]
            _write_text(folder / "Protocol/Split/FP" / f"{fold + 1:02d}" / file_name, lines)


def _age(miniature: Miniature, image: int) -> int:
    from .conditions import columns

    return round(float(columns(miniature.conditions[image : image + 1], "age")))


def _agedb_image(miniature: Miniature, image: int) -> str:
    name, number = _person(miniature, image)
    age = _age(miniature, image)
    return f"{image + 1}_{name.replace('_', '')}_{age}_{number}"


def _write_agedb(folder: Path, miniature: Miniature, files: list[str]) -> None:
    from scipy.io import savemat

    splits = numpy.empty((FOLDS, 1), dtype=object)
    for fold in range(FOLDS):
        pairs = [pair for pair in miniature.pairs if pair[3] == fold]
        images = numpy.empty((2, len(pairs)), dtype=object)
        for column, pair in enumerate(pairs):
            for row in range(2):
                images[row, column] = {
                    "path": Path(files[pair[row]]).stem,  # listed without ending
                    "age": float(_age(miniature, pair[row])),
                }
        labels = numpy.array([[1.0 if genuine else -1.0 for _, _, genuine, _ in pairs]])
        splits[fold, 0] = {"images": images, "labels": labels}
    stream = io.BytesIO()
    savemat(stream, {"splits": splits}, do_compression=True)
    # the first 116 bytes are free text, where scipy writes the date: same seed, same bytes
    content = b"MATLAB 5.0 MAT-file, ToyFaces".ljust(116) + stream.getvalue()[116:]
    _file(folder / "04_FINAL_protocol_30_years.mat").write_bytes(content)


FORMS = {
    "lfw": Form("lfw", _lfw_image, _write_lfw),
    "calfw": Form("images", _cross_lfw_image, _write_cross_lfw("pairs_CALFW.txt")),
    "cplfw": Form("images", _cross_lfw_image, _write_cross_lfw("pairs_CPLFW.txt")),
    "cfp-fp": Form("Data/Images", _cfp_image, _write_cfp),
    "agedb-30": Form("03_Protocol_Images", _agedb_image, _write_agedb),
}
"""The official form of each benchmark."""


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_text(path: Path, lines: Sequence[str]) -> None:
    _file(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


# Images and layouts ------------------------------------------------------------------------------


def place(folder: Path, layout: str, benchmark: Benchmark) -> Path:
    """Say where a benchmark lies in a folder of miniatures: a file, or a folder of its own."""
    name = benchmark.name.removeprefix("toyfaces-")
    return folder / layout / (benchmark.bin_name if layout == "bin" else name)


def write(
    folder: Path,
    names: Sequence[str],
    layouts: Sequence[str],
    *,
    seed: int,
    pairs_per_fold: int,
    image_format: str = "jpg",
) -> list[Path]:
    """Draw and write miniature benchmarks. What is there already, drawn the same way, is kept.

    Parameters
    ----------
    folder
        The folder: a new or empty one, or one that was written with the same settings.
    names
        Real names of the benchmarks: ``lfw`` to ``agedb-30``.
    layouts
        Some of :py:data:`LAYOUTS`.
    seed
        Same seed, same bytes.
    pairs_per_fold
        Pairs of each of the ten folds.
    image_format
        One of :py:data:`FORMATS`.

    Returns
    -------
        The files and folders of the benchmarks.

    Raises
    ------
    SynthDistillError
        The folder holds something else, or cannot be written.
    """
    settings = new_settings(seed, pairs_per_fold, image_format)
    miniatures = {name: draw(name, seed, pairs_per_fold) for name in names}
    found = read_marker(folder)
    if found is not None and found != settings:
        raise SynthDistillError(
            f"{folder} holds miniature benchmarks that were drawn otherwise ({found}, asked for is "
            f"{settings}): choose another folder, or remove this one."
        )
    if found is None:
        with atomic_write(folder / MARKER) as temporary:
            text = json.dumps({**settings, "version": version()}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
    written: list[Path] = []
    real = {benchmark.name: benchmark for benchmark in REAL}
    for name, miniature in miniatures.items():
        places = {layout: place(folder, layout, real[name]) for layout in layouts}
        new = [layout for layout, path in places.items() if not path.exists()]
        faces = _encode(miniature, name, image_format) if {"bin", "aligned"} & set(new) else []
        for layout in new:
            if layout == "bin":
                images = [faces[image] for pair in miniature.pairs for image in pair[:2]]
                write_bin(places[layout], images, [pair[2] for pair in miniature.pairs])
                continue
            photographs = layout == "unaligned"
            images = (
                _encode(miniature, name, image_format, unaligned=True) if photographs else faces
            )
            with _new_folder(places[layout]) as temporary:
                _write_folder(temporary, FORMS[name], miniature, image_format, images)
                if photographs:
                    _write_eyes(temporary / EYES_FILE, miniature, FORMS[name], image_format)
        written += places.values()
    return written


def _listed(miniature: Miniature, form: Form, image_format: str) -> list[str]:
    """Name all images as the list does, with their ending."""
    count = len(miniature.photographs)
    return [f"{form.image(miniature, image)}.{image_format}" for image in range(count)]


def _write_folder(
    folder: Path, form: Form, miniature: Miniature, image_format: str, images: list[bytes]
) -> None:
    files = _listed(miniature, form, image_format)
    form.write_list(folder, miniature, files)
    for file, content in zip(files, images, strict=True):
        _file(folder / form.folder / file).write_bytes(content)


def _encode(
    miniature: Miniature, name: str, image_format: str, *, unaligned: bool = False
) -> list[bytes]:
    """Render and encode all images, on all cores.

    Each core draws pictures of its own: threads within one small operation would cost more than
    they gain, and far more on a busy machine.
    """
    import torch

    from .. import faces

    size, framing = (PHOTO_SIZE, "unaligned") if unaligned else (faces.FACE_SIZE, "aligned")
    count = len(miniature.photographs)
    parts = [slice(first, first + _BATCH) for first in range(0, count, _BATCH)]
    encode = functools.partial(_encode_part, miniature, size, framing, image_format)
    encoded: list[bytes] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            ThreadPoolExecutor(
                len(os.sched_getaffinity(0)), initializer=torch.set_num_threads, initargs=(1,)
            ) as executor,
            tqdm(
                total=count, desc=f"drawing {framing} toyfaces-{name}", unit="image", disable=None
            ) as progress,
        ):
            for images in executor.map(encode, parts):
                encoded += images
                progress.update(len(images))
    finally:
        torch.set_num_threads(threads)
    return encoded


def _encode_part(
    miniature: Miniature, size: int, framing: str, image_format: str, part: slice
) -> list[bytes]:
    import torch

    from .. import faces
    from .renderer import render

    kind, options = FORMATS[image_format]
    with torch.inference_mode():
        images = render(miniature.identities[part], miniature.conditions[part], size, framing)
    encoded = []
    for pixels in faces.to_uint8(images).permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        encoded.append(stream.getvalue())
    return encoded


def _write_eyes(path: Path, miniature: Miniature, form: Form, image_format: str) -> None:
    files = _listed(miniature, form, image_format)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(EYES_COLUMNS)
        for file, eyes in zip(files, _eyes(miniature), strict=True):
            writer.writerow([file, *(f"{value:.4f}" for value in eyes.ravel())])


def _eyes(miniature: Miniature) -> numpy.ndarray:
    """Find where the eyes of photographs are, ``[M, 2, 2]``: left in the image first, (y, x).

    The renderer counts pixels from their corners, Bob's FaceCrop (as all who warp images by
    positions) from their centres. So these are the points that a similarity takes to the positions
    of the template when both are counted from centres.
    """
    from .. import faces
    from .renderer import eye_positions

    eyes = eye_positions(miniature.conditions, PHOTO_SIZE, "unaligned")
    points = eyes.numpy().astype(float) @ numpy.array([1j, 1.0])
    template = numpy.array([complex(x, y) for y, x in (faces.LEFT_EYE, faces.RIGHT_EYE)])
    factor = (template[1] - template[0]) / (points[:, 1:] - points[:, :1])
    moved = points + (0.5 + 0.5j) / factor - (0.5 + 0.5j)
    return numpy.stack([moved.imag, moved.real], axis=-1)


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it becomes ``path``."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(path)
    except OSError as error:
        raise SynthDistillError(
            f"cannot write {path}: {error.strerror or error}. Make room or choose another folder, "
            "and run the same command again."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
