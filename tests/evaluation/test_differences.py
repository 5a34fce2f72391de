"""Differences on the same pairs, against what is known of them."""

import numpy as np
import pytest
from scipy import stats
from score_files import FakeBenchmark

from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import ten_fold_accuracy
from bob.paper.ijcb2023_synthdistill.evaluation.differences import difference


def scores(seed, distance, noise=0.0):
    """Scores of one random number generator: models of one seed are alike, but for the noise."""
    frame = FakeBenchmark("lfw").pairs()
    rng = np.random.default_rng(seed)
    values = rng.normal(size=len(frame)) + distance * frame["genuine"]
    values += noise * np.random.default_rng(seed + 99).normal(size=len(frame))
    return frame.assign(score=(0.2 * values - 1).clip(-2, 0))


def accuracy(frame):
    return ten_fold_accuracy(frame["score"], frame["genuine"], frame["fold"]).accuracy


def test_one_seed_is_compared_pair_by_pair():
    better, worse = scores(0, 3.0), scores(0, 1.0)
    found = difference([[better]], [[worse]])
    assert found.value == pytest.approx(accuracy(better) - accuracy(worse), abs=1e-12)
    assert 0 < found.low < found.value < found.high < 0.5
    assert found.p < 1e-3
    back = difference([[worse]], [[better]])
    assert (back.value, back.p) == (pytest.approx(-found.value), found.p)
    # nearly alike: the same accuracy and less, and pairing makes the interval narrow
    near = difference([[scores(0, 1.0, noise=0.05)]], [[worse]])
    assert near.low <= 0 <= near.high
    assert near.high - near.low < found.high - found.low
    assert near.p > 0.05
    assert difference([[worse]], [[worse]])[:3] == (0, 0, 0)


def test_several_seeds_are_compared_seed_by_seed():
    ours, theirs = ([scores(seed, distance) for seed in range(4)] for distance in (1.5, 1.0))
    found = difference([ours], [theirs])
    expected = stats.ttest_rel([*map(accuracy, ours)], [*map(accuracy, theirs)])
    interval = expected.confidence_interval()
    assert found[1:] == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert difference([ours], [theirs[:2]]) is None


def test_benchmarks_count_alike_in_the_mean():
    def halves(frames):
        return [frame[frame["fold"] < 5] for frame in frames]

    ours, theirs = ([scores(seed, distance) for seed in range(3)] for distance in (1.5, 1.0))
    mean = difference([ours, halves(ours)], [theirs, halves(theirs)])
    each = difference([ours], [theirs]), difference([halves(ours)], [halves(theirs)])
    assert mean.value == pytest.approx((each[0].value + each[1].value) / 2)
    one = difference([ours[:1], halves(ours[:1])], [theirs[:1], halves(theirs[:1])])
    assert one.low < one.value < one.high
