from itertools import combinations

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.routellm import apgr, cpt, optimal_curve, pgr, strong_curve


def test_apgr_of_the_straight_line_is_one_half_and_of_the_perfect_router_one():
    line = strong_curve([0.25, 0.5], [0.55, 0.6], weak=0.5, strong=0.7)
    assert apgr(line) == pytest.approx(0.5)
    at_once = strong_curve([1e-12], [0.7], weak=0.5, strong=0.7)
    assert apgr(at_once) == pytest.approx(1)


def test_apgr_is_the_ratio_of_areas_over_the_two_constants():
    curve = strong_curve([0.7, 0.2], [0.68, 0.6], weak=0.5, strong=0.7)
    # trapezoids by hand: .2*.55 + .5*.64 + .3*.69 = .637
    assert apgr(curve) == pytest.approx((0.637 - 0.5) / (0.7 - 0.5))


def test_cpt_is_the_first_share_that_is_enough_even_where_quality_falls_again():
    curve = strong_curve([0.2, 0.6], [0.66, 0.55], weak=0.5, strong=0.7)
    assert cpt(curve, 0.5) == pytest.approx(0.2 * (0.6 - 0.5) / (0.66 - 0.5))
    assert cpt(curve, 0.8) == pytest.approx(0.2)
    assert cpt(curve, 0.95) == pytest.approx(0.6 + 0.4 * (0.69 - 0.55) / (0.7 - 0.55))
    assert cpt(curve, 0) == 0


def test_the_optimal_curve_is_the_best_of_all_choices_of_k_questions():
    rng = np.random.default_rng(0)
    weak, strong = rng.integers(0, 3, (2, 6)) / 2
    strong[0] = weak.max() + 1  # so that the strong one is better
    curve = optimal_curve(weak, strong)
    for k in range(7):
        best = max(
            np.where(np.isin(np.arange(6), chosen), strong, weak).mean()
            for size in range(k + 1)
            for chosen in combinations(range(6), size)
        )
        assert curve.quality[k] == pytest.approx(best)


def test_pgr_is_zero_at_weak_and_one_at_strong():
    assert pgr([0.5, 0.7], weak=0.5, strong=0.7) == pytest.approx([0, 1])


def test_a_strong_model_that_is_not_better_is_refused():
    with pytest.raises(ConfigError, match="better"):
        strong_curve([0.5], [0.5], weak=0.5, strong=0.5)
    with pytest.raises(ConfigError, match="0 to 1"):
        strong_curve([50], [0.5], weak=0.5, strong=0.6)
    with pytest.raises(ConfigError, match="share of the gap"):
        cpt(strong_curve([0.5], [0.55], weak=0.5, strong=0.6), 80)
    with pytest.raises(ConfigError, match="one length"):
        optimal_curve([1], [1, 0])
