"""The search for a cascade, against walking every cascade question by question."""

import asyncio
import itertools

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.backends.replay import Replay
from polyroute.episode import run_episode
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.train.artifact import load, save
from polyroute.train.cascade_fit import _cuts, best_cascade, fit_frugal


def walk(order, thresholds, accept, quality, usd):
    """What one cascade gives, by walking it."""
    total_quality = total_usd = 0.0
    for n in range(len(accept)):
        for stage, m in enumerate(order):
            total_usd += usd[n, m]
            if stage == len(order) - 1 or accept[n, m] >= thresholds[stage]:
                total_quality += quality[n, m]
                break
    return total_quality / len(accept), total_usd / len(accept)


def world(seed, n=60, m=3):
    rng = np.random.default_rng(seed)
    quality = (rng.random((n, m)) < np.linspace(0.4, 0.8, m)).astype(float)
    accept = np.clip(0.6 * quality + 0.4 * rng.random((n, m)), 0, 1)
    usd = rng.uniform(0.5, 1.5, (n, m)) * np.array([1.0, 4.0, 20.0])[:m]
    return accept, quality, usd


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("usd", [1.2, 6.0, 30.0])
def test_the_best_cascade_is_the_best_of_all_that_can_be_walked(seed, usd):
    accept, quality, price = world(seed)
    got = best_cascade(accept, quality, price, usd=usd, steps=6)
    assert walk(got.order, got.thresholds, accept, quality, price) == pytest.approx(
        (got.quality, got.usd)
    )
    assert got.usd <= usd
    cuts = [_cuts(accept[:, m], 6) for m in range(3)]
    best = 0.0
    for size in (1, 2, 3):
        for order in itertools.permutations(range(3), size):
            for thresholds in itertools.product(*[cuts[m] for m in order[:-1]]):
                value, cost = walk(order, thresholds, accept, quality, price)
                best = max(best, value if cost <= usd else 0.0)
    assert got.quality == pytest.approx(best)


def test_a_perfect_judge_makes_the_cascade_as_good_as_the_oracle():
    _, quality, usd = world(9)
    got = best_cascade(quality, quality, usd, usd=100.0)
    assert got.quality == pytest.approx(quality.max(axis=1).mean())


def test_a_price_nobody_meets_is_refused():
    accept, quality, usd = world(1)
    with pytest.raises(ConfigError, match="cheapest"):
        best_cascade(accept, quality, usd, usd=0.1)
    with pytest.raises(ConfigError, match="too many"):
        best_cascade(np.zeros((2, 17)), np.zeros((2, 17)), np.zeros((2, 17)), usd=1)
    with pytest.raises(ConfigError, match="length"):
        best_cascade(accept, quality, usd, usd=10, length=4)


POOL = Pool([ModelCard(id="small"), ModelCard(id="large")])


def telling(n=200):
    """A table in which the small model says "clearly" when it is right, "perhaps" when not."""
    rng = np.random.default_rng(0)
    queries, responses = [], []
    for k in range(n):
        queries.append({"query_id": f"q{k}", "prompt": f"question number {k}?"})
        right = rng.random() < 0.6
        responses += [
            {"query_id": f"q{k}", "model": "small", "score": float(right), "cost_usd": 0.001,
             "response_text": f"{'clearly' if right else 'perhaps'} {k}"},
            {"query_id": f"q{k}", "model": "large", "score": 1.0, "cost_usd": 0.02,
             "response_text": f"it is {k}"},
        ]  # fmt: skip
    return OutcomeTable.of(queries, responses)


def test_a_fitted_cascade_walks_as_expected_from_its_artifact(tmp_path):
    table = telling()
    fitted = fit_frugal(table, POOL, usd=0.012)
    assert fitted.policy.order == ("small", "large")
    expected = fitted.training["expected"]
    assert expected["quality"] > 0.99
    assert expected["usd"] == pytest.approx(0.001 + 0.4 * 0.02, rel=0.2)
    save(tmp_path / "my.router", fitted, created_at="2026-11-22T00:00:00Z")
    trained = load(tmp_path / "my.router", POOL)
    backend = Replay.of(table)
    usd, answers = 0.0, []
    for question in table.queries[:60]:
        trace = asyncio.run(run_episode(trained, backend, Request.of(question.prompt), POOL))
        usd += float(trace.usd)
        answers.append(trace.answer)
    assert not any(answer.startswith("perhaps") for answer in answers)
    assert usd / 60 == pytest.approx(expected["usd"], rel=0.3)


def test_a_cap_below_the_large_model_keeps_to_the_small_one():
    assert fit_frugal(telling(80), POOL, usd=0.0011).policy.order == ("small",)


def test_a_table_without_what_is_needed_is_refused():
    with pytest.raises(ConfigError, match="no model 'other'"):
        fit_frugal(telling(10), Pool([ModelCard(id="other")]), usd=1)
    bare = OutcomeTable.of(
        [{"query_id": "q", "prompt": "x"}],
        [{"query_id": "q", "model": m, "score": 1.0} for m in ("small", "large")],
    )
    with pytest.raises(ConfigError, match="all three"):
        fit_frugal(bare, POOL, usd=1)
