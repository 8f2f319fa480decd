"""The cache of calls."""

import asyncio

from polyroute import ModelCard, Pool
from polyroute.decision import Call, Failure
from polyroute.trace import Reply, Trace
from polyroute.train.r1.cache import Cached
from polyroute.types import Request, Usage


class Counting:
    """Answers, and counts how often it was asked; the first call fails when told to."""

    def __init__(self, fails=0):
        self.asked = 0
        self.fails = fails

    async def complete(self, call, trace, emit=None):
        self.asked += 1
        await asyncio.sleep(0)
        failure = Failure("timeout", "late") if self.asked <= self.fails else None
        return Reply(model=call.model, text=str(self.asked), usage=Usage(output=2), failure=failure)

    async def close(self):
        self.asked = -1


TRACE = Trace(Request.of("?"), Pool([ModelCard(id="a"), ModelCard(id="b")]))


def ask(cached, *calls):
    async def all_at_once():
        return await asyncio.gather(*(cached.complete(call, TRACE) for call in calls))

    return asyncio.run(all_at_once())


def test_the_same_call_is_made_once_even_at_the_same_time_and_keeps_its_usage():
    upstream = Counting()
    cached = Cached(upstream)
    replies = ask(cached, *[Call("a", "q")] * 5) + ask(cached, Call("a", "q"))
    assert upstream.asked == 1
    assert (cached.made, cached.saved) == (1, 5)
    assert {reply.usage for reply in replies} == {Usage(output=2)}


def test_another_candidate_question_or_parameter_is_another_call():
    upstream = Counting()
    ask(Cached(upstream), Call("a", "q"), Call("b", "q"), Call("a", "r"), Call("a", "q", {"n": 1}))
    assert upstream.asked == 4


def test_a_failed_call_is_made_again():
    upstream = Counting(fails=1)
    cached = Cached(upstream)
    assert not ask(cached, Call("a", "q"))[0].ok
    assert ask(cached, Call("a", "q"))[0].ok
