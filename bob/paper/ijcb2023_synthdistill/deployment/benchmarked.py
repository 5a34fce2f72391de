"""What the score files of a run say of its student: accuracies, and thresholds for decisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..benchmarks.accuracy import FARS, summary, threshold_at_far
from ..benchmarks.benchmark import benchmarks
from ..benchmarks.verification import Verification
from ..evaluation.results import SCORES, read_model
from ..files import SynthDistillError


def read_benchmarks(run: Path) -> Iterator[dict[str, Any]]:
    """Read the score files ``RUN/BENCHMARK/scores-dev.csv`` of a run.

    Scores that are of another student, other pairs or other images than there are now are refused.
    ``mirror`` tells whether an embedding is f(face) + f(mirrored face); ``thresholds`` are cosines
    that must be exceeded, by the FMR as text, but for rates that the impostors cannot tell.
    """
    for name, benchmark in benchmarks().items():
        if not (run / name / SCORES).is_file():
            continue
        scores, origin = read_model(run, Verification(name))
        if origin.record is None:
            raise SynthDistillError(
                f"nothing says what {run / name / SCORES} is of: evaluate again, or move it away."
            )
        values, genuine = scores["score"].to_numpy(), scores["genuine"].to_numpy()
        thresholds = {f"{far:g}": threshold_at_far(values, genuine, far) for far in FARS}
        measured = summary(scores)
        yield {
            "name": name,
            "title": benchmark.title,
            "drawn": benchmark.drawn,
            "mirror": bool(origin.record["options"]["mirror"]),
            **{key: measured[key] for key in ("pairs", "impostors", "accuracy", "accuracy_std")},
            # Bob's scores are cosine - 1
            "thresholds": {fmr: t + 1 for fmr, t in thresholds.items() if t is not None},
        }
