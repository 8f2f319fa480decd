"""LinUCB, against the formulas of the paper and a world whose best choice is known."""

import asyncio
import json
from collections import Counter
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pytest
from msgspec.structs import replace

from polyroute import ModelCard, Pool, Price, Request, Trace
from polyroute.errors import ConfigError
from polyroute.policies.bandit.linucb import LinearState, LinUCB
from polyroute.policies.bandit.online import Online, PageHinkley
from polyroute.trace import Reply, Step

POOL = Pool([ModelCard(id=name) for name in "ab"])
PROMPTS = [
    "solve the equation for x", "prove the theorem by induction", "integrate this function",
    "write a poem about autumn", "tell a story of the sea", "compose a song for my friend",
]  # fmt: skip


def of(prompt, seed=0, pool=POOL):
    return Trace(replace(Request.of(prompt), seed=seed), pool)


def decide(policy, trace):
    return asyncio.run(policy.decide(trace))


def asked(policy, trace, model=None):
    route = decide(policy, trace)
    return trace.with_step(Step(route, (Reply(model=model or route.calls[0].model, text="y"),)))


def test_mean_and_bound_are_those_of_ridge_regression():
    policy = LinUCB(dimensions=8, alpha=0.7, ridge=2.0, epsilon=0.0)
    rng = np.random.default_rng(0)
    seen = []
    for k in range(30):
        trace = asked(policy, of(PROMPTS[k % 6], k), "a")
        reward = float(rng.random() < 0.6)
        seen.append((policy.context(PROMPTS[k % 6]), reward))
        policy = policy.learned(trace, reward)
    x_ND, r_N = np.array([x for x, _ in seen]), np.array([r for _, r in seen])
    inverse = np.linalg.inv(x_ND.T @ x_ND + 2.0 * np.eye(8))
    x = policy.context(PROMPTS[1])
    mean = 0.5 + x @ inverse @ x_ND.T @ (r_N - 0.5)
    assert policy.predicted(of(PROMPTS[1]), "a") == pytest.approx(mean)
    bound_a = mean + 0.7 * np.sqrt(x @ inverse @ x)
    bound_b = 0.5 + 0.7 * np.sqrt(x @ x / 2.0)
    best = "a" if bound_a > bound_b else "b"
    assert policy.chances(of(PROMPTS[1]))[best] == 1.0


def test_the_context_is_the_same_every_time_and_of_length_one_beside_its_constant():
    policy = LinUCB(dimensions=16)
    x = policy.context("solve the equation")
    assert x[0] == 1.0
    assert np.linalg.norm(x[1:]) == pytest.approx(1.0)
    assert np.array_equal(x, LinUCB(dimensions=16).context("solve the equation"))
    assert policy.context("").tolist() == [1.0] + [0.0] * 15
    assert LinUCB(dimensions=1).context("solve").tolist() == [1.0]


def test_a_dense_encoder_will_do():
    class Dense:
        def fit(self, texts):
            return self

        def encode(self, texts):
            return np.ones((len(texts), 5), np.float32)

        def state(self):
            raise NotImplementedError

        def restore(self, state):
            return self

    assert np.linalg.norm(LinUCB(encoder=Dense(), dimensions=64).context("x")[1:]) == pytest.approx(
        1
    )


def test_propensities_sum_to_one_and_match_the_frequencies():
    policy = LinUCB(epsilon=0.3)
    chances = policy.chances(of(PROMPTS[0]))
    assert sorted(chances.values()) == pytest.approx([0.15, 0.85])
    routes = [decide(policy, of(PROMPTS[0], seed)) for seed in range(600)]
    seen = Counter(route.calls[0].model for route in routes)
    for model, chance in chances.items():
        error = np.sqrt(chance * (1 - chance) / 600)
        assert seen[model] / 600 == pytest.approx(chance, abs=4 * error)
        assert {r.propensity for r in routes if r.calls[0].model == model} == {chance}


def quality(prompt, model):
    """Model a is for mathematics (the first three prompts), model b for the rest."""
    return 0.9 if (PROMPTS.index(prompt) < 3) == (model == "a") else 0.2


def run(online, steps, swapped_at=10**9):
    rng = np.random.default_rng(1)
    regret = []
    for k in range(steps):
        prompt = PROMPTS[rng.integers(6)]
        done = asked(online.policy, of(prompt, k))
        model = done.replies[0].model
        if k >= swapped_at:
            model = {"a": "b", "b": "a"}[model]
        value = quality(prompt, model)
        regret.append(0.9 - value)
        online.update(done, float(rng.random() < value))
    return np.array(regret)


def test_it_learns_who_is_good_at_what():
    online = Online(LinUCB(epsilon=0.0))
    regret = run(online, 250)
    assert regret[200:].mean() < 0.03
    for prompt in PROMPTS:
        best = "a" if PROMPTS.index(prompt) < 3 else "b"
        assert online.policy.chances(of(prompt))[best] == 1.0


@pytest.mark.slow
def test_it_finds_its_way_after_the_candidates_change_places():
    seen = []
    watching = Online(LinUCB(), drift=PageHinkley(), on_drift=seen.append)
    plain = Online(LinUCB())
    after_watched = run(watching, 900, swapped_at=400)[500:].mean()
    after_plain = run(plain, 900, swapped_at=400)[500:].mean()
    assert seen
    assert after_watched < after_plain


def test_what_is_too_dear_is_not_explored():
    pool = Pool(
        [
            ModelCard(id="cheap", price=Price(call=Decimal("0.001"))),
            ModelCard(id="dear", price=Price(call=Decimal("0.010"))),
        ]
    )
    open_, capped = LinUCB(epsilon=0.2), LinUCB(epsilon=0.2, explore_usd=0.005)
    assert open_.chances(of("x", pool=pool))["dear"] == pytest.approx(0.1)
    assert capped.chances(of("x", pool=pool)) == {"cheap": 1.0, "dear": 0.0}


def test_all_exploring_together_never_costs_more_than_its_cap():
    pool = Pool(
        [
            ModelCard(id="cheap", price=Price(call=Decimal("0.001"))),
            ModelCard(id="dear", price=Price(call=Decimal("0.010"))),
        ]
    )
    policy = LinUCB(dimensions=4, epsilon=0.3, explore_total_usd=0.05)
    for seed in range(150):
        trace = asked(policy, of("x", seed, pool))
        policy = policy.learned(trace, float(trace.replies[0].model == "cheap"))
        assert policy.state.explored_usd <= 0.05 + 1e-9
    assert policy.state.explored_usd > 0.02


def test_the_state_is_plain_values():
    policy = LinUCB(dimensions=4)
    policy = policy.learned(asked(policy, of("x")), 1.0)
    again = LinearState(**json.loads(json.dumps(asdict(policy.state))))
    restored = LinUCB(dimensions=4, state=again)
    assert restored.chances(of("y")) == policy.chances(of("y"))
    with pytest.raises(ConfigError, match="dimensions"):
        LinUCB(dimensions=5, state=again)


def test_parameters_out_of_range_are_refused():
    for wrong in ({"dimensions": 0}, {"alpha": -1.0}, {"ridge": 0.0}, {"epsilon": 1.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            LinUCB(**wrong)
