import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from polyroute import Budget, Message, ModelCard, Pool, Request, Trace, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError, UnknownModelError
from polyroute.policies.random import Random

POOL = Pool(
    [
        ModelCard(id="a"),
        ModelCard(id="b", kind="agent"),
        ModelCard(id="calc", kind="tool"),
        ModelCard(id="eye", modalities=frozenset({"text", "image"})),
    ]
)


def run(policy, say, request=None, pool=POOL):
    return asyncio.run(run_episode(policy, Scripted(say), request or Request.of("hi"), pool))


def drawn(policy, seed, pool=POOL):
    trace = Trace(replace(Request.of("hi"), seed=seed), pool)
    return asyncio.run(policy.decide(trace)).calls[0].model


def fail(model, prompt):
    raise BackendError("down")


def test_every_model_and_agent_is_drawn_equally_often_and_no_tool():
    counts = Counter(drawn(Random(), seed) for seed in range(3000))
    assert set(counts) == {"a", "b", "eye"}
    expected = 1000
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi2 < 13.8  # p = 0.001 at 2 degrees of freedom


def test_the_draw_depends_on_the_seed_alone():
    request = replace(Request.of("another question", id="other"), seed=7)
    other = asyncio.run(Random().decide(Trace(request, POOL))).calls[0].model
    assert other == drawn(Random(), 7)


def test_the_probability_is_that_of_the_draw():
    decision = asyncio.run(Random().decide(Trace(Request.of("hi"), POOL)))
    assert decision.propensity == pytest.approx(1 / 3)
    assert decision.final


def test_named_models_are_drawn_from_even_when_they_are_tools():
    names = {drawn(Random(models=("calc", "a")), seed) for seed in range(50)}
    assert names == {"calc", "a"}


def test_an_image_goes_only_where_images_are_taken():
    picture = Message("user", ({"type": "image_url", "image_url": {"url": "data:,"}},))
    trace = run(Random(), lambda model, _: model, Request(id="q", messages=(picture,)))
    assert trace.answer == "eye"


def test_an_input_that_nobody_takes_is_an_answer_that_says_so():
    picture = Message("user", ({"type": "image_url", "image_url": {"url": "data:,"}},))
    trace = run(Random(models=("a",)), lambda model, _: model, Request(id="q", messages=(picture,)))
    assert trace.failure.kind == "bad_request"
    assert "image" in trace.failure.message
    assert not trace.calls


def test_a_failure_draws_another_until_all_have_failed():
    trace = run(Random(), fail)
    assert sorted(call.model for call in trace.calls) == ["a", "b", "eye"]
    assert [step.decision.propensity for step in trace.steps[:-1]] == [1 / 3, 1 / 2, 1]
    assert trace.failure.kind == "unavailable"


def test_the_rounds_of_the_budget_bound_the_draws():
    trace = run(Random(), fail, Request.of("hi", budget=Budget(rounds=2)))
    assert len(trace.calls) == 2
    assert trace.failure.kind == "unavailable"


def test_a_large_pool_that_the_budget_refuses_ends_in_that_failure():
    pool = Pool(ModelCard(id=f"m{j}") for j in range(60))
    trace = run(Random(), lambda *_: "x", Request.of("hi", budget=Budget(usd=1, rounds=1)), pool)
    assert trace.failure.kind == "budget"


def test_an_unknown_name_is_an_error():
    with pytest.raises(UnknownModelError, match="'nobody' is not in the pool"):
        asyncio.run(Random(models=("nobody",)).decide(Trace(Request.of("hi"), POOL)))
