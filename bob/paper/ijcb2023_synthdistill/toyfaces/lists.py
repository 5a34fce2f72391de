"""How each real benchmark names its images and lists its pairs: the forms that miniatures take."""

import io
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy

from ..benchmarks.images import DRAWN_MARK
from ..benchmarks.pair_lists import FOLDS
from .miniature import Miniature

FORMS = {
    "lfw": ("lfw", "{name}_{person:04d}/{name}_{person:04d}_{number:04d}"),
    "calfw": ("images", "{name}_{person:04d}_{number:04d}"),
    "cplfw": ("images", "{name}_{person:04d}_{number:04d}"),
    "cfp-fp": ("Data/Images", "{name}_{person:03d}/{side}/{number:02d}"),
    "agedb-30": ("03_Protocol_Images", "{image}_{name}{person:04d}_{age}_{number}"),
}
"""Of each benchmark the folder where images start, and the names of images in it, unended."""

_NAME = DRAWN_MARK.decode()


def image_files(name: str, miniature: Miniature) -> list[str]:
    """Name the images of a benchmark as its list does, with their ending."""
    form = FORMS[name][1] + ".jpg"
    return [
        form.format(
            name=_NAME, image=image, side="profile" if photo.right else "frontal", **photo._asdict()
        )
        for image, photo in enumerate(miniature.photographs, start=1)
    ]


def write_list(name: str, folder: Path, miniature: Miniature, files: list[str]) -> None:
    """Write the official pair list of a benchmark into its folder."""
    _WRITERS[name](folder, miniature, files)


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_lfw(folder: Path, miniature: Miniature, _: list[str]) -> None:
    """Write a header, then ``name i j`` or ``name1 i name2 j``."""
    lines = [f"{FOLDS}\t{len(miniature.pairs) // FOLDS // 2}"]
    for left, right, genuine, _fold in miniature.pairs:
        one, two = miniature.photographs[left], miniature.photographs[right]
        between = "" if genuine else f"{_NAME}_{two.person:04d}\t"
        lines.append(f"{_NAME}_{one.person:04d}\t{one.number}\t{between}{two.number}")
    _write(folder / "pairs.txt", lines)


def _write_cross_lfw(list_name: str) -> Callable[[Path, Miniature, list[str]], None]:
    """Write all genuine pairs, then all impostor pairs: two lines a pair, ``image label``."""

    def write(folder: Path, miniature: Miniature, files: list[str]) -> None:
        lines = []
        # sorting keeps the order of folds within each kind
        for left, right, genuine, _ in sorted(miniature.pairs, key=lambda pair: not pair[2]):
            label = miniature.photographs[left].person if genuine else 0
            lines += [f"{files[image]} {label}" for image in (left, right)]
        _write(folder / list_name, lines)

    return write


def _write_cfp(folder: Path, miniature: Miniature, files: list[str]) -> None:
    """Write the lists of frontal and of profile images, and pairs of their numbers by folds."""
    numbers: dict[int, int] = {}
    for list_name, right in (("F", False), ("P", True)):
        images = [i for i, photo in enumerate(miniature.photographs) if photo.right is right]
        numbers |= {image: number for number, image in enumerate(images, start=1)}
        lines = [f"{numbers[image]} ../Data/Images/{files[image]}" for image in images]
        _write(folder / "Protocol" / f"Pair_list_{list_name}.txt", lines)
    for fold in range(FOLDS):
        for file_name, wanted in (("same.txt", True), ("diff.txt", False)):
            lines = [
                f"{numbers[left]},{numbers[right]}"
                for left, right, genuine, place in miniature.pairs
                if place == fold and genuine is wanted
            ]
            _write(folder / "Protocol/Split/FP" / f"{fold + 1:02d}" / file_name, lines)


def _write_agedb(folder: Path, miniature: Miniature, files: list[str]) -> None:
    """Write ten splits for MATLAB: images ``[2, N]`` with path and age, labels +1 and -1."""
    from scipy.io import savemat

    splits = numpy.empty((FOLDS, 1), dtype=object)
    for fold in range(FOLDS):
        pairs = [pair for pair in miniature.pairs if pair[3] == fold]
        images = numpy.empty((2, len(pairs)), dtype=object)
        for column, pair in enumerate(pairs):
            for row, image in enumerate(pair[:2]):
                age = float(miniature.photographs[image].age)
                images[row, column] = {"path": PurePath(files[image]).stem, "age": age}
        labels = numpy.array([[1.0 if genuine else -1.0 for _, _, genuine, _ in pairs]])
        splits[fold, 0] = {"images": images, "labels": labels}
    stream = io.BytesIO()
    savemat(stream, {"splits": splits}, do_compression=True)
    # the first 116 bytes are free text, where scipy writes the date: same seed, same bytes
    content = b"MATLAB 5.0 MAT-file, ToyFaces".ljust(116) + stream.getvalue()[116:]
    (folder / "04_FINAL_protocol_30_years.mat").write_bytes(content)


_WRITERS = {
    "lfw": _write_lfw,
    "calfw": _write_cross_lfw("pairs_CALFW.txt"),
    "cplfw": _write_cross_lfw("pairs_CPLFW.txt"),
    "cfp-fp": _write_cfp,
    "agedb-30": _write_agedb,
}
