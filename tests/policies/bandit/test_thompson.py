"""Thompson sampling, against Monte Carlo, closed forms and worlds whose truth is known."""

import asyncio
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute import Budget, Message, ModelCard, Pool, Price, Request, Trace
from polyroute.decision import Failure
from polyroute.errors import ConfigError
from polyroute.policies.bandit.thompson import BetaState, Thompson, chances_of_best
from polyroute.trace import Reply, Step

POOL = Pool([ModelCard(id=name) for name in "abc"])
KNOWN = BetaState(
    wins={"": {"a": 8.0, "b": 6.0, "c": 1.0}}, losses={"": {"a": 4.0, "b": 3.0, "c": 9.0}}
)


def decide(policy, trace):
    return asyncio.run(policy.decide(trace))


def of(seed, **more):
    return Trace(replace(Request.of("x"), seed=seed, **more), POOL)


counts = st.lists(st.tuples(st.floats(1, 300), st.floats(1, 300)), min_size=1, max_size=5)


@given(counts=counts)
@settings(max_examples=25, deadline=None)
def test_chances_agree_with_drawing_from_the_beta_distributions(counts):
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.beta(a, b, 20_000) for a, b in counts])
    seen = np.bincount(draws.argmax(axis=1), minlength=len(counts)) / 20_000
    got = chances_of_best(counts, np.zeros(len(counts)))
    assert got.sum() == pytest.approx(1)
    assert got == pytest.approx(seen, abs=0.02)


def test_chances_of_two_arms_agree_with_the_closed_form():
    # Beta(n, 1) is the largest of n uniforms: it wins over Beta(m, 1) with n / (n + m)
    got = chances_of_best([(5, 1), (3, 1)], np.zeros(2))
    assert got[0] == pytest.approx(5 / 8, abs=2e-3)


def test_a_handicap_is_taken_off_the_draw():
    rng = np.random.default_rng(1)
    draws = rng.beta(8, 4, 200_000) - 0.13, rng.beta(6, 6, 200_000)
    got = chances_of_best([(8, 4), (6, 6)], np.array([0.13, 0.0]))
    assert got[0] == pytest.approx((draws[0] > draws[1]).mean(), abs=0.005)


def test_propensities_sum_to_one_and_match_the_frequencies():
    policy = Thompson(state=KNOWN, epsilon=0.05)
    chances = policy.chances(of(0))
    assert sum(chances.values()) == pytest.approx(1)
    routes = [decide(policy, of(seed)) for seed in range(4_000)]
    seen = Counter(route.calls[0].model for route in routes)
    for model, chance in chances.items():
        error = np.sqrt(chance * (1 - chance) / 4_000)
        assert seen[model] / 4_000 == pytest.approx(chance, abs=4 * error)
        stated = {r.propensity for r in routes if r.calls[0].model == model}
        assert stated == {chance}


def test_no_candidate_is_below_its_share_of_epsilon():
    lost = BetaState(wins={"": {"a": 5e4}}, losses={"": {"b": 5e4, "c": 5e4}})
    chances = Thompson(state=lost, epsilon=0.03).chances(of(0))
    assert chances["b"] == pytest.approx(0.01)
    assert chances["a"] == pytest.approx(0.98)


def test_what_is_learned_in_one_context_stays_there():
    policy = Thompson(context=lambda request: request.prompt[:1], epsilon=0.0)
    trace = Trace(Request.of("maths"), POOL)
    route = decide(policy, trace)
    model = route.calls[0].model
    done = trace.with_step(Step(route, (Reply(model=model, text="4"),)))
    for _ in range(30):
        policy = policy.learned(done, 1.0)
    assert policy.predicted(done, model) == pytest.approx(31 / 32)
    other = Trace(Request.of("poem"), POOL)
    assert policy.predicted(other, model) == 0.5


def test_a_failure_counts_as_no_reward_but_a_refused_call_does_not():
    policy = Thompson()
    for kind, mean in (("unavailable", 1 / 3), ("budget", 1 / 2), ("refusal", 1 / 2)):
        route = decide(policy, of(0))
        model = route.calls[0].model
        reply = Reply(model=model, failure=Failure(kind, "no"))
        learned = policy.learned(of(0).with_step(Step(route, (reply,))), 0.0)
        assert learned.predicted(of(0), model) == pytest.approx(mean)


def test_after_a_failure_another_is_drawn_and_its_chance_is_of_what_is_left():
    policy = Thompson(state=KNOWN, epsilon=0.0)
    first = decide(policy, of(3))
    failed = Reply(model=first.calls[0].model, failure=Failure("timeout", "late"))
    then = of(3).with_step(Step(first, (failed,)))
    chances = policy.chances(then)
    assert first.calls[0].model not in chances
    assert sum(chances.values()) == pytest.approx(1)
    assert decide(policy, then).propensity == chances[decide(policy, then).calls[0].model]


PRICED = Pool(
    [
        ModelCard(id="cheap", price=Price(call=Decimal("0.001"))),
        ModelCard(id="dear", price=Price(call=Decimal("0.010"))),
        ModelCard(id="unknown"),
    ]
)
GOOD_CHEAP = BetaState(wins={"": {"cheap": 5.0}}, losses={"": {"cheap": 1.0}})


def test_what_is_too_dear_or_has_no_price_is_not_explored():
    trace = Trace(Request.of("x"), PRICED)
    assert set(Thompson(state=GOOD_CHEAP).chances(trace)) == {"cheap", "dear", "unknown"}
    capped = Thompson(state=GOOD_CHEAP, explore_usd=0.005).chances(trace)
    assert capped == {"cheap": 1.0, "dear": 0.0, "unknown": 0.0}
    wide = Thompson(state=GOOD_CHEAP, explore_usd=0.009).chances(trace)
    assert wide["dear"] > 0
    assert wide["unknown"] == 0


def test_all_exploring_together_never_costs_more_than_its_cap():
    policy = Thompson(explore_total_usd=0.1, epsilon=0.1)
    pool = PRICED.only(["cheap", "dear"])
    spent = 0.0
    for seed in range(400):
        trace = Trace(replace(Request.of("x"), seed=seed), pool)
        means = {model: policy.predicted(trace, model) for model in pool.ids}
        route = decide(policy, trace)
        model = route.calls[0].model
        best = max(pool.ids, key=lambda each: means[each])
        spent += 0.009 if (best, model) == ("cheap", "dear") else 0.0
        assert spent <= 0.1 + 1e-9
        reply = Reply(model=model, text="y")
        policy = policy.learned(trace.with_step(Step(route, (reply,))), float(model == "cheap"))
        assert policy.state.explored_usd == pytest.approx(spent)
    assert spent > 0.05


def test_willingness_to_pay_moves_the_choice_to_the_cheap_one():
    known = BetaState(
        wins={"": {"cheap": 60.0, "dear": 80.0}}, losses={"": {"cheap": 40.0, "dear": 20.0}}
    )
    policy = Thompson(models=("cheap", "dear"), state=known, epsilon=0.0)
    rich = Trace(replace(Request.of("x"), budget=Budget(usd_per_quality=1.0)), PRICED)
    poor = Trace(replace(Request.of("x"), budget=Budget(usd_per_quality=0.01)), PRICED)
    assert policy.chances(rich)["dear"] > 0.95
    assert policy.chances(poor)["cheap"] > 0.95


def test_a_conversation_stays_where_it_is_unless_leaving_gains_enough():
    messages = (
        Message("user", "x"),
        Message("assistant", "y", {"model": "b"}),
        Message("user", "z"),
    )
    trace = Trace(Request(id="q", messages=messages), POOL)
    free = Thompson(state=KNOWN, epsilon=0.0).chances(trace)
    bound = Thompson(state=KNOWN, epsilon=0.0, switch_cost=0.6).chances(trace)
    assert free["a"] > 0.3
    assert bound["b"] > 0.95


def test_parameters_out_of_range_are_refused():
    for wrong in (
        {"prior": (0.5, 1.0)},
        {"epsilon": 2.0},
        {"switch_cost": -1.0},
        {"explore_usd": -0.1},
        {"completion_tokens": -1},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Thompson(**wrong)
