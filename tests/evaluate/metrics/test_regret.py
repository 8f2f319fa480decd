import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polyroute.evaluate.metrics.regret import (
    cheapest_correct,
    gap_closed,
    oracle,
    oracle_regret,
)

SCORES = arrays(np.float64, (3, 3), elements=st.sampled_from([0.0, 0.5, 1.0, math.nan]))
PRICES = arrays(np.float64, (3, 3), elements=st.sampled_from([0.0, 1.0, 2.0, math.nan]))


@given(SCORES, PRICES)
def test_the_oracles_are_those_of_a_search_through_all_columns(scores, prices):
    best, cheap = oracle(scores, prices), cheapest_correct(scores, prices)
    for n in range(3):
        s = [-1 if math.isnan(x) else x for x in scores[n]]
        p = [99 if math.isnan(x) else x for x in prices[n]]
        assert best[n] == max(range(3), key=lambda m: (s[m], -p[m], -m))
        right = [m for m in range(3) if s[m] == 1] or [m for m in range(3) if s[m] >= 0]
        assert cheap[n] == min(right or range(3), key=lambda m: (p[m] if right else 0, m))


def test_regret_is_the_mean_of_what_the_best_model_had_more():
    assert oracle_regret([0, 0.5], [[1, np.nan], [0.5, 0]]) == 0.5


def test_gap_closed_runs_from_the_best_single_model_to_the_oracle():
    assert gap_closed(0.7, best_single=0.6, oracle=0.8) == pytest.approx(0.5)
    assert gap_closed(0.5, best_single=0.6, oracle=0.8) == pytest.approx(-0.5)
    assert math.isnan(gap_closed(0.6, best_single=0.6, oracle=0.6))
