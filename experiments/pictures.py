#!/usr/bin/env python
"""Draw pairs of the benchmarks that a model was evaluated on, with its scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification

FACE, GAP, CAPTION, LABEL = 84, 10, 14, 110
"""Sizes in pixels: a face, between rows and pairs, a line of text, the benchmark's name."""

RIGHT, WRONG = "#00704f", "#b03a00"


def draw_pairs(
    path: Path,
    rows: "Sequence[tuple[Verification, pd.DataFrame]]",
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
    from PIL import Image, ImageDraw

    from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
    from bob.paper.ijcb2023_synthdistill.files import atomic_write

    width = LABEL + 2 * columns * (2 * FACE + GAP)
    canvas = Image.new("RGB", (width, CAPTION + len(rows) * (FACE + CAPTION + GAP)), "white")
    pen = ImageDraw.Draw(canvas)
    for kind, name in enumerate(("genuine pairs", "impostor pairs")):
        pen.text((LABEL + kind * columns * (2 * FACE + GAP), 1), name, fill="black")
    rng = np.random.default_rng(seed)
    for row, (benchmark, scores) in enumerate(rows):
        y = CAPTION + row * (FACE + CAPTION + GAP)
        title = benchmark.benchmark.title.replace("toyfaces-", "toyfaces-\n")
        pen.multiline_text((4, y + FACE // 3), title, fill="black")
        threshold, pairs = best_threshold(scores), benchmark.opened.pairs
        for kind, genuine in enumerate((True, False)):
            candidates = np.flatnonzero(scores["genuine"].to_numpy(bool) == genuine)
            for column, pair in enumerate(rng.choice(candidates, columns, replace=False)):
                x = LABEL + (kind * columns + column) * (2 * FACE + GAP)
                for side, image in enumerate((pairs.left[pair], pairs.right[pair])):
                    pixels = load_image(benchmark.opened.sources[int(image)]).transpose(1, 2, 0)
                    face = Image.fromarray(np.ascontiguousarray(pixels)).resize((FACE, FACE))
                    canvas.paste(face, (x + side * FACE, y))
                score = float(scores["score"].iloc[pair])
                fill = RIGHT if (score > threshold) == genuine else WRONG
                pen.text((x + 3, y + FACE + 1), f"score {score:+.3f}", fill=fill)
    with atomic_write(path) as temporary:
        canvas.save(temporary, format="PNG")


def best_threshold(scores: "pd.DataFrame") -> float:
    """Find the score above which accepting makes the fewest mistakes on all pairs."""
    ordered = scores.sort_values("score")
    genuine = ordered["genuine"].to_numpy(bool)
    # accepting everything above place k: genuine pairs up to it and impostors behind it are wrong
    mistakes = np.cumsum(genuine) + np.cumsum((~genuine)[::-1])[::-1] - (~genuine)
    return float(ordered["score"].iloc[int(np.argmin(mistakes))])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The PNG.")
def pictures(model: Path, output: Path) -> None:
    """Draw pairs of the benchmarks that the folder MODEL holds scores of."""
    from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks
    from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
    from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification

    found = [Verification(name) for name in benchmarks() if (model / name).is_dir()]
    rows = [(one, read_scores(model / one.name / "scores-dev.csv", one)) for one in found]
    draw_pairs(output, rows)


if __name__ == "__main__":
    pictures()
