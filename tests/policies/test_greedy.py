import asyncio
import math
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyroute import Budget, Message, ModelCard, Pool, Price, Request, Trace
from polyroute.backends.scripted import Scripted
from polyroute.decision import Answer, Route
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.greedy import Greedy

POOL = Pool(
    [
        ModelCard(id="small", price=Price(call=Decimal("0.001"))),
        ModelCard(id="large", price=Price(call=Decimal("0.010")), context=1_000),
        ModelCard(id="unpriced", modalities=frozenset({"text", "image"})),
        ModelCard(id="tool", kind="tool", price=Price()),
    ]
)
numbers = st.none() | st.floats(-0.5, 1.5)


def decide(policy, request=None, pool=POOL, steps=()):
    return asyncio.run(policy.decide(Trace(request or Request.of("Why?"), pool, steps)))


def asked(policy, request=None, pool=POOL):
    decision = decide(policy, request, pool)
    assert isinstance(decision, Route)
    assert decision.final
    assert decision.propensity == 1.0
    (call,) = decision.calls
    return call.model


def paying(usd_per_quality, **limits):
    return Request.of("Why?", budget=Budget(usd_per_quality=usd_per_quality, **limits))


def test_the_best_is_asked_when_quality_is_all_that_counts(told):
    assert asked(Greedy(told(small=0.4, large=0.5))) == "large"


def test_the_price_decides_when_quality_is_worth_little(told):
    policy = Greedy(told(small=0.4, large=0.5), usd_per_quality=0.05)
    assert asked(policy) == "small"  # 0.009 more for 0.1 of quality worth 0.005
    assert asked(Greedy(told(small=0.4, large=0.5), usd_per_quality=0.2)) == "large"


def test_the_willingness_of_the_request_wins_and_zero_means_quality_only(told):
    policy = Greedy(told(small=0.4, large=0.5), usd_per_quality=0.05)
    assert asked(policy, paying(0.2)) == "large"
    assert asked(policy, paying(0.0)) == "large"
    assert asked(policy, paying(None)) == "small"


def test_predicted_costs_win_over_the_price_of_the_card(told):
    cost = told(small=math.log10(0.5), large=math.log10(0.0001))
    policy = Greedy(told(small=0.5, large=0.5), cost, usd_per_quality=1.0)
    assert asked(policy) == "large"


def test_a_card_of_unknown_quality_is_chosen_only_when_all_are_unknown(told):
    assert asked(Greedy(told(large=0.0))) == "large"
    assert asked(Greedy(told())) == "small"  # the cheapest, where nothing is known
    assert asked(Greedy(told(large=0.2, small=0.1), prior="mean", usd_per_quality=0.01)) == "small"
    assert asked(Greedy(told(large=0.1), prior="lowest")) == "small"


def test_a_tool_is_asked_only_when_it_is_named(told):
    quality = told(small=0.1, tool=0.9)
    assert asked(Greedy(quality)) == "small"
    assert asked(Greedy(quality, models=("tool", "small", "elsewhere"))) == "tool"


def test_an_unknown_price_is_not_a_low_one(told):
    quality = told(small=0.1, unpriced=0.9)
    assert asked(Greedy(quality)) == "unpriced"
    assert asked(Greedy(quality, usd_per_quality=1.0)) == "small"


def test_cards_that_cannot_take_the_request_are_left_out(told):
    quality = told(small=0.1, large=0.9, unpriced=0.2)
    assert asked(Greedy(quality), Request.of("x" * 4_001)) == "unpriced"
    picture = ({"type": "image_url", "image_url": {"url": "data:,"}},)
    request = Request(id="q", messages=(Message("user", picture),))
    assert asked(Greedy(quality), request) == "unpriced"
    only = decide(Greedy(quality, models=("small",)), request)
    assert isinstance(only, Answer)
    assert only.failure.kind == "bad_request"


def test_cards_that_are_dearer_than_what_is_left_are_left_out(told):
    quality = told(small=0.1, large=0.9)
    assert asked(Greedy(quality), paying(None, usd=Decimal("0.005"))) == "small"
    none = decide(Greedy(quality, models=("large",)), paying(None, usd=Decimal("0.005")))
    assert none.failure.kind == "budget"


def test_the_next_best_follows_a_failure(told):
    def say(model, prompt):
        if model != "small":
            raise BackendError("down")
        return "well"

    policy = Greedy(told(small=0.1, large=0.9, unpriced=0.5))
    trace = asyncio.run(run_episode(policy, Scripted(say), Request.of("Why?"), POOL))
    assert [call.model for call in trace.calls] == ["large", "unpriced", "small"]
    assert trace.answer == "well"
    assert "after 2 failed" in trace.steps[-1].decision.reason


def test_the_reason_has_the_numbers(told):
    reason = decide(Greedy(told(small=0.4, large=0.5), usd_per_quality=0.05)).reason
    assert reason == (
        "best at $0.05 per quality: small 0.400 for $0.001; large 0.500 for $0.01; "
        "unpriced ? for a price nobody knows"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(q=st.lists(numbers, min_size=3, max_size=3), w=st.sampled_from([None, 0.001, 0.1, 10.0]))
def test_it_agrees_with_a_search_over_all_cards(told, q, w):
    known = {c.id: x for c, x in zip(POOL, q, strict=False) if x is not None}
    usd = {"small": 0.001, "large": 0.01, "unpriced": None}

    def worth(name):
        quality = min(1, max(0, known[name]))
        return quality if w is None else quality - usd[name] / w

    chosen = asked(Greedy(told(**known), usd_per_quality=w))
    weighed = [name for name in known if w is None or usd[name] is not None]
    if weighed:
        assert chosen in weighed
        assert worth(chosen) >= max(map(worth, weighed)) - 1e-12


def test_negative_parameters_are_refused(told):
    with pytest.raises(ConfigError, match="usd_per_quality"):
        Greedy(told(), usd_per_quality=-1.0)
    with pytest.raises(ConfigError, match="completion_tokens"):
        Greedy(told(), completion_tokens=-1)
