#!/usr/bin/env python
"""Draw pairs of the benchmarks that a model was evaluated on, with its scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

RIGHT, WRONG = "#00704f", "#b03a00"


def draw_pairs(rows: Sequence[tuple[Any, Any]], columns: int = 3, seed: int = 0) -> Any:
    """Draw a row of pairs for each benchmark, genuine ones left, impostors right.

    Above each pair stands its score and whether the threshold that is best on the whole benchmark
    decides rightly; where it does not, the words are orange and the frame is dashed. (The accuracy
    uses other thresholds: those of the other folds.) ``rows`` are benchmarks with the scores of
    their pairs, as ``read_scores`` gives them; ``columns`` pairs of each kind are chosen at random.
    """
    from matplotlib.figure import Figure

    from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image

    figure = Figure(figsize=(4 * columns, 1.4 * len(rows) + 0.3), layout="constrained")
    figure.supxlabel(
        "Score: cosine of the two embeddings, less 1. Pairs above the threshold are taken for one "
        "person; dashed frames: wrongly decided.",
        fontsize=9,
    )
    axes = figure.subplots(len(rows), 2 * columns, squeeze=False)
    rng = np.random.default_rng(seed)
    for line, (benchmark, scores) in zip(axes, rows, strict=True):
        pairs, threshold = benchmark.opened.pairs, best_threshold(scores)
        genuine = scores["genuine"].to_numpy(bool)
        chosen = [rng.choice(np.flatnonzero(genuine == kind), columns, False) for kind in (1, 0)]
        for ax, pair in zip(line, np.concatenate(chosen), strict=True):
            images = [int(side[pair]) for side in (pairs.left, pairs.right)]
            both = [load_image(benchmark.opened.sources[image]) for image in images]
            ax.imshow(np.concatenate(both, axis=2).transpose(1, 2, 0))
            score, kind = scores["score"].iloc[pair], "genuine" if genuine[pair] else "impostor"
            right = (score > threshold) == genuine[pair]
            color = RIGHT if right else WRONG
            words = f"{kind}, score {score:+.2f}, {'right' if right else 'wrong'}"
            ax.set_title(words, fontsize=8, color=color)
            ax.set(xticks=[], yticks=[])
            if not right:
                ax.spines[:].set(color=WRONG, linewidth=2.5, linestyle="--")
        title = benchmark.benchmark.title.replace("-", "-\n", 1)
        line[0].set_ylabel(f"{title}\nthreshold {threshold:+.2f}", fontsize=8)
    return figure


def best_threshold(scores: Any) -> float:
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
    draw_pairs(rows).savefig(output, dpi=100)


if __name__ == "__main__":
    pictures()
