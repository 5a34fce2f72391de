"""Pictures of a benchmark's pairs, with what a model thinks of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.files import atomic_write

FACE = 84
"""Height and width of a face in the picture, in pixels."""

GAP, CAPTION, LABEL = 10, 14, 110
RIGHT, WRONG = "#00704f", "#b03a00"


def draw_pairs(
    path: Path,
    rows: Sequence[tuple[Verification, pd.DataFrame]],
    *,
    columns: int = 3,
    seed: int = 0,
) -> None:
    """Write a grid of pairs: a row for each benchmark, genuine pairs left, impostors right.

    Below each pair stands its score, green where the threshold that is best on the whole benchmark
    decides rightly, orange where it does not. (The accuracy uses other thresholds: those of the
    other folds.)

    Parameters
    ----------
    path
        The PNG to write.
    rows
        Each benchmark with the scores of its pairs, in listed order.
    columns
        Pairs of each kind, drawn at random.
    seed
        Of the choice.
    """
    width = LABEL + 2 * columns * (2 * FACE + GAP)
    height = CAPTION + len(rows) * (FACE + CAPTION + GAP)
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    for kind, name in enumerate(("genuine pairs", "impostor pairs")):
        pen.text((LABEL + kind * columns * (2 * FACE + GAP), 1), name, fill="black")
    rng = np.random.default_rng(seed)
    for row, (benchmark, scores) in enumerate(rows):
        y = CAPTION + row * (FACE + CAPTION + GAP)
        title = benchmark.benchmark.title.replace("toyfaces-", "toyfaces-\n")
        pen.multiline_text((4, y + FACE // 3), title, fill="black")
        threshold = best_threshold(scores)
        for kind, genuine in enumerate((True, False)):
            candidates = np.flatnonzero(scores["genuine"].to_numpy(bool) == genuine)
            for column, pair in enumerate(rng.choice(candidates, columns, replace=False)):
                x = LABEL + (kind * columns + column) * (2 * FACE + GAP)
                _paste(canvas, benchmark, int(pair), (x, y))
                score = float(scores["score"].iloc[pair])
                fill = RIGHT if (score > threshold) == genuine else WRONG
                pen.text((x + 3, y + FACE + 1), f"score {score:+.3f}", fill=fill)
    with atomic_write(path) as temporary:
        canvas.save(temporary, format="PNG")


def best_threshold(scores: pd.DataFrame) -> float:
    """Find the score above which accepting makes the fewest mistakes on all pairs."""
    ordered = scores.sort_values("score")
    genuine = ordered["genuine"].to_numpy(bool)
    # accepting everything above place k: genuine pairs up to it and impostors behind it are wrong
    mistakes = np.cumsum(genuine) + np.cumsum((~genuine)[::-1])[::-1] - (~genuine)
    return float(ordered["score"].iloc[int(np.argmin(mistakes))])


def _paste(canvas: Image.Image, benchmark: Verification, pair: int, place: tuple[int, int]) -> None:
    pairs = benchmark.opened.pairs
    for side, image in enumerate((pairs.left[pair], pairs.right[pair])):
        pixels = load_image(benchmark.opened.sources[int(image)]).transpose(1, 2, 0)
        face = Image.fromarray(np.ascontiguousarray(pixels)).resize((FACE, FACE))
        canvas.paste(face, (place[0] + side * FACE, place[1]))
