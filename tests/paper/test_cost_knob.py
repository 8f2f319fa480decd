"""Claims of docs/benchmarks/cost_knob.md: what a weight on the cost does, theirs and ours."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from polyroute.rewards.cost import Reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def knob():
    return runpy.run_path(str(ROOT / "benchmarks/cost_knob.py"))


def test_from_the_large_to_the_small_model_breaks_even_near_one_weight_for_all_windows(knob):
    weights = [knob["break_even"](mix, 2, 1) for mix in knob["WINDOWS"].values()]
    assert 0.3 < min(weights) < max(weights) < 0.6


def test_from_the_small_model_to_none_breaks_even_nowhere_until_the_window_forgets_the_large(knob):
    assert math.isinf(knob["break_even"](knob["WINDOWS"]["70B only"], 1, 0))
    assert 0.4 < knob["break_even"](knob["WINDOWS"]["8B only"], 1, 0) < 0.65


def test_the_shares_are_those_of_the_reference(knob):
    window = Reference()
    draw = np.random.default_rng(0)
    knob["_fill"](window, np.array([0.2, 0.3, 0.5]), 1000, draw)
    fast = knob["_cost_rewards"](window, np.random.default_rng(1))
    prices = knob["_prices"](np.random.default_rng(1), 200)
    slow = [
        1 - np.mean([window.share(float(price)) for price in column]) for column in prices.T[:1]
    ]
    assert fast[0] == pytest.approx(slow[0])


@pytest.mark.slow
def test_the_references_knob_jumps_and_ends_where_it_came_from_decides(knob):
    ends = {w: knob["reference_end"](w, "large").micro_usd for w in (0.4, 0.5, 0.7)}
    assert ends[0.4] > 140
    assert ends[0.5] < 35
    assert ends[0.7] < 7
    assert knob["reference_end"](0.6, "large").micro_usd > 25
    assert knob["reference_end"](0.6, "even").micro_usd < 7


@pytest.mark.parametrize("start", ["large", "small"])
def test_our_knob_turns_where_the_dollars_say_whatever_came_before(knob, start):
    """(145 - 30) / (.370 - .286) and (30 - 5.4) / (.286 - .215) micro-dollars."""
    ends = [knob["share_end"](worth, start).micro_usd for worth in (300, 400, 1250, 1500)]
    assert ends == pytest.approx([5.4, 30, 30, 145], rel=0.1)
