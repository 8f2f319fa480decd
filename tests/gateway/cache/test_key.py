"""Two requests that differ in anything that shapes the answer never share an entry."""

import asyncio
import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute.decision import Failure
from polyroute.gateway.cache.cache import Cache, Terms
from polyroute.gateway.cache.category import Category
from polyroute.gateway.cache.control import Control
from polyroute.gateway.cache.entries import InMemory
from polyroute.gateway.cache.key import key_of
from polyroute.gateway.caller import Caller
from polyroute.gateway.keeper import Keeper

TERMS = Terms(generation="g", categories=(Category(name="other", seconds=60),))

texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1, width=16) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": texts},
        optional={"name": texts},
    ),
    min_size=1,
    max_size=3,
)
names = st.sampled_from(["top_p", "max_tokens", "stop", "user", "response_format", "new_one"])
params = st.dictionaries(names.filter(lambda name: name != "max_tokens"), values, max_size=2)
options = st.fixed_dictionaries(
    {},
    optional={
        "max_rounds": st.integers(1, 3),
        "max_tokens": st.integers(0, 3),
        "max_seconds": st.integers(1, 3),
        "usd_per_quality": st.integers(0, 2),
        "allow": st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]),
        "switch_cost": st.sampled_from([0, 0.5]),
    },
)
bodies = st.builds(
    lambda messages, params, options, model: {
        **params, "model": model, "messages": messages, "polyroute": options,
    },
    messages, params, options, st.sampled_from(["polyroute", "polyroute/other", "a"]),
)  # fmt: skip
tenants = st.sampled_from(["one", "two"])

UNSHAPING = (
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"polyroute": {"trace": True}},
    {"polyroute": {"conversation": "c-1"}},
    {"polyroute": {"cache": True}},
    {"polyroute": {"cache_control": "max-age=1"}},
)


def _key(desk, tenant, body):
    key = key_of(Caller(id="k", tenant=tenant), desk.reader.read(body), generation="g")
    return None if key is None else key.exact


def _limits(said):
    """Return what the options come to, with the configured budget of 120 s and 4 rounds."""
    return (
        said.get("max_rounds", 4), said.get("max_tokens"), float(said.get("max_seconds", 120)),
        said.get("usd_per_quality"), tuple(said.get("allow", ["a", "b", "c"])),
        said.get("switch_cost") or None,
    )  # fmt: skip


def _shape(tenant, body):
    """Return everything that shapes an answer, worked out from the body alone."""
    rest = {name: value for name, value in body.items() if name != "polyroute"}
    text = json.dumps(rest, sort_keys=True)  # pairs of surrogates are not drawn
    return tenant, text, _limits(body["polyroute"])


@given(one=bodies, other=bodies, tenant=tenants, second=tenants)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_requests_have_one_key_exactly_when_nothing_that_shapes_the_answer_differs(
    desk, one, other, tenant, second
):
    same = _shape(tenant, one) == _shape(second, other)
    assert (_key(desk, tenant, one) == _key(desk, second, other)) == same


@given(body=bodies, name=names, value=values, text=texts, which=st.integers(0, 5))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_change_is_enough(desk, body, name, value, text, which):
    said = body["polyroute"]
    changed = [
        {**body, name: 7 if name == "max_tokens" else [value, "changed"]},
        {**body, "messages": [*body["messages"], {"role": "user", "content": text}]},
        {**body, "messages": [{"role": "system", "content": text}, *body["messages"]]},
        {**body, "messages": [*body["messages"][:-1], {"role": "user", "content": text + "·"}]},
        {**body, "model": {"polyroute": "polyroute/other"}.get(body["model"], "polyroute")},
        {**body, "polyroute": {**said, "max_rounds": said.get("max_rounds", 4) % 3 + 1}},
    ][which]
    assert _key(desk, "one", changed) != _key(desk, "one", body)
    assert _key(desk, "two", body) != _key(desk, "one", body)


@pytest.mark.parametrize("more", UNSHAPING, ids=str)
def test_how_an_answer_is_sent_does_not_separate_requests(desk, more):
    body = {"model": "polyroute", "messages": [{"role": "user", "content": "x"}], "polyroute": {}}
    assert _key(desk, "one", {**body, **more}) == _key(desk, "one", body)


def test_who_answered_a_conversation_last_separates_requests(desk):
    asked = desk.ask(polyroute={"conversation": "c"})
    known = replace(asked.request.conversation, model="a")
    caller = Caller(id="k")
    changed = replace(asked, request=replace(asked.request, conversation=known))
    one, other = (key_of(caller, which, generation="g") for which in (asked, changed))
    assert one != other


def test_another_configuration_gives_no_answer_of_this_one(desk):
    asked, caller = desk.ask(), Caller(id="k")
    one, other = (key_of(caller, asked, generation=name) for name in ("g", "h"))
    assert one != other


def test_nothing_crosses_tenants_and_keys_of_one_tenant_share(desk):
    async def run():
        cache = Cache(InMemory(10**6), TERMS, Keeper(None))
        asked = desk.ask()
        alice, again, bob = (
            Caller(id=id, tenant=tenant) for id, tenant in (("1", "a"), ("2", "a"), ("3", "b"))
        )
        await cache.remember(alice, asked, desk.answer(asked))
        assert await cache.recall(bob, desk.ask()) is None
        assert (await cache.recall(again, desk.ask())).trace.answer == "an answer"

    asyncio.run(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
        {"finish_reason": "tool_calls"},
        {"failure": Failure("cancelled", "the client went")},
        {"text": ""},
        {"fields": {"refusal": "I will not"}},
        {"fields": {"tool_calls": [{"id": "1"}]}},
        {"fields": {"audio": {"id": "1"}}},
    ],
    ids=str,
)
def test_an_answer_that_is_not_whole_is_not_remembered(desk, changes):
    async def run():
        cache = Cache(InMemory(10**6), TERMS, Keeper(None))
        asked, caller = desk.ask(), Caller(id="k")
        await cache.remember(caller, asked, desk.answer(asked, **changes))
        assert await cache.recall(caller, asked) is None
        assert (cache.counts.stored, cache.counts.unfit) == (0, 1)

    asyncio.run(run())


def test_an_answer_is_good_for_its_time_and_what_it_saved_is_counted(desk):
    async def run():
        now = [1_000.0]
        entries = InMemory(10**6, clock=lambda: now[0])
        cache = Cache(entries, TERMS, Keeper(None), clock=lambda: now[0])
        asked, caller = desk.ask(), Caller(id="k")
        await cache.remember(caller, asked, desk.answer(asked))
        now[0] += 59
        found = await cache.recall(caller, desk.ask())
        assert (found.recalled.age_s, found.recalled.usd) == (59, Decimal("0.001"))
        assert (
            await cache.recall(caller, desk.ask(polyroute={"cache_control": "max-age=58"})) is None
        )
        now[0] += 1
        assert await cache.recall(caller, desk.ask()) is None
        counts = cache.counts
        assert (counts.same, counts.misses, counts.saved_usd) == (1, 2, Decimal("0.001"))

    asyncio.run(run())


@given(st.text(max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_cache_control_can_be_read(text):
    Control.parse(text)


def test_an_unreadable_age_is_none_at_all():
    assert Control.parse("max-age=soon").max_age_s == 0
    assert Control.parse('max-age="5", max-age=9').max_age_s == 5
