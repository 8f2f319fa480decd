"""Learning while serving, in worlds whose best choice is known."""

import asyncio
import threading

import numpy as np
import pytest
from msgspec.structs import replace

from polyroute import ModelCard, Pool, Request, Trace
from polyroute.errors import ConfigError
from polyroute.policies.bandit.online import Online, PageHinkley
from polyroute.policies.bandit.thompson import Thompson
from polyroute.trace import Reply, Step

POOL = Pool([ModelCard(id=name) for name in "abc"])
WORLD = {"maths": [0.3, 0.5, 0.8], "poem": [0.7, 0.4, 0.2]}


def serve(online, quality_of, steps, *, seed=0):
    """Run `steps` requests; return the regret of each against the best choice."""
    rng = np.random.default_rng(seed)
    regrets = []
    for k in range(steps):
        prompt = ["maths", "poem"][k % 2]
        trace = Trace(replace(Request.of(prompt, id=str(k)), seed=k), POOL)
        route = asyncio.run(online.policy.decide(trace))
        model = route.calls[0].model
        quality = quality_of(prompt, k)
        mine = quality[POOL.index_of(model)]
        regrets.append(max(quality) - mine)
        done = trace.with_step(Step(route, (Reply(model=model, text="y"),)))
        online.update(done, float(rng.random() < mine))
    return np.array(regrets)


def by_prompt(request):
    return request.prompt


def test_regret_per_request_falls_towards_zero():
    online = Online(Thompson(context=by_prompt, epsilon=0.0))
    regret = serve(online, lambda prompt, _: WORLD[prompt], 800)
    uniform = np.mean([max(q) - np.mean(q) for q in WORLD.values()])
    assert regret[:200].mean() < uniform
    assert regret[600:].mean() < 0.25 * regret[:200].mean()


def shifted(prompt, k):
    return WORLD[prompt] if k < 600 else WORLD[prompt][::-1]


@pytest.mark.slow
def test_drift_is_found_and_recovered_from_sooner_than_without():
    seen = []
    watching = Online(
        Thompson(context=by_prompt), drift=PageHinkley(), keep=0.0, on_drift=seen.append
    )
    plain = Online(Thompson(context=by_prompt))
    after_watched = serve(watching, shifted, 1400)[800:].mean()
    after_plain = serve(plain, shifted, 1400)[800:].mean()
    assert {"a", "c"} <= set(seen)
    assert after_watched < 0.5 * after_plain


@pytest.mark.slow
def test_a_world_that_does_not_change_raises_no_alarm():
    seen = []
    online = Online(Thompson(context=by_prompt), drift=PageHinkley(), on_drift=seen.append)
    serve(online, lambda prompt, _: WORLD[prompt], 1200)
    assert seen == []


@pytest.mark.slow
def test_forgetting_alone_follows_a_change_too():
    forgetful = Online(Thompson(context=by_prompt), forgetting=0.98)
    plain = Online(Thompson(context=by_prompt))
    assert serve(forgetful, shifted, 1400)[900:].mean() < serve(plain, shifted, 1400)[900:].mean()


def test_an_old_policy_is_not_changed_by_what_comes_after():
    online = Online(Thompson())
    first = online.policy
    before = first.chances(Trace(Request.of("x"), POOL))
    serve(online, lambda *_: [1.0, 0.0, 0.0], 20)
    assert first.chances(Trace(Request.of("x"), POOL)) == before
    assert online.policy.chances(Trace(Request.of("x"), POOL)) != before


def test_no_update_from_many_threads_is_lost():
    online = Online(Thompson())
    trace = Trace(Request.of("x"), POOL)
    route = asyncio.run(online.policy.decide(trace))
    done = trace.with_step(Step(route, (Reply(model=route.calls[0].model, text="y"),)))
    threads = [
        threading.Thread(target=lambda: [online.update(done, 1.0) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = online.policy.state
    assert state.updates == 200
    assert state.wins[""][route.calls[0].model] == 200


def test_rewards_and_parameters_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="reward"):
        Online(Thompson()).update(Trace(Request.of("x"), POOL), 1.5)
    with pytest.raises(ConfigError, match="forgetting"):
        Online(Thompson(), forgetting=0.0)
    with pytest.raises(ConfigError, match="keep"):
        Online(Thompson(), keep=2.0)
    with pytest.raises(ConfigError, match="threshold"):
        PageHinkley(threshold=0.0)
