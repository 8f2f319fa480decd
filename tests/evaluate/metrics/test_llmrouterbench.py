import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.llmrouterbench import (
    cost_save,
    pareto_dist,
    pareto_front,
    perf_gain,
)


def test_the_published_figures_come_out():
    """RouteLLM 67.7 against 66.0, cost 111.5 against 126; GraphRouter's cost 150.5."""
    assert 100 * perf_gain([67.7], best_single=66.0) == pytest.approx(2.6, abs=0.05)
    save = cost_save([67.7], [111.5], best_single=66.0, best_single_cost=126)
    assert 100 * save == pytest.approx(11.4, abs=0.15)
    save = cost_save([67.0], [150.5], best_single=66.0, best_single_cost=126)
    assert 100 * save == pytest.approx(-19.7, abs=0.3)


def test_nothing_is_saved_when_no_setting_is_good_enough():
    assert math.isnan(cost_save([0.5], [1], best_single=0.6, best_single_cost=2))


def test_the_cheapest_setting_that_is_good_enough_counts():
    assert cost_save([0.6, 0.7, 0.9], [3, 1, 5], best_single=0.6, best_single_cost=4) == 0.75


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8)


@given(POINTS)
def test_a_point_of_the_front_is_beaten_by_no_other(points):
    cost, quality = zip(*points, strict=True)
    front = {points[k] for k in pareto_front(cost, quality)}
    for c, q in points:
        beaten = any((d <= c and r >= q) and (d, r) != (c, q) for d, r in points)
        assert ((c, q) in front) == (not beaten)


def test_the_distance_is_to_the_nearest_point_of_the_front_in_scaled_units():
    cost, quality = [0, 10, 10], [0.2, 0.7, 0.2]  # scaled: (0, 0), (1, 1) on it, (1, 0) off
    assert pareto_dist([10], [0.2], all_cost=cost, all_quality=quality) == pytest.approx(1)
    assert pareto_dist(cost, quality, all_cost=cost, all_quality=quality) == pytest.approx(1 / 3)
    assert pareto_dist([3], [3], all_cost=[3, 3], all_quality=[3, 3]) == 0


def test_a_distance_needs_points():
    with pytest.raises(ConfigError):
        pareto_dist(np.zeros(0), np.zeros(0), all_cost=[1], all_quality=[1])
