import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.aiq import aiq, non_decreasing_hull

POINTS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda p: (p[0] / 10, p[1] / 20)),
    min_size=1,
    max_size=8,
)


def best_mixture(points, cost):
    """The best quality of any two settings mixed so that the mean cost is at most `cost`."""
    best = 0.0
    for c0, q0 in points:
        for c1, q1 in points:
            if c0 <= cost:
                best = max(best, q0)
            if c0 <= cost < c1:
                best = max(best, q0 + (q1 - q0) * (cost - c0) / (c1 - c0))
    return best


@given(POINTS, st.floats(0, 6))
def test_the_hull_is_the_best_mixture_of_two_settings(points, cost):
    hull = non_decreasing_hull(*zip(*points, strict=True))
    assert hull.at(cost) == pytest.approx(best_mixture(points, cost), abs=1e-9)


@given(POINTS)
def test_aiq_is_the_mean_height_of_the_hull(points):
    hull = non_decreasing_hull(*zip(*points, strict=True))
    grid = (np.arange(20_000) + 0.5) / 20_000 * 5 + 1
    expected = np.mean(hull.at(grid))
    assert aiq(hull, cost_min=1, cost_max=6) == pytest.approx(expected, abs=1e-3)


def test_a_router_that_starts_cheap_does_not_gain_by_moving_the_range():
    """Dividing by the dearest cost, as the published code does, would give 0.5 + 0.3 / 10 here."""
    hull = non_decreasing_hull([9.0, 10.0], [0.5, 0.5])
    assert aiq(hull, cost_min=9, cost_max=10) == pytest.approx(0.5)


def test_below_its_cheapest_setting_a_router_offers_nothing():
    hull = non_decreasing_hull([3.0], [1.0])
    assert aiq(hull, cost_min=1, cost_max=5) == pytest.approx(0.5)
    assert aiq(hull, cost_min=1, cost_max=2) == 0


def test_an_empty_range_and_a_point_that_is_no_number_are_refused():
    with pytest.raises(ConfigError, match="range"):
        aiq(non_decreasing_hull([1], [1]), cost_min=2, cost_max=2)
    with pytest.raises(ConfigError, match="finite"):
        non_decreasing_hull([1, np.nan], [1, 1])
