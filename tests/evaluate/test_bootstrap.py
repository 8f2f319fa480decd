from itertools import product

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.bootstrap import (
    holm,
    mean_interval,
    paired_interval,
    ratio_interval,
    sign_flip_p,
)


def test_the_interval_is_that_of_all_resamples_of_three_values():
    values = [0.0, 1.0, 5.0]
    means = [np.mean(draw) for draw in product(values, repeat=3)]
    found = mean_interval(values, level=0.8, resamples=60_000)
    assert found.estimate == 2
    assert found.low == pytest.approx(np.quantile(means, 0.1))
    assert found.high == pytest.approx(np.quantile(means, 0.9))


def test_the_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(1).normal(size=2_000)
    found = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)


def test_the_same_seed_gives_the_same_interval_and_nan_is_left_out():
    values = np.random.default_rng(1).normal(size=50)
    assert mean_interval(values, seed=3) == mean_interval([*values, np.nan], seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_pairing_takes_away_what_both_have_in_common():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=300)
    better, worse = hard + 0.1 + rng.normal(scale=0.1, size=300), hard
    paired = paired_interval(better, worse)
    assert paired.excludes_zero
    assert paired.low < 0.1 < paired.high
    assert paired.high - paired.low < 0.03


def test_bca_is_scipys_and_moves_the_interval_of_skewed_values():
    pytest.importorskip("scipy")
    skewed = np.random.default_rng(0).exponential(size=60) ** 2
    plain, corrected = mean_interval(skewed), mean_interval(skewed, method="bca")
    assert corrected.low > plain.low
    assert corrected.high > plain.high
    same = mean_interval(np.ones(5), method="bca")
    assert (same.low, same.high) == (1, 1)


def test_a_ratio_is_of_means_not_a_mean_of_ratios():
    found = ratio_interval([1.0, 1.0, 4.0], [2.0, 2.0, 2.0])
    assert found.estimate == pytest.approx(1)
    assert found.low >= 0.5
    assert found.high <= 2


def test_sign_flips_are_all_tried_when_they_are_few():
    difference = np.array([0.5, -0.25, 1, 0, 0.75])
    totals = [abs(np.dot(signs, difference)) for signs in product((-1, 1), repeat=5)]
    assert sign_flip_p(difference) == np.mean(np.array(totals) >= abs(difference.sum()))


def test_random_sign_flips_agree_with_the_binomial_test():
    """With differences of plus and minus one the flipped sum is binomial: here 13 of 16 or more."""
    difference = np.array([1.0] * 13 + [-1.0] * 3)
    exact = 2 * (560 + 120 + 16 + 1) / 2**16
    assert sign_flip_p(difference, resamples=40_000) == pytest.approx(exact, rel=0.1)
    assert sign_flip_p(np.ones(40)) == 1 / 10_000  # never 0


def test_no_difference_is_no_evidence():
    assert sign_flip_p(np.zeros(9)) == 1
    assert sign_flip_p([np.nan]) == 1


def test_holm_corrects_in_order_and_never_above_one():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="one value"):
        mean_interval([np.nan])
    with pytest.raises(ConfigError, match="level"):
        mean_interval([1.0], level=95)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_holds_the_truth_as_often_as_it_says(method):
    """300 simulated comparisons of two routers on 200 right-or-wrong questions."""
    if method == "bca":
        pytest.importorskip("scipy")
    rng = np.random.default_rng(7)
    truth, hits = 0.08, 0
    for k in range(300):
        hard = rng.uniform(0.3, 0.85, 200)
        better = rng.random(200) < hard + truth
        worse = rng.random(200) < hard
        found = paired_interval(better, worse, resamples=600, seed=k, method=method)
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.slow
def test_a_test_at_five_per_cent_raises_a_false_alarm_five_times_in_a_hundred():
    rng = np.random.default_rng(7)
    alarms = 0
    for k in range(400):
        difference = rng.integers(-1, 2, 150)
        alarms += sign_flip_p(difference, resamples=399, seed=k) <= 0.05
    assert 0.02 <= alarms / 400 <= 0.08
