"""Differences of accuracy between models that were tested on the same pairs, with intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..benchmarks.accuracy import right_decisions

NOTE = (
    "Differences to {reference} are in points of accuracy, with 95 % intervals: over seeds (paired "
    "t-test) where both rows have as many, over the pairs (paired bootstrap at the folds' "
    "thresholds) where both have one. Bold: zero is outside. Many comparisons find some by chance."
)

RESAMPLES = 2000


class Difference(NamedTuple):
    """A difference of two accuracies, fractions, its 95 % interval, and the p-value of no other."""

    value: float
    low: float
    high: float
    p: float


def difference(
    ours: Sequence[Sequence[pd.DataFrame]], reference: Sequence[Sequence[pd.DataFrame]]
) -> Difference | None:
    """Compare two models by their scores of the same pairs, on one benchmark or by the mean.

    Of each there are, for each benchmark, for each seed, the scores of the pairs in one order. One
    seed each: the interval is that of a paired bootstrap over pairs, the p-value McNemar's,
    exact. As many seeds each: those of a paired t-test over seeds. Else None.
    """
    if len(ours[0]) != len(reference[0]):
        return None
    one, other = (
        np.hstack([np.stack([_right(frame) for frame in seeds]) for seeds in model])
        for model in (ours, reference)
    )
    weights = np.concatenate([_weights(seeds[0]["fold"]) for seeds in ours])
    by_pair = (one.astype(float) - other) * weights * (len(weights) / len(ours))
    value = float(by_pair.mean())
    if len(one) == 1:
        resampled = stats.bootstrap(
            (by_pair[0],),
            np.mean,
            n_resamples=RESAMPLES,
            batch=100,
            method="percentile",
            random_state=0,
        )
        low, high = resampled.confidence_interval
        better, worse = int((one & ~other).sum()), int((other & ~one).sum())
        p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    else:
        tested = stats.ttest_1samp(by_pair.mean(axis=1), 0.0)
        (low, high), p = tested.confidence_interval(), tested.pvalue
    return Difference(value, float(low), float(high), float(p))


def _right(frame: pd.DataFrame) -> np.ndarray:
    return right_decisions(frame["score"], frame["genuine"], frame["fold"])


def _weights(fold: pd.Series) -> np.ndarray:
    """Weigh pairs so that folds count alike, whatever their size, and add up to 1."""
    return (1 / fold.nunique() / fold.map(fold.value_counts())).to_numpy()
