import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute import Budget, Message, ModelCard, Pool, Price, Request, Trace, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.cheapest import Cheapest

POOL = Pool(
    [
        ModelCard(id="unknown"),
        ModelCard(id="big", price=Price.per_million(5, 15)),
        ModelCard(id="reader", price=Price.per_million(1, 2)),
        ModelCard(id="writer", price=Price.per_million(3, 1)),
        ModelCard(id="calc", kind="tool", price=Price()),
    ]
)


def run(policy, say, request=None, pool=POOL):
    return asyncio.run(run_episode(policy, Scripted(say), request or Request.of("hi"), pool))


def first(policy, request, pool=POOL):
    return asyncio.run(policy.decide(Trace(request, pool))).calls[0].model


def fail(model, prompt):
    raise BackendError(f"{model} is down")


def test_which_is_cheapest_depends_on_the_length_of_the_request():
    # 25 prompt tokens + 300 completion tokens: reader 625, writer 375 micro-dollars
    assert first(Cheapest(), Request.of("x" * 100)) == "writer"
    # 5,000 prompt tokens: reader 5,600, writer 15,300 micro-dollars
    assert first(Cheapest(), Request.of("x" * 20_000)) == "reader"


def test_the_whole_conversation_is_paid_for():
    history = Message("assistant", "x" * 20_000)
    request = replace(Request.of("hi"), messages=(history, Message("user", "hi")))
    assert first(Cheapest(), request) == "reader"


def test_an_unknown_price_comes_last_and_a_failure_goes_to_the_next():
    trace = run(Cheapest(), fail)
    assert [call.model for call in trace.calls] == ["writer", "reader", "big", "unknown"]
    assert trace.failure.message == "unknown is down"


def test_a_tool_is_chosen_only_when_named():
    assert first(Cheapest(models=("calc", "big")), Request.of("2+2")) == "calc"


def test_a_tie_goes_to_the_first_of_the_pool():
    pool = Pool(ModelCard(id=name, price=Price.per_million(1, 1)) for name in "ba")
    assert first(Cheapest(), Request.of("hi"), pool) == "b"


def test_the_reason_gives_the_expected_price():
    decision = asyncio.run(Cheapest().decide(Trace(Request.of("x" * 100), POOL)))
    assert decision.reason == "cheapest: $0.000375 expected"
    assert decision.propensity == 1.0


def test_a_budget_that_pays_for_nobody_ends_in_that_failure():
    budget = Budget(usd=Decimal("0.0000001"))
    trace = run(Cheapest(), lambda *_: "x", Request.of("hi", budget=budget))
    assert trace.failure.kind == "budget"
    assert trace.usd == 0


def test_the_rounds_of_the_budget_bound_the_tries():
    trace = run(Cheapest(), fail, Request.of("hi", budget=Budget(rounds=2)))
    assert len(trace.calls) == 2


def test_an_image_that_nobody_takes_is_said_so():
    picture = Message("user", ({"type": "image_url"},))
    trace = run(Cheapest(), fail, Request(id="q", messages=(picture,)))
    assert trace.failure.kind == "bad_request"


def test_a_negative_length_is_refused():
    with pytest.raises(ConfigError, match="completion_tokens must be 0 or more"):
        Cheapest(completion_tokens=-1)


@given(
    rates=st.lists(
        st.none() | st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6
    ),
    characters=st.integers(0, 5_000),
    tokens=st.integers(0, 2_000),
)
def test_nobody_is_expected_to_be_cheaper_than_the_chosen(rates, characters, tokens):
    pool = Pool(
        ModelCard(id=f"m{j}", price=None if rate is None else Price.per_million(*rate))
        for j, rate in enumerate(rates)
    )
    chosen = first(Cheapest(completion_tokens=tokens), Request.of("x" * characters), pool)
    rate = rates[int(chosen[1:])]
    known = [r[0] * (characters // 4) + r[1] * tokens for r in rates if r is not None]
    assert (rate is None and not known) or (
        rate is not None and rate[0] * (characters // 4) + rate[1] * tokens == min(known)
    )
