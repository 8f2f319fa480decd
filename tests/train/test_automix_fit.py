"""Beliefs after votes, against every decision table there is."""

import itertools

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.train.automix_fit import fit_beliefs


def world(seed, n=120, samples=3):
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.3
    small = (rng.random(n) < np.where(hard, 0.05, 0.7)).astype(float)
    large = (rng.random(n) < np.where(hard, 0.1, 0.95)).astype(float)
    votes = rng.binomial(samples, np.where(small == 1, 0.8, 0.3))
    return votes[:, None], np.column_stack([small, large])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("price", [0.0, 0.2, 0.5])
def test_acting_on_beliefs_earns_what_the_best_table_earns(seed, price):
    votes, quality = world(seed)
    (table,) = fit_beliefs(votes, quality, samples=3, prior=0)

    def earned(escalates):
        chosen = np.array([escalates[k] for k in votes[:, 0]])
        return np.where(chosen, quality[:, 1] - price, quality[:, 0]).mean()

    mine = earned([row[1] - price > row[0] for row in table])
    best = max(earned(each) for each in itertools.product([False, True], repeat=4))
    assert mine == pytest.approx(best)


def test_rare_votes_are_drawn_to_the_mean():
    votes, quality = np.array([[0]] * 99 + [[2]]), np.ones((100, 2))
    quality[:99, 0] = 0.0
    (table,) = fit_beliefs(votes, quality, samples=2, prior=5)
    assert table[2][0] == pytest.approx((1 + 5 * 0.01) / 6)
    assert table[1] == pytest.approx((0.01, 1.0)), "never seen"


def test_shapes_and_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="shape"):
        fit_beliefs(np.zeros((3, 2), int), np.zeros((3, 2)), samples=1)
    with pytest.raises(ConfigError, match="votes must be"):
        fit_beliefs(np.full((3, 1), 2), np.zeros((3, 2)), samples=1)
    with pytest.raises(ConfigError, match="quality"):
        fit_beliefs(np.zeros((3, 1), int), np.full((3, 2), np.nan), samples=1)
