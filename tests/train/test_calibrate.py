import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Price, Request, Trace
from polyroute.errors import ConfigError
from polyroute.policies.conformal import Conformal
from polyroute.policies.fixed import Fixed
from polyroute.policies.greedy import Greedy
from polyroute.policies.threshold import Threshold
from polyroute.train import calibrate as module
from polyroute.train.calibrate import Goal, calibrate, folds
from polyroute.train.examples import Examples

POOL = Pool([ModelCard(id="small"), ModelCard(id="large"), ModelCard(id="other")])


class Rows:
    """Predicts the row whose number is the request's prompt."""

    method = Greedy.method

    def __init__(self, rows_NM):
        self.rows_NM = np.asarray(rows_NM, float)

    def fit(self, requests, target_NM, pool):
        return self

    def predict(self, requests, pool):
        rows = [int(request.prompt) for request in requests]
        return self.rows_NM[rows][:, [POOL.index_of(card.id) for card in pool]]

    def state(self):
        raise NotImplementedError

    def restore(self, state):
        raise NotImplementedError


def examples(quality_NM, usd_NM, pool=POOL):
    requests = tuple(Request.of(str(n), id=str(n)) for n in range(len(quality_NM)))
    return Examples(
        requests=requests,
        quality_NM=np.asarray(quality_NM, float),
        usd_NM=np.asarray(usd_NM, float),
        pool=pool,
    )


cells = st.one_of(st.just(math.nan), st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9, 1.0]))
prices = st.one_of(st.just(math.nan), st.sampled_from([-3.0, -2.0, -2.0, -1.0]))
rows = st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    quality=rows,
    logs=st.lists(st.lists(prices, min_size=3, max_size=3), min_size=4, max_size=4),
    w=st.sampled_from([0.0, 1e-3, 0.05, 1.0]),
)
def test_what_is_calibrated_is_what_greedy_decides(quality, logs, w):
    policy = Greedy(Rows(quality), Rows(logs), usd_per_quality=w)
    requests = [Request.of(str(n)) for n in range(len(quality))]
    quality_NM = np.clip(policy.quality.predict(requests, POOL), 0, 1)
    usd_NM = policy.expected_usd(requests, POOL)
    chosen = module._chosen(quality_NM, usd_NM, w)
    for request, column in zip(requests, chosen, strict=True):
        decision = asyncio.run(policy.decide(Trace(request, POOL)))
        asked = POOL.index_of(decision.calls[0].model)
        assert asked == column


def _simulated(seed, size=600):
    rng = np.random.default_rng(seed)
    chance_NM = np.stack([rng.uniform(0.2, 0.9, size), rng.uniform(0.6, 1, size)], axis=1)
    chance_NM = np.column_stack([chance_NM, np.full(size, 0.1)])
    usd_NM = np.tile([0.001, 0.01, 0.1], (size, 1))
    return chance_NM, examples(rng.random((size, 3)) < chance_NM, usd_NM)


def test_the_lowest_bill_that_reaches_the_quality_is_found():
    chance_NM, held = _simulated(1)
    policy = Greedy(Rows(chance_NM), Rows(np.log10(held.usd_NM)))
    knob, found = calibrate(policy, Goal(quality=0.95, sure=0), held)
    assert found["reached"]
    assert found["best_single"] == "large"
    assert found["got_quality"] >= 0.95 * found["best_single_quality"]
    assert found["got_usd"] < found["best_single_usd"]
    for w in np.geomspace(1e-4, 10, 60):  # none that is tried beside it does it for less
        chosen = np.argmax(chance_NM - held.usd_NM / w, axis=1)
        rows = np.arange(len(held))
        if held.quality_NM[rows, chosen].mean() >= 0.95 * found["best_single_quality"]:
            assert held.usd_NM[rows, chosen].mean() >= found["got_usd"] * 0.99
    assert 0 < knob["usd_per_quality"] < 1


@pytest.mark.slow
def test_a_quality_is_reached_with_a_margin_and_the_margin_is_what_new_questions_take():
    short = {0: 0, 1.645: 0}
    for seed in range(30):
        chance_NM, held = _simulated(seed, 150)
        new_NM, fresh = _simulated(seed + 100, 3000)
        for sure in short:
            policy = Greedy(Rows(chance_NM), Rows(np.log10(held.usd_NM)))
            knob, _ = calibrate(policy, Goal(quality=0.95, sure=sure), held)
            w = knob["usd_per_quality"]
            chosen = np.argmax(new_NM - (fresh.usd_NM / w if w else 0), axis=1)
            got = new_NM[np.arange(3000), chosen].mean()
            short[sure] += got < 0.95 * new_NM.mean(axis=0).max()
    assert short[0] > short[1.645]
    assert short[1.645] <= 6


def test_folds_are_judged_together():
    chance_NM, held = _simulated(3)
    policy = Greedy(Rows(chance_NM), Rows(np.log10(held.usd_NM)))
    parts = [judged for _, judged in folds(held)]
    assert sorted(r.id for part in parts for r in part.requests) == sorted(
        r.id for r in held.requests
    )
    pairs = [(policy, part) for part in parts]
    (first, one), *more = pairs
    goal = Goal(quality=0.95)
    knob, found = calibrate(first, goal, one, *more)
    whole, said = calibrate(policy, goal, held)
    assert knob == whole
    assert found["got_quality"] == pytest.approx(said["got_quality"])


def test_a_threshold_is_set_for_a_quality_with_the_fewest_calls_to_the_strong_model():
    rng = np.random.default_rng(0)
    easy = rng.random(800) < 0.5
    quality = np.stack([easy, np.ones(800), np.zeros(800)], axis=1)
    predicted = np.clip(quality + 0.1 * rng.standard_normal(quality.shape), 0, 1)
    held = examples(quality, np.full(quality.shape, math.nan))
    policy = Threshold("large", "small", Rows(predicted))
    knob, found = calibrate(policy, Goal(quality=1.0), held)
    assert found["reached"]
    assert found["got_usd"] == pytest.approx((~easy).mean(), abs=0.01)
    assert 0.5 < knob["threshold"] < 1
    knob, found = calibrate(policy, Goal(quality=1.2), held)
    assert (knob["threshold"], found["reached"]) == (0.0, False)


def test_a_quality_out_of_reach_means_quality_only():
    chance_NM, held = _simulated(2)
    policy = Greedy(Rows(chance_NM), Rows(np.log10(held.usd_NM)))
    knob, found = calibrate(policy, Goal(quality=2), held)
    assert knob == {"usd_per_quality": None}
    assert not found["reached"]


def test_the_price_of_a_card_stands_in_for_a_recorded_one():
    pool = Pool(
        [
            ModelCard(id="small", price=Price.per_million(1, 1)),
            ModelCard(id="large", price=Price.per_million(10, 10)),
        ]
    )
    held = examples([[1, 1], [1, 1]], np.full((2, 2), math.nan), pool)
    knob, found = calibrate(Greedy(Rows([[0.8, 0.9, 0]] * 2)), Goal(quality=1.0), held)
    assert found["got_usd"] == pytest.approx(300e-6)
    assert knob["usd_per_quality"] < 0.027  # where 0.1 of quality is worth the 0.0027 between them
    with pytest.raises(ConfigError, match="no price is known"):
        calibrate(
            Greedy(Rows([[0.8, 0.9, 0]] * 2)),
            Goal(quality=1.0),
            examples([[1, 1, 1]], [[math.nan] * 3]),
        )


@given(
    share=st.sampled_from([0.01, 0.25, 0.5, 1.0]),
    rows=st.lists(
        st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9]), min_size=3, max_size=3), min_size=1
    ),
)
def test_the_strong_model_gets_what_it_may_and_no_more(share, rows):
    policy = Threshold("large", "small", Rows(rows))
    held = examples(np.full((len(rows), 3), math.nan), np.full((len(rows), 3), math.nan))
    knob, found = calibrate(policy, Goal(strong_share=share), held)
    rates = policy.win_rates(held.requests, POOL)
    assert found["got_share"] == (rates >= knob["threshold"]).mean() <= share
    lower = rates[rates < knob["threshold"]]
    if lower.size:
        assert (rates >= lower.max()).mean() > share


def test_a_win_rate_that_nobody_knows_sets_no_threshold():
    held = examples([[1, 1, 1]], [[1, 1, 1]])
    with pytest.raises(ConfigError, match="knows nothing"):
        calibrate(
            Threshold("large", "small", Rows([[0.5, math.nan, 0.5]])), Goal(strong_share=0.5), held
        )


@pytest.mark.parametrize("alpha", [0.1, 0.3])
@pytest.mark.parametrize("skill", [1.0, 0.0, -1.0])
def test_the_set_holds_a_right_answer_as_often_as_promised(alpha, skill):
    """Over 100 calibrations, with an estimator that is right, blind, or the wrong way round."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        chance_NM = rng.random((160, 3))
        right_NM = rng.random((160, 3)) < chance_NM
        told_NM = 0.5 + skill * (chance_NM - 0.5)
        policy = Conformal(Rows(told_NM))
        held = examples(right_NM[:100], np.ones((100, 3)))
        knob, _ = calibrate(policy, Goal(alpha=alpha), held)
        new = [Request.of(str(n)) for n in range(100, 160)]
        scores = policy.scores(new, right_NM[100:], POOL)
        solvable = np.isfinite(scores)
        covered.append((scores[solvable] <= knob["mass"]).mean())
    # the standard deviation of one is about 0.07, so that of their mean 0.007
    assert np.mean(covered) >= 1 - alpha - 0.02


def test_too_few_questions_for_a_promise_are_refused():
    held = examples(np.ones((9, 3)), np.ones((9, 3)))
    with pytest.raises(ConfigError, match="19 or more"):
        calibrate(Conformal(Rows(np.ones((9, 3)))), Goal(alpha=0.05), held)


def test_a_goal_is_one_and_fits_its_policy():
    with pytest.raises(ConfigError, match="one goal"):
        Goal(quality=0.9, alpha=0.1)
    with pytest.raises(ConfigError, match="alpha"):
        Goal(alpha=0.0)
    held = examples([[1, 1, 1]], [[1, 1, 1]])
    with pytest.raises(ConfigError, match="'fixed' has no such goal"):
        calibrate(Fixed("small"), Goal(alpha=0.1), held)
    assert calibrate(Fixed("small"), Goal(), held) == ({}, {})
