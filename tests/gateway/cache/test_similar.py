"""When another question's answer is given."""

import asyncio
import math

import numpy as np
import pytest

from polyroute.errors import BackendError, ConfigError
from polyroute.gateway.cache.cache import Cache, Terms
from polyroute.gateway.cache.category import Category
from polyroute.gateway.cache.entries import InMemory
from polyroute.gateway.cache.similar import Similar
from polyroute.gateway.caller import Caller
from polyroute.gateway.keeper import Keeper
from polyroute.policies.rules import Rule
from polyroute.signals.encoders.hashed import Hashed
from polyroute.state.memory import MemoryState

ME = Caller(id="k", tenant="mine")
OTHER = Category(name="other", seconds=60, threshold=0.9)


ANGLES = {"a question": 0, "hi": 0, "hello": 10, "hey": 20, "bye": 90}


class Words:
    """A question's direction in the plane is that of its first word."""

    def fit(self, texts):
        return self

    def encode(self, texts):
        angles = [math.radians(ANGLES[text.split(":")[0]]) for text in texts]
        return np.array([[math.cos(angle), math.sin(angle)] for angle in angles], np.float32)


def _cache(*categories, encoder=None, most=100, entries=None, clock=lambda: 1_000.0):
    entries = entries or InMemory(10**6, clock=clock)
    similar = Similar(encoder or Words(), entries, most=most)
    terms = Terms(generation="g", categories=(*categories, OTHER))
    return Cache(entries, terms, Keeper(None), similar=similar, clock=clock)


async def _learn(cache, desk, text, caller=ME, **body):
    asked = desk.ask(text, **body)
    await cache.remember(caller, asked, desk.answer(asked, f"to {text}"))


async def _answer(cache, desk, text, caller=ME, **body):
    outcome = await cache.recall(caller, desk.ask(text, **body))
    return None if outcome is None else outcome.trace.answer


@pytest.mark.parametrize("entries", [None, MemoryState], ids=["own", "shared"])
def test_a_question_that_is_like_one_gets_its_answer_and_the_likest_wins(desk, entries):
    async def run():
        cache = _cache(entries=entries and entries(clock=lambda: 1_000.0))
        await _learn(cache, desk, "hey")
        assert await _answer(cache, desk, "hi") == "to hey"  # 20 degrees: 0.94
        await _learn(cache, desk, "hello")
        outcome = await cache.recall(ME, desk.ask("hi"))
        assert outcome.trace.answer == "to hello"
        about = outcome.trace.steps[-1].decision.fields["cache"]
        assert (about["kind"], round(about["similarity"], 2)) == ("alike", 0.98)
        assert await _answer(cache, desk, "bye") is None
        assert (cache.counts.alike, cache.counts.same, cache.counts.misses) == (2, 0, 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"caller": Caller(id="k", tenant="theirs")},
        {"before": ({"role": "system", "content": "Answer in French."},)},
        {"max_tokens": 5},
        {"model": "polyroute/other"},
        {"model": "a"},
        {"polyroute": {"deny": ["c"]}},
    ],
    ids=str,
)
def test_likeness_is_asked_for_only_where_nothing_else_differs(desk, changes):
    async def run():
        cache = _cache()
        await _learn(cache, desk, "hello")
        assert await _answer(cache, desk, "hi", **changes) is None

    asyncio.run(run())


def test_numbers_quotations_and_code_must_be_the_same(desk):
    async def run():
        cache = _cache()
        await _learn(cache, desk, 'hello: 17 and "yes"')
        assert await _answer(cache, desk, 'hi: 18 and "yes"') is None
        assert await _answer(cache, desk, 'hi: 17 and "no"') is None
        assert await _answer(cache, desk, 'hi: "yes" 17') is None
        assert await _answer(cache, desk, 'hi: it is 17, "yes"') is not None

    asyncio.run(run())


def test_a_category_has_its_own_threshold_and_its_own_lifetime(desk):
    async def run():
        now = [1_000.0]
        strict = Category(name="code", seconds=600, rule=Rule(to="code", matches="python"))
        loose = Category(
            name="short", seconds=5, threshold=0.97, rule=Rule(to="short", matches="short")
        )
        cache = _cache(strict, loose, clock=lambda: now[0])
        await _learn(cache, desk, "hello: python")
        assert await _answer(cache, desk, "hi: python") is None  # the same ones only
        await _learn(cache, desk, "hey: short")
        assert await _answer(cache, desk, "hi: short") is None  # 0.94
        assert await _answer(cache, desk, "hello: short") == "to hey: short"  # 0.98
        assert await _answer(cache, desk, "hello") is None  # of no category
        now[0] += 6
        assert await _answer(cache, desk, "hello: short") is None
        assert await _answer(cache, desk, "hey: short") is None
        assert await _answer(cache, desk, "hello: python") == "to hello: python"

    asyncio.run(run())


def test_only_so_many_questions_are_compared_and_the_newest_are_kept(desk):
    async def run():
        cache = _cache(encoder=Words(), most=1)
        await _learn(cache, desk, "bye")
        await _learn(cache, desk, "hello")
        assert await _answer(cache, desk, "hi") == "to hello"
        assert await _answer(cache, desk, "bye: again") is None
        assert await _answer(cache, desk, "bye") == "to bye"  # the same is still known

    asyncio.run(run())


def test_an_encoder_that_fails_costs_a_call_and_no_answer(desk):
    class Fails(Words):
        def encode(self, texts):
            if texts != ["a question"]:
                raise BackendError("the encoder is down", kind="unavailable")
            return super().encode(texts)

    async def run():
        cache = _cache(encoder=Fails())
        await _learn(cache, desk, "hello")
        assert await _answer(cache, desk, "hi") is None
        assert await _answer(cache, desk, "hello") == "to hello"
        assert cache.counts.errors == 1

    asyncio.run(run())


def test_an_encoder_with_very_wide_rows_is_refused():
    with pytest.raises(ConfigError, match="use an embedding"):
        Similar(Hashed(bits=18), InMemory(1), most=1)


def test_sparse_rows_can_be_compared(desk):
    async def run():
        cache = _cache(encoder=Hashed(bits=10))
        await _learn(cache, desk, "What is the capital of Peru?")
        assert await _answer(cache, desk, "what is the capital of Peru ?") is not None
        assert await _answer(cache, desk, "Sing me a song") is None

    asyncio.run(run())
