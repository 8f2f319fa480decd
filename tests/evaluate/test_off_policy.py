"""Off-policy estimates, against enumeration and against simulated bandits whose truth is known."""

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from polyroute import ModelCard, Pool, Request, Trace
from polyroute.decision import Answer, Call, Route
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError
from polyroute.evaluate.off_policy import (
    Logged,
    SupportError,
    direct,
    doubly_robust,
    ips,
    logged,
    probabilities,
    snips,
    support,
)
from polyroute.policies.bandit.thompson import BetaState, Thompson
from polyroute.policies.cascade import Cascade
from polyroute.policies.fixed import Fixed
from polyroute.policies.random import Random
from polyroute.records.record import Record
from polyroute.trace import Reply, Step

# a world of three contexts and three arms; the truth is a sum over both
CONTEXT = np.array([0.5, 0.3, 0.2])
MEAN = np.array([[0.2, 0.5, 0.8], [0.7, 0.4, 0.1], [0.3, 0.3, 0.9]])
LOGGING = np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.2, 0.6, 0.2]])
TARGET = np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
TRUTH = float(CONTEXT @ (TARGET * MEAN).sum(axis=1))
WRONG_MODEL = np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.4], [0.2, 0.6, 0.6]])


def simulate(seed, n, target=TARGET):
    rng = np.random.default_rng(seed)
    context = rng.choice(3, size=n, p=CONTEXT)
    action = np.array([rng.choice(3, p=LOGGING[c]) for c in context])
    log = Logged(
        actions=("a", "b", "c"),
        action=action,
        propensity=LOGGING[context, action],
        reward=(rng.random(n) < MEAN[context, action]).astype(float),
    )
    return log, target[context], WRONG_MODEL[context]


def enumerate_expectation(estimator):
    """Mean of `estimator` over every log of three rows with two arms, by its probability."""
    chance, target, mean = [0.7, 0.3], [0.2, 0.8], [0.4, 0.9]
    total = 0.0
    for rows in itertools.product(itertools.product([0, 1], [0, 1]), repeat=3):
        weight = 1.0
        for action, reward in rows:
            weight *= chance[action] * (mean[action] if reward else 1 - mean[action])
        log = Logged(
            actions=("a", "b"),
            action=np.array([action for action, _ in rows]),
            propensity=np.array([chance[action] for action, _ in rows]),
            reward=np.array([float(reward) for _, reward in rows]),
            logging=np.tile(chance, (3, 1)),
        )
        total += weight * estimator(log, np.tile(target, (3, 1)))
    return total, 0.2 * 0.4 + 0.8 * 0.9


def test_ips_is_unbiased_over_every_log_there_can_be():
    got, truth = enumerate_expectation(lambda log, target: ips(log, target, min_ess=0).value)
    assert got == pytest.approx(truth, abs=1e-12)


def test_doubly_robust_is_unbiased_with_a_wrong_model():
    wrong = np.tile([0.9, 0.1], (3, 1))
    got, truth = enumerate_expectation(
        lambda log, target: doubly_robust(log, target, wrong, min_ess=0).value
    )
    assert got == pytest.approx(truth, abs=1e-12)


def test_two_rows_by_hand():
    log = Logged(
        actions=("a", "b"),
        action=np.array([0, 1]),
        propensity=np.array([0.5, 0.25]),
        reward=np.array([1.0, 0.5]),
    )
    target = np.array([[0.5, 0.5], [0.25, 0.75]])
    model = np.array([[0.8, 0.2], [0.4, 0.6]])
    # weights 1 and 3
    assert ips(log, target, min_ess=0).value == pytest.approx((1 * 1 + 3 * 0.5) / 2)
    assert snips(log, target, min_ess=0).value == pytest.approx((1 * 1 + 3 * 0.5) / 4)
    assert direct(log, target, model, min_ess=0).value == pytest.approx((0.5 + 0.55) / 2)
    corrected = (0.5 + 1 * 0.2 + 0.55 + 3 * -0.1) / 2
    assert doubly_robust(log, target, model, min_ess=0).value == pytest.approx(corrected)
    assert support(log, target, min_ess=0).ess == pytest.approx(16 / 10)


def test_the_same_policy_is_the_plain_mean():
    log, _, _ = simulate(1, 400)
    same = np.zeros((400, 3))
    same[np.arange(400), log.action] = log.propensity
    rest = (1 - log.propensity) / 2
    same += np.where(same == 0, rest[:, None], 0)
    got = ips(log, same)
    assert got.value == pytest.approx(log.reward.mean())
    assert got.support.ess == pytest.approx(400)
    assert got.support.coverage == pytest.approx(1)


def test_normal_and_bootstrap_intervals_agree_on_many_rows():
    log, target, model = simulate(2, 3000)
    for estimator in (
        ips,
        snips,
        lambda *a, **k: direct(*a, model, **k),
        lambda *a, **k: doubly_robust(*a, model, **k),
    ):
        normal, resampled = estimator(log, target), estimator(log, target, interval="bootstrap")
        width = normal.high - normal.low
        assert normal.low == pytest.approx(resampled.low, abs=0.15 * width)
        assert normal.high == pytest.approx(resampled.high, abs=0.15 * width)
        assert normal.value == resampled.value


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("method", ["ips", "snips", "doubly_robust"])
def test_unbiased_and_covering_over_200_replications(method, interval):
    inside, values = 0, []
    for seed in range(200):
        log, target, model = simulate(seed, 600)
        if method == "doubly_robust":
            got = doubly_robust(log, target, model, interval=interval)
        else:
            got = {"ips": ips, "snips": snips}[method](log, target, interval=interval)
        values.append(got.value)
        inside += got.low <= TRUTH <= got.high
    assert 0.90 <= inside / 200 <= 0.98
    assert abs(np.mean(values) - TRUTH) < 3 * np.std(values) / np.sqrt(200)


def test_an_unknown_or_zero_propensity_is_refused():
    for bad in (np.nan, 0.0, 1.5):
        with pytest.raises(SupportError, match="row 1"):
            Logged(
                actions=("a",),
                action=np.array([0, 0]),
                propensity=np.array([1.0, bad]),
                reward=np.array([1.0, 1.0]),
            )


def test_an_action_nobody_took_is_refused():
    log, target, _ = simulate(3, 200)
    wider = Logged(
        actions=("a", "b", "c", "new"),
        action=log.action,
        propensity=log.propensity,
        reward=log.reward,
    )
    with pytest.raises(SupportError, match="'new'"):
        ips(wider, np.hstack([target * 0.9, np.full((200, 1), 0.1)]))


def test_a_deterministic_log_has_no_support_for_another_choice():
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 500)
    log = Logged(
        actions=("a", "b"),
        action=action,
        propensity=np.ones(500),
        reward=rng.random(500),
    )
    with pytest.raises(SupportError, match="mean weight"):
        ips(log, np.tile([0.9, 0.1], (500, 1)))


def test_known_probabilities_of_zero_are_refused_row_by_row():
    log, target, _ = simulate(4, 300)
    known = np.tile([0.5, 0.5, 0.0], (300, 1))
    with pytest.raises(SupportError, match=r"300 rows.*\(c\)"):
        ips(replace(log, logging=known), target)


def test_too_small_an_effective_sample_is_refused():
    log, target, _ = simulate(5, 40)
    with pytest.raises(SupportError, match="effective sample size"):
        ips(log, target, min_ess=35)


def test_chances_that_do_not_sum_to_one_are_an_error():
    log, target, _ = simulate(6, 50)
    with pytest.raises(ConfigError, match="sum to 1"):
        ips(log, target * 0.5)


POOL = Pool([ModelCard(id="a"), ModelCard(id="b")])


class Says:
    async def complete(self, call, trace, emit=None):
        if call.model == "b" and trace.request.seed == 7:
            raise BackendError("down")
        return Reply(model=call.model, text=call.model)

    async def close(self):
        pass


def records(policy, n):
    for k in range(n):
        request = structs.replace(Request.of("x", id=f"r{k}"), seed=k)
        yield Record.of(asyncio.run(run_episode(policy, Says(), request, POOL)), policy=None)


def reward(record):
    return 1.0 if record.trace().answer == "b" else 0.0


def test_records_of_a_random_router_estimate_a_fixed_one():
    log = logged(records(Random(), 300), reward)
    target = asyncio.run(probabilities(Fixed("b"), log.requests, POOL))
    got = snips(log, target)
    assert got.low <= 1
    assert got.value > 0.98
    assert set(log.propensity) == {0.5}


def test_records_without_a_reward_are_left_out():
    log = logged(records(Random(), 20), lambda r: 1.0 if r.id in ("r1", "r2") else None)
    assert len(log) == 2
    with pytest.raises(SupportError, match="no record has a reward"):
        logged(records(Random(), 3), lambda _: None)


def test_records_of_several_rounds_are_refused():
    cascade = Cascade(order=("a", "b"), accept=bool)
    with pytest.raises(ConfigError, match="not a single final route"):
        logged(records(cascade, 1), reward)


def test_a_decision_without_a_propensity_is_refused():
    step = Step(Route(calls=(Call("a"),), final=True), (Reply(model="a", text="x"),))
    trace = Trace(Request.of("x"), POOL).with_step(step)
    with pytest.raises(SupportError, match="unknown"):
        logged([Record.of(trace, policy=None)], reward)
    answered = Trace(Request.of("x"), POOL).with_step(Step(Answer(text="x")))
    with pytest.raises(ConfigError, match="not a single final route"):
        logged([Record.of(answered, policy=None)], reward)


def test_drawn_probabilities_match_a_uniform_draw():
    chance = asyncio.run(probabilities(Random(), [Request.of("x")], POOL, draws=2000))
    assert chance.sum() == pytest.approx(1)
    assert chance[0, 0] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))


def test_a_bandit_states_its_chances_exactly():
    policy = Thompson(state=BetaState(wins={"": {"a": 9.0}}, losses={"": {"b": 2.0}}))
    request = Request.of("x")
    chance = asyncio.run(probabilities(policy, [request], POOL, draws=1))
    assert dict(zip(POOL.ids, chance[0], strict=True)) == policy.chances(Trace(request, POOL))
    again = [Trace(structs.replace(request, seed=k), POOL) for k in range(500)]
    drawn = [asyncio.run(policy.decide(trace)) for trace in again]
    share = np.mean([route.calls[0].model == "a" for route in drawn])
    assert chance[0, 0] == pytest.approx(share, abs=0.03)
