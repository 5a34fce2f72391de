"""``synthdistill-embed``: photographs become embeddings, or eye positions for benchmarks."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from . import PATH, aligned_option, command, detector_option, network_option

BATCH = 128
"""Photographs that are open at a time."""


@command(
    "synthdistill-embed photographs/ --model exported -o embeddings.npz",
    "synthdistill-embed photographs/ --landmarks photographs/eye_positions.csv",
)
@click.argument("photographs", metavar="PHOTOGRAPH...", nargs=-1, required=True, type=PATH)
@click.option("--model", "path", type=PATH, help="As that of synthdistill-verify.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="Embeddings [N, D] and paths [N], for numpy.load. Needs --model.",
)
@click.option(
    "--landmarks",
    type=PATH,
    help="Write the eye positions that benchmarks of your own photographs read.",
)
@aligned_option
@detector_option
@network_option
def embed(
    photographs: Sequence[Path],
    path: Path | None,
    output: Path | None,
    landmarks: Path | None,
    aligned: bool,
    detector: Path | None,
    network: str | None,
) -> None:
    """Embed the largest face of each photograph, given one by one or by their folders.

    A photograph without a usable face is told in a line of its own, and left out. The exit status
    is 0 if there was none such, else 1; what was found is written all the same.
    """
    if (path is None) != (output is None) or (output is None and landmarks is None):
        raise click.UsageError("give --model with --output, or --landmarks, or all three")
    if aligned and landmarks:
        raise click.UsageError("the eyes of aligned faces are known: leave out --landmarks")

    import csv

    import numpy
    from tqdm import tqdm

    from ..benchmarks.eyes import EYES_COLUMNS
    from ..deployment.comparison import Model
    from ..deployment.photographs import Detector, open_aligned, open_photograph
    from ..files import SynthDistillError, atomic_write

    named = list(_list(photographs))
    if not named:
        raise SynthDistillError(f"there are no photographs in {', '.join(map(str, photographs))}.")
    model = Model.find(path, network) if path else None
    finder = None if aligned else Detector(detector)
    names, eyes, faces, embeddings = [], [], [], []
    for place, (photograph, name) in enumerate(tqdm(named, disable=None, unit="photograph"), 1):
        try:
            one = open_photograph(photograph, finder) if finder else open_aligned(photograph)
            if one.note:
                tqdm.write(f"{photograph}: {one.note}", file=sys.stderr)
            names.append(name)
            # y before x; the eye that is left in the image first
            eyes.append(one.landmarks[:2, ::-1].flatten().tolist())
            faces.append(one.face)
        except SynthDistillError as error:
            tqdm.write(f"error: {error.message}", file=sys.stderr)
        if faces and (len(faces) == BATCH or place == len(named)):
            embeddings += [model.embed(numpy.stack(faces))] if model else []
            faces = []
    if not names:
        raise SynthDistillError(f"none of {len(named)} photographs can be used.")
    if output:
        with atomic_write(output) as temporary, temporary.open("wb") as stream:
            numpy.savez(stream, embeddings=numpy.concatenate(embeddings), paths=numpy.array(names))
    if landmarks:
        with atomic_write(landmarks) as temporary, temporary.open("w", newline="") as text:
            rows = ([name, *row] for name, row in zip(names, eyes, strict=True))
            csv.writer(text).writerows([EYES_COLUMNS, *rows])
    click.echo(f"{len(names)} of {len(named)} photographs: {output or landmarks}", err=True)
    raise SystemExit(len(names) < len(named))


def _list(photographs: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Give each photograph's path and its name: below the folder that was given, if one was."""
    from ..benchmarks.pair_lists import IMAGE_SUFFIXES

    for given in photographs:
        if not given.is_dir():
            yield given, str(given)
            continue
        for path in sorted(given.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield path, path.relative_to(given).as_posix()
