"""Verification metrics: the field's 10-fold accuracy, the equal error rate and TAR at FAR.

Scores are ``[N]`` floats, Bob's cosine scores (cosine - 1), higher is more alike; ``genuine`` is
``[N]`` bool; rates are fractions of 1. A score of minus infinity never matches, at any threshold.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas

THRESHOLDS = numpy.arange(0, 4, 0.01)
"""Thresholds on the squared distance of normalised embeddings, 0 to 3.99: the field's grid. An
exact search would change the fourth digit, and nothing published could be compared."""

FARS = (1e-2, 1e-3, 1e-4)
"""False acceptance rates at which the true acceptance rate is given."""


class FoldAccuracy(NamedTuple):
    """Mean and population standard deviation of the folds' accuracies, and each of them."""

    accuracy: float
    std: float
    per_fold: list[float]


def distances(scores: ArrayLike) -> numpy.ndarray:
    """Turn cosine scores into squared distances of normalised embeddings, 2 - 2 cosine.

    Rounding that makes equal embeddings differ by less than nothing is undone.
    """
    return numpy.maximum(-2.0 * numpy.asarray(scores, dtype=float), 0.0)


def right_decisions(scores: ArrayLike, genuine: ArrayLike, fold: ArrayLike) -> numpy.ndarray:
    """Decide each pair by the best threshold of the other folds: ``[N]`` bool, whether rightly.

    A pair is accepted if its distance is below the threshold. The threshold that is right most
    often on the other folds (the smallest of equals) is applied to a fold.
    """
    genuine = numpy.asarray(genuine, dtype=bool)
    folds, places = numpy.unique(numpy.asarray(fold), return_inverse=True)
    # a distance is below the thresholds from here on
    first = numpy.searchsorted(THRESHOLDS, distances(scores), side="right")
    accepted = numpy.zeros((2, len(folds), len(THRESHOLDS) + 1), int)
    numpy.add.at(accepted, (genuine.astype(int), places, first), 1)
    false, true = accepted.cumsum(axis=2)[:, :, :-1]
    impostors = numpy.bincount(places[~genuine], minlength=len(folds))
    right = true + impostors[:, None] - false
    best = numpy.argmax(right.sum(axis=0) - right, axis=1)
    return (first <= best[places]) == genuine


def ten_fold_accuracy(scores: ArrayLike, genuine: ArrayLike, fold: ArrayLike) -> FoldAccuracy:
    """Compute the accuracy as InsightFace does: each fold by the best threshold of the others."""
    _, places = numpy.unique(numpy.asarray(fold), return_inverse=True)
    right = right_decisions(scores, genuine, fold)
    per_fold = numpy.bincount(places, weights=right) / numpy.bincount(places)
    return FoldAccuracy(float(per_fold.mean()), float(per_fold.std()), per_fold.tolist())


def eer(scores: ArrayLike, genuine: ArrayLike) -> float:
    """Compute the equal error rate.

    Of all thresholds that a score can be, the one where false acceptance and false rejection are
    nearest is taken, and their mean there is given.
    """
    scores, genuine = numpy.asarray(scores, dtype=float), numpy.asarray(genuine, dtype=bool)
    own, others = numpy.sort(scores[genuine]), numpy.sort(scores[~genuine])
    thresholds = numpy.append(numpy.unique(scores), numpy.inf)
    # accepted: score >= threshold
    false_rejection = numpy.searchsorted(own, thresholds, side="left") / len(own)
    false_acceptance = 1 - numpy.searchsorted(others, thresholds, side="left") / len(others)
    nearest = numpy.argmin(numpy.abs(false_acceptance - false_rejection))
    return float((false_acceptance[nearest] + false_rejection[nearest]) / 2)


def threshold_at_far(scores: ArrayLike, genuine: ArrayLike, far: float) -> float | None:
    """Find the lowest threshold that at most a fraction ``far`` (above 0) of impostors exceeds.

    A score must be above it. Nothing is interpolated. None if there are fewer impostors than
    ``1 / far``, so that not even one may be accepted.
    """
    impostors = numpy.asarray(scores, dtype=float)[~numpy.asarray(genuine, dtype=bool)]
    # 0.001 * 3000 may be a little less than 3
    allowed = math.floor(far * len(impostors) * (1 + 1e-12))
    if allowed < 1:
        return None
    return float(numpy.sort(impostors)[::-1][allowed]) if allowed < len(impostors) else -math.inf


def tar_at_far(scores: ArrayLike, genuine: ArrayLike, far: float) -> float | None:
    """Compute the true acceptance rate at a false one, None as of :py:func:`threshold_at_far`."""
    threshold = threshold_at_far(scores, genuine, far)
    own = numpy.asarray(scores, dtype=float)[numpy.asarray(genuine, dtype=bool)]
    return None if threshold is None else float((own > threshold).mean())


def summary(scores: "pandas.DataFrame") -> dict[str, Any]:
    """Compute all metrics of one benchmark from what :py:func:`.scores.read_scores` gives.

    ``tar_at_far`` goes by the rate as text, with None where there are too few impostors;
    ``never_match`` counts the pairs of which an image could not be used.
    """
    values, genuine = scores["score"].to_numpy(), scores["genuine"].to_numpy()
    accuracy = ten_fold_accuracy(values, genuine, scores["fold"].to_numpy())
    return {
        "accuracy": accuracy.accuracy,
        "accuracy_std": accuracy.std,
        "accuracy_per_fold": accuracy.per_fold,
        "eer": eer(values, genuine),
        "tar_at_far": {f"{far:g}": tar_at_far(values, genuine, far) for far in FARS},
        "pairs": len(values),
        "genuine": int(genuine.sum()),
        "impostors": int((~genuine).sum()),
        "never_match": int(numpy.isneginf(values).sum()),
    }
