"""The metrics against an independent, straightforward computation by the field's procedure."""

import math

import numpy
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


finite = st.floats(-2, 0).map(lambda value: round(value, 2))
some = st.lists(finite, min_size=1, max_size=100)


@settings(max_examples=100, deadline=None)
@given(some, some, st.sampled_from([1.0, 0.5, 0.1, 0.01]))
def test_eer_and_tar_by_brute_force(own, others, far):
    scores, genuine = own + others, [True] * len(own) + [False] * len(others)
    candidates = []
    for threshold in [*sorted(set(scores)), math.inf]:
        rejected = sum(score < threshold for score in own) / len(own)
        accepted = sum(score >= threshold for score in others) / len(others)
        candidates.append((abs(accepted - rejected), (accepted + rejected) / 2))
    nearest = min(difference for difference, _ in candidates)
    rates = [rate for difference, rate in candidates if difference < nearest + 1e-12]
    assert any(rate == pytest.approx(accuracy.eer(scores, genuine)) for rate in rates)
    best = 0.0
    for threshold in [*scores, -math.inf]:
        if sum(score > threshold for score in others) <= far * len(others) + 1e-9:
            best = max(best, sum(score > threshold for score in own) / len(own))
    found = accuracy.tar_at_far(scores, genuine, far)
    assert found == (best if len(others) * far >= 1 else None)


def test_summary_and_pairs_that_never_match():
    """They are wrong where they are genuine and right where they are not, at any threshold."""
    rng = numpy.random.default_rng(0)
    genuine, fold = numpy.arange(600) % 2 == 0, numpy.arange(600) // 60
    scores = numpy.where(genuine, -0.3, -0.9 + rng.normal(0, 0.05, 600))
    frame = pandas.DataFrame({"genuine": genuine, "fold": fold, "score": scores})
    result = accuracy.summary(frame)
    assert (result["accuracy"], result["accuracy_std"], result["eer"]) == (1.0, 0.0, 0.0)
    assert result["tar_at_far"] == {"0.01": 1.0, "0.001": None, "0.0001": None}
    assert (result["pairs"], result["genuine"], result["impostors"]) == (600, 300, 300)
    never = numpy.where(genuine, numpy.arange(600) < 60, numpy.arange(600) < 120)
    frame["score"] = frame["score"].mask(never, -math.inf)
    result = accuracy.summary(frame)
    assert result["accuracy"] == pytest.approx(570 / 600)
    assert result["tar_at_far"]["0.01"] == 0.9
    assert result["never_match"] == 90
