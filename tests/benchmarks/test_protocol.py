"""The metrics against an independent, straightforward computation by the field's procedure."""

import math

import numpy
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bob.paper.ijcb2023_synthdistill.benchmarks import accuracy


def field_accuracy(distance, genuine, fold):
    """Compute fold accuracies as the field does: every threshold on every fold, in plain loops."""
    accuracies = []
    for test in sorted(set(fold.tolist())):
        best, best_correct = None, -1
        for step in range(400):
            threshold = numpy.arange(0, 4, 0.01)[step]
            others = fold != test
            correct = int(((distance[others] < threshold) == genuine[others]).sum())
            if correct > best_correct:
                best, best_correct = threshold, correct
        mine = fold == test
        accuracies.append(((distance[mine] < best) == genuine[mine]).sum() / mine.sum())
    return numpy.mean(accuracies), numpy.std(accuracies), accuracies


def labels(count, rng):
    genuine = numpy.tile([True, False], count // 2)
    return rng.permutation(genuine), numpy.arange(count) * 10 // count


def embeddings(kind, count, rng):
    """Draw two sets of raw embeddings and their labels."""
    genuine, fold = labels(count, rng)
    left = rng.normal(size=(count, 16)) * rng.uniform(0.1, 9, size=(count, 1))
    right = rng.normal(size=(count, 16))
    if kind == "alike":
        right[genuine] += 0.6 * left[genuine]
    elif kind == "perfect":
        right[genuine] = 3.0 * left[genuine]
    elif kind == "inverted":
        right[~genuine] = left[~genuine]
    elif kind == "all equal":
        left[:] = right[:] = left[0]
    elif kind == "ties":
        left = rng.choice(numpy.eye(16), count)
        right = rng.choice(numpy.eye(16)[:3], count)
    elif kind == "opposite":
        right = -left
    return left, right, genuine, fold


@pytest.mark.parametrize(
    "kind", ["random", "alike", "perfect", "inverted", "all equal", "ties", "opposite"]
)
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_from_raw_embeddings(kind, seed):
    left, right, genuine, fold = embeddings(kind, 400, numpy.random.default_rng(seed))
    # ours: the scores that Bob's Distance gives
    scores = [
        -float(cdist(a[None], b[None], "cosine")[0, 0]) for a, b in zip(left, right, strict=True)
    ]
    # the field's: squared distance of normalised embeddings
    a = left / numpy.linalg.norm(left, axis=1, keepdims=True)
    b = right / numpy.linalg.norm(right, axis=1, keepdims=True)
    expected = field_accuracy(((a - b) ** 2).sum(axis=1), genuine, fold)
    assert accuracy.ten_fold_accuracy(scores, genuine, fold) == expected
    if kind == "perfect":
        assert expected[0] == 1.0


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 40, 400]),
    st.sampled_from([20, 60, 130, 301]),
    st.sampled_from([2, 3, 10]),
    st.sampled_from([0.05, 0.5, 0.9]),
)
def test_accuracy_on_the_thresholds(seed, different, count, folds, balance):
    """Distances that are thresholds themselves: `below` and the smallest of equals decide.

    Any number of pairs of each kind, in any number of folds of any size.
    """
    rng = numpy.random.default_rng(seed)
    genuine = rng.random(count) < balance
    fold = numpy.append(rng.integers(0, folds, count - folds), range(folds)) * 7 + 3
    distance = rng.choice(numpy.arange(0, 4, 0.01), different)[rng.integers(0, different, count)]
    ours = accuracy.ten_fold_accuracy(-distance / 2, genuine, fold)
    assert ours == field_accuracy(distance, genuine, fold)


def test_accuracy_by_hand():
    # nine folds say 0.51; in the first fold one genuine pair is farther than that
    genuine = numpy.tile([True, False], 10)
    distance = numpy.tile([0.5, 1.5], 10)
    distance[0] = 0.8
    result = accuracy.ten_fold_accuracy(-distance / 2, genuine, numpy.arange(20) // 2)
    assert result.per_fold == [0.5] + [1.0] * 9
    assert result.accuracy == pytest.approx(0.95)
    assert result.std == pytest.approx(0.15)


def test_rounding_makes_no_distance_negative():
    assert accuracy.distances([1e-16, 0.0, -2.0]).tolist() == [0.0, 0.0, 4.0]


finite = st.floats(-2, 0).map(lambda value: round(value, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(finite, min_size=1, max_size=30), st.lists(finite, min_size=1, max_size=30))
def test_eer_by_brute_force(own, others):
    candidates = []
    for threshold in [*sorted(set(own + others)), math.inf]:
        rejected = sum(score < threshold for score in own) / len(own)
        accepted = sum(score >= threshold for score in others) / len(others)
        candidates.append((abs(accepted - rejected), (accepted + rejected) / 2))
    nearest = min(difference for difference, _ in candidates)
    found = accuracy.eer(own + others, [True] * len(own) + [False] * len(others))
    assert any(
        rate == pytest.approx(found)
        for difference, rate in candidates
        if difference < nearest + 1e-12
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(finite, min_size=1, max_size=30),
    st.lists(finite, min_size=1, max_size=300),
    st.sampled_from([1.0, 0.5, 0.1, 0.01]),
)
def test_tar_at_far_by_brute_force(own, others, far):
    found = accuracy.tar_at_far(own + others, [True] * len(own) + [False] * len(others), far)
    if len(others) * far < 1:
        assert found is None
        return
    best = 0.0
    for threshold in [*own, *others, -math.inf]:
        if sum(score > threshold for score in others) <= far * len(others) + 1e-9:
            best = max(best, sum(score > threshold for score in own) / len(own))
    assert found == best


@pytest.mark.parametrize(
    ("impostors", "far", "there"), [(3000, 1e-3, True), (3000, 1e-4, False), (10000, 1e-4, True)]
)
def test_tar_needs_impostors(impostors, far, there):
    scores = numpy.append(-numpy.arange(impostors) / impostors, [1.0])
    found = accuracy.tar_at_far(scores, numpy.arange(impostors + 1) == impostors, far)
    assert found == (1.0 if there else None)


def test_eer_extremes():
    genuine = [True] * 5 + [False] * 5
    assert accuracy.eer([-0.1] * 5 + [-0.9] * 5, genuine) == 0.0
    assert accuracy.eer([-0.9] * 5 + [-0.1] * 5, genuine) == 1.0
    assert accuracy.eer([-0.5] * 10, genuine) == 0.5


def test_pairs_that_never_match():
    """They are wrong where they are genuine and right where they are not, at any threshold."""
    rng = numpy.random.default_rng(0)
    genuine, fold = labels(600, rng)
    scores = numpy.where(genuine, -0.3, -0.9) + rng.normal(0, 0.05, 600)
    scores[numpy.flatnonzero(genuine)[:30]] = scores[numpy.flatnonzero(~genuine)[:60]] = -math.inf
    result = accuracy.summary(pandas.DataFrame({"genuine": genuine, "fold": fold, "score": scores}))
    assert result["accuracy"] == pytest.approx(570 / 600)
    assert result["tar_at_far"]["0.01"] == 0.9
    assert result["never_match"] == 90
    assert accuracy.tar_at_far(scores, genuine, 1.0) == 0.9


def test_summary():
    rng = numpy.random.default_rng(0)
    genuine, fold = labels(600, rng)
    scores = numpy.where(genuine, -0.3, -0.9) + rng.normal(0, 0.05, 600)
    result = accuracy.summary(pandas.DataFrame({"genuine": genuine, "fold": fold, "score": scores}))
    assert result["accuracy"] == 1.0
    assert result["accuracy_std"] == 0.0
    assert len(result["accuracy_per_fold"]) == 10
    assert result["tar_at_far"] == {"0.01": 1.0, "0.001": None, "0.0001": None}
    assert (result["pairs"], result["genuine"], result["impostors"]) == (600, 300, 300)
