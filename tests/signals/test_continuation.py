"""Who answered before, and what its warm cache saves."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from polyroute import Budget, Message, ModelCard, Pool, Price, Request, Trace
from polyroute.errors import ConfigError
from polyroute.policies.greedy import Greedy
from polyroute.protocols import Method
from polyroute.records.codec import request_from_json, request_to_json
from polyroute.records.content import conceal_request
from polyroute.signals.continuation import (
    cache_saving_usd,
    previous_model,
    switch_cost,
    warm_tokens,
)
from polyroute.types import Conversation

LONG = Request(
    id="q",
    messages=(
        Message("user", "x" * 40_000),
        Message("assistant", "y" * 4_000),
        Message("user", "and?"),
    ),
)
CACHING = ModelCard(id="caching", price=Price.per_million(10, 10, cached=1))


def after(model, request=LONG, **more):
    return structs.replace(request, conversation=Conversation(id="c", model=model, **more))


def test_who_answered_is_what_the_conversation_says_else_the_message():
    assert previous_model(LONG) is None
    messages = (Message("assistant", "y", {"model": "told"}), Message("user", "z"))
    told = structs.replace(LONG, messages=messages)
    assert previous_model(told) == "told"
    assert previous_model(after("known", told)) == "known"


def test_a_request_may_say_what_leaving_costs():
    assert switch_cost(LONG, 0.1) == 0.1
    assert switch_cost(after("a"), 0.1) == 0.1
    assert switch_cost(after("a", switch_cost=0.0), 0.1) == 0.0
    with pytest.raises(ConfigError, match="switch_cost"):
        Conversation(switch_cost=1.5)


def test_a_warm_cache_saves_the_difference_of_two_prices():
    assert warm_tokens(LONG) == 11_000
    assert cache_saving_usd(CACHING, after("caching")) == pytest.approx(11_000 * 9e-6)
    assert cache_saving_usd(CACHING, after("other")) == 0
    assert cache_saving_usd(ModelCard(id="caching"), after("caching")) == 0
    plain = ModelCard(id="plain", price=Price.per_million(10, 10))
    assert cache_saving_usd(plain, after("plain")) == 0  # no price for cached tokens: no saving


class Says:
    """Predicts the same quality for everybody, and no prices."""

    method = Method(when="pre-generation", what=("query",), how="supervised")

    def __init__(self, **quality):
        self.quality = quality

    def fit(self, requests, target_NM, pool): ...

    def predict(self, requests, pool):
        import numpy as np

        return np.array([[self.quality[card.id] for card in pool]] * len(requests))

    def state(self): ...

    def restore(self, state): ...


def asked(policy, request):
    pool = Pool([CACHING, ModelCard(id="other", price=Price.per_million(4, 4))])
    return asyncio.run(policy.decide(Trace(request, pool))).calls[0].model


def test_greedy_stays_where_the_cache_is_warm_and_where_leaving_costs():
    alike = Greedy(Says(caching=0.8, other=0.8))
    paying = structs.replace(LONG, budget=Budget(usd_per_quality=1.0))
    assert asked(alike, paying) == "other"  # cheaper
    assert asked(alike, after("caching", paying)) == "caching"  # cheaper with its cache
    better = Greedy(Says(caching=0.7, other=0.8))
    assert asked(better, after("caching")) == "other"
    assert asked(better, after("caching", switch_cost=0.2)) == "caching"
    assert asked(replace(better, switch_cost=0.2), after("caching")) == "caching"
    assert asked(replace(better, switch_cost=0.2), after("caching", switch_cost=0.05)) == "other"


def test_a_record_keeps_the_conversation_and_conceals_its_name():
    request = after("a", switch_cost=0.25)
    wire = request_to_json(request)
    assert request_from_json(wire, "q") == request
    assert "conversation" not in request_to_json(LONG)
    hidden = conceal_request(wire, "hash")["conversation"]
    assert hidden["id"] != "c"
    assert hidden["model"] == "a"
