"""Where the eyes are in photographs that are not aligned."""

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy

from ..files import SynthDistillError
from .images import ALIGNED_EYES, ImageSource
from .pair_lists import first, image_name, read_table, without_ending

EYES_FILE = "eye_positions.csv"
"""The file that makes a folder one of unaligned images. Columns: ``path`` as in the pair list (the
ending may be left out), ``reye_y``, ``reye_x`` (the person's right eye, so the one that is left in
the image), ``leye_y``, ``leye_x``; pixels from the upper left corner of the picture as viewers show
it, turned as its EXIF orientation says."""

EYES_COLUMNS = ("path", "reye_y", "reye_x", "leye_y", "leye_x")

MIN_EYE_DISTANCE = 3
"""Pixels between two eyes: where they are nearer, there is no face to be recognised."""

Eyes = dict[str, tuple[float, float]]
"""Eye positions in Bob's words: ``reye`` and ``leye``, each (y, x)."""


def read_eyes(path: Path, names: Sequence[str], complete: bool) -> list[Eyes]:
    """Read the eye positions of all images: no numbers where they are missing and may be."""
    positions: dict[str, Eyes] = {}
    for row, where in read_table(path, EYES_COLUMNS):
        try:
            numbers = [float(row[column]) for column in EYES_COLUMNS[1:]]
            if not all(abs(number) < 1e6 for number in numbers):
                raise ValueError("a position is not finite")
        except ValueError as error:
            raise SynthDistillError(
                f"{where}: a path and four numbers were expected: {error}."
            ) from error
        name = _composed(image_name(row["path"], where, ending=True))
        positions[name] = {"reye": (numbers[0], numbers[1]), "leye": (numbers[2], numbers[3])}
        positions.setdefault(without_ending(name), positions[name])
    keys = [_composed(name) for name in names]
    found = [positions.get(key) or positions.get(without_ending(key)) for key in keys]
    missing = [name for name, eyes in zip(names, found, strict=True) if eyes is None]
    if missing and (complete or len(missing) == len(names)):
        raise SynthDistillError(
            f"{path} lacks the eye positions of {len(missing):,} of {len(names):,} images: "
            f"{first(missing)}."
        )
    nowhere = (math.nan, math.nan)
    all_eyes = [eyes or {"reye": nowhere, "leye": nowhere} for eyes in found]
    exchanged = sum(eyes["reye"][1] > eyes["leye"][1] for eyes in all_eyes)
    if exchanged > len(all_eyes) // 2:
        raise SynthDistillError(
            f"{path} has the eyes exchanged in {exchanged:,} of {len(all_eyes):,} images: `reye` "
            "is the person's right eye, which is left in the image."
        )
    return all_eyes


def _composed(name: str) -> str:
    """Put letters and their accents together, which macOS stores apart."""
    return unicodedata.normalize("NFC", name)


def check_eyes(source: ImageSource, eyes: Eyes, height: int, width: int) -> None:
    """Refuse eyes that lie outside of their image, or are too near to be those of a face."""
    if not all(0 <= y <= height and 0 <= x <= width for y, x in eyes.values()):
        problem = f"outside of its {width}x{height} pixels"
    elif math.dist(eyes["reye"], eyes["leye"]) < MIN_EYE_DISTANCE:
        problem = f"less than {MIN_EYE_DISTANCE} pixels from each other"
    else:
        return
    raise SynthDistillError(
        f"{source}: its eyes (y, x) are at {eyes['reye']} and {eyes['leye']}, {problem}."
    )


def are_elsewhere(eyes: Sequence[Eyes]) -> bool:
    """Tell whether eyes lie, in the middle, where no aligned face has them."""
    places = numpy.array([[eye["reye"], eye["leye"]] for eye in eyes])
    expected = [ALIGNED_EYES["reye"], ALIGNED_EYES["leye"]]
    return bool((abs(numpy.nanmedian(places, axis=0) - expected) > 10).any())
