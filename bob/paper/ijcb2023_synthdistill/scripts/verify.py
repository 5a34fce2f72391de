"""``synthdistill-verify``: tell whether two photographs are of the same person."""

from pathlib import Path
from typing import Any

import click

from . import PATH, aligned_option, command, detector_option, json_option, network_option

EYES: dict[str, Any] = {"type": float, "nargs": 4, "metavar": "X Y X Y"}


@command(
    "synthdistill-verify a.jpg b.jpg --model exported",
    "synthdistill-verify a.jpg b.jpg --model results/tinyfar-a --fmr 1e-2 --picture both.png",
    "synthdistill-verify a.jpg b.jpg --model exported --eyes-a 812 640 1015 655",
)
@click.argument("photographs", metavar="A B", nargs=2, type=PATH)
@click.option(
    "--model",
    "path",
    required=True,
    type=PATH,
    help="An export folder or an ONNX file, a run folder or a student's file.",
)
@click.option(
    "--fmr",
    default="1e-3",
    type=click.Choice(["1e-2", "1e-3", "1e-4"]),
    help="The false match rate at which it is decided.",
)
@click.option("--benchmark", help="Whose impostors give the threshold.  [default: the first]")
@click.option("--threshold", type=float, help="Decide by this cosine instead.")
@aligned_option
@click.option("--eyes-a", **EYES, help="The eyes in A, in pixels, the one left in the image first.")
@click.option("--eyes-b", **EYES, help="The eyes in B.")
@detector_option
@network_option
@click.option("--picture", type=PATH, help="Draw landmarks and aligned faces into this PNG.")
@json_option(help="Print one JSON object.")
def verify(
    photographs: tuple[Path, Path],
    path: Path,
    fmr: str,
    benchmark: str | None,
    threshold: float | None,
    aligned: bool,
    eyes_a: tuple[float, ...] | None,
    eyes_b: tuple[float, ...] | None,
    detector: Path | None,
    network: str | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compare the faces in two photographs, A and B.

    The largest face of each is found, aligned and embedded. Printed is the cosine of the
    embeddings, and whether it is above the threshold that a benchmark's impostors gave for the
    false match rate. The exit status is 0 whatever the answer is; 1 if there is none.
    """
    import json

    import numpy

    from ..deployment import photographs as opening
    from ..deployment.comparison import Model, cosine, draw
    from ..evaluation.terminal import say

    model = Model.find(path, network)
    origin = None
    if threshold is None:  # before anything is computed: a rate that cannot be told is refused
        threshold, origin = model.threshold(float(fmr), benchmark) or (None, None)
    eyes = (eyes_a, eyes_b)
    if not aligned and not all(eyes):
        finder = opening.Detector(detector)
    opened = [
        opening.open_aligned(photograph)
        if aligned
        else opening.open_with_eyes(photograph, marked)
        if marked
        else opening.open_photograph(photograph, finder)
        for photograph, marked in zip(photographs, eyes, strict=True)
    ]
    score = cosine(*model.embed(numpy.stack([photograph.face for photograph in opened])))
    same = None if threshold is None else score > threshold
    result = {
        "score": score,
        "threshold": threshold,
        "same": same,
        "fmr": origin and float(fmr),
        "origin": origin and {n: origin[n] for n in ("name", "title", "impostors", "drawn")},
        "model": str(model.recipe),
        "photographs": [
            {"path": str(name), "landmarks": one.landmarks.tolist(), "note": one.note}
            for name, one in zip(photographs, opened, strict=True)
        ],
    }
    for name, one in zip(photographs, opened, strict=True):
        if one.note:
            click.echo(f"{name}: {one.note}", err=True)
    if threshold is None:
        answer = f"cosine {score:.4f}: no threshold is known (no benchmark's scores stand beside "
        answer += "the model): give a --threshold"
    else:
        answer = f"{'the same' if same else 'different'} (cosine {score:.4f}, threshold "
        answer += f"{threshold:.4f})"
    if picture:
        draw(picture, opened, answer)
    if origin:
        answer += f"\nthreshold: false match rate {float(fmr):g} on {origin['title']}, "
        answer += f"{origin['impostors']:,} impostor pairs"
    if origin and origin["drawn"]:
        answer += "\nThese are drawn faces: neither model nor threshold is one for photographs."
    say(json.dumps(result, indent=2) if as_json else answer)
