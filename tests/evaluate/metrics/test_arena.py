import math

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.arena import arena_score, optimality, robustness


def test_the_score_of_the_board_comes_out():
    assert 100 * arena_score(0.6688, 0.15) == pytest.approx(66.90, abs=0.005)


def test_cost_is_clamped_to_the_range_of_the_board():
    assert arena_score(0.5, 0) == arena_score(0.5, 0.0044) == pytest.approx(1.1 * 0.5 / 1.05)
    assert arena_score(0.5, 1e6) == 0
    assert arena_score(0, 200) == 0


SCORES = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]])
USD = np.array([[1, 2, 4], [1, 2, 4], [1, 2, 4], [1, 2, 4]])


def test_wrong_answers_lower_accuracy_and_their_cost_counts():
    """Router: right and cheapest; right and dearer; wrong; nobody is right (not counted)."""
    found = optimality([1, 1, 0, 0], [1, 4, 2, 9], score_NM=SCORES, usd_NM=USD)
    assert found.counted == 3
    assert found.selection == pytest.approx(1 / 3)
    assert found.cost == pytest.approx((1 + 2 + 1) / (1 + 4 + 2))
    assert found.accuracy == pytest.approx(2 / 3)  # skipping wrong rows would make it 1


def test_without_prices_nothing_is_counted():
    found = optimality([1], [np.nan], score_NM=[[1]], usd_NM=[[np.nan]])
    assert found.counted == 0
    assert math.isnan(found.selection)


def test_robustness_is_one_minus_the_share_of_flips():
    assert robustness(np.zeros(420), np.arange(420) < 42) == pytest.approx(0.9)


@pytest.mark.parametrize("call", [
    lambda: arena_score(66.88, 0.15),
    lambda: arena_score(0.5, -1),
    lambda: robustness([1, 2], [1]),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(call):
    with pytest.raises(ConfigError):
        call()
