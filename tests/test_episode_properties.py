"""What holds for every policy, pool, latency and failure."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute import Answer, Budget, Call, ModelCard, Pool, Price, Reply, Request, Route, Usage
from polyroute.decision import Failure
from polyroute.episode import Episode, run_episode
from polyroute.errors import BackendError
from polyroute.ledger import prompt_bound
from polyroute.protocols import Delta, Method
from polyroute.trace import Step, Trace

IDS = ("a", "b", "c")

rates = st.sampled_from([Decimal(0), Decimal("0.0375"), Decimal(2), Decimal(50)])
prices = st.none() | st.builds(
    Price,
    input=rates,
    output=rates,
    cached=st.none() | rates,
    reasoning=st.none() | rates,
    call=st.decimals(0, "0.01", places=6),
)


@st.composite
def pools(draw):
    return Pool(
        ModelCard(
            id=name,
            kind=draw(st.sampled_from(["model", "model", "tool"])),
            price=draw(prices),
            context=draw(st.none() | st.integers(1, 5_000)),
            max_output=draw(st.none() | st.integers(1, 500)),
        )
        for name in IDS
    )


calls = st.builds(
    Call,
    model=st.sampled_from(IDS),
    prompt=st.none() | st.text("ab é\n漢", max_size=40),
    params=st.one_of(
        st.just({}),
        st.fixed_dictionaries({"max_tokens": st.integers(1, 300)}),
        st.fixed_dictionaries({"n": st.integers(1, 3)}),
    ),
)
routes = st.builds(
    Route,
    calls=st.lists(calls, min_size=1, max_size=4).map(tuple),
    final=st.sampled_from([False, False, False, True]),
    own=st.booleans(),
)
budgets = st.builds(
    Budget,
    usd=st.none() | st.decimals(0, "0.03", places=6),
    rounds=st.integers(1, 3),
    tokens=st.none() | st.integers(0, 3_000),
)


@dataclass
class Plan:
    """A policy that follows a list of routes, and answers when it is at its end or refused."""

    routes: list
    method = Method(when="multi-stage", what=(), how="heuristic")

    async def decide(self, trace: Trace):
        k = len(trace.steps)
        if k < len(self.routes):
            return self.routes[k]
        return Answer(text="end")


@dataclass
class Fate:
    """A backend whose replies use anything up to what they were allowed, or fail."""

    draws: list
    finished: int = 0

    async def complete(self, call, trace, emit=None):
        share, delay, fate = self.draws[
            (IDS.index(call.model) + len(trace.steps)) % len(self.draws)
        ]
        for _ in range(delay):
            await asyncio.sleep(0)
        if emit is not None and fate != "raises":
            await emit(Delta("x"))
        if fate == "raises":
            raise BackendError("down", billed=delay % 2 == 0)
        card = trace.pool.card(call.model)
        usage = Usage() if card.kind == "tool" else self.usage(call, trace, card, share)
        failure = Failure("unavailable", "cut") if fate == "fails" else None
        self.finished += 1
        return Reply(
            model=call.model, text="x", usage=None if fate == "unknown" else usage, failure=failure
        )

    def usage(self, call, trace, card, share):
        params = call.merged_params(trace.request)
        prompt = prompt_bound(call.messages(trace.request), params)
        prompt = int(min(prompt, card.context or prompt) * share)
        limits = [params.get("max_tokens"), card.max_output, card.context, 700]
        completion = int(min(x for x in limits if x is not None) * share) * params.get("n", 1)
        if len(trace.steps) % 2:
            return Usage(prompt, completion)
        return Usage(0, 0, prompt, completion)

    async def close(self):
        pass


fates = st.lists(
    st.tuples(
        st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0]),
        st.integers(0, 3),
        st.sampled_from(["good", "good", "good", "fails", "raises", "unknown"]),
    ),
    min_size=1,
    max_size=6,
)


def exact(reply, pool):
    """The price of a reply in exact rational arithmetic, from the definition."""
    price = pool.card(reply.model).price
    if reply.usage is None or price is None:
        return None
    cached = price.input if price.cached is None else price.cached
    reasoning = price.output if price.reasoning is None else price.reasoning
    tokens = (
        reply.usage.input * Fraction(price.input)
        + reply.usage.cached * Fraction(cached)
        + reply.usage.output * Fraction(price.output)
        + reply.usage.reasoning * Fraction(reasoning)
    )
    return Fraction(price.call) + tokens / 1_000_000


@settings(max_examples=300)
@given(pools(), st.lists(routes, min_size=3, max_size=8), budgets, fates)
def test_no_episode_exceeds_its_budget_and_every_bill_adds_up(pool, plan, budget, fate):
    request = replace(Request.of("how far is it?"), budget=budget)
    trace = asyncio.run(run_episode(Plan(plan), Fate(fate), request, pool))
    assert trace.rounds <= budget.rounds
    if budget.usd is not None:
        assert trace.bill.usd <= budget.usd
    if budget.tokens is not None:
        assert trace.usage.total <= budget.tokens
    known = [reply.usd for reply in trace.replies if reply.usd is not None]
    assert Fraction(trace.bill.usd) == sum(map(Fraction, known))
    for reply in trace.replies:
        if reply.ok:
            assert (None if reply.usd is None else Fraction(reply.usd)) == exact(reply, pool)


@given(pools(), st.lists(routes, min_size=1, max_size=4), budgets, fates, st.integers(0, 30))
def test_every_call_that_was_started_is_finished_failed_or_cancelled(
    pool, plan, budget, fate, patience
):
    async def main():
        request = replace(Request.of("how far is it?"), budget=budget)
        episode = Episode(Plan(plan), Fate(fate), request, pool)
        async with aclosing(episode.events()) as events:
            task = asyncio.ensure_future(anext(events, None))
            for _ in range(patience):
                await asyncio.sleep(0)
                if task.done():
                    if task.result() is None:
                        break
                    task = asyncio.ensure_future(anext(events, None))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        leftovers = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        return episode.trace, leftovers

    trace, leftovers = asyncio.run(main())
    assert leftovers == []
    for step in trace.steps:
        if isinstance(step.decision, Route):
            assert len(step.replies) == len(step.decision.calls)


@given(pools(), st.lists(routes, max_size=6), budgets, fates)
def test_a_replayed_prefix_gives_the_same_decision(pool, plan, budget, fate):
    policy = Plan(plan)
    request = replace(Request.of("how far is it?"), budget=budget)
    trace = asyncio.run(run_episode(policy, Fate(fate), request, pool))
    for k, step in enumerate(trace.steps):
        prefix = Trace(trace.request, trace.pool, trace.steps[:k])
        assert asyncio.run(policy.decide(prefix)) == step.decision


@given(st.lists(st.decimals(0, 1, places=12), max_size=30))
def test_a_bill_is_exact_whatever_its_order(prices):
    replies = [Reply(model="a", usd=usd) for usd in prices]
    pool = Pool([ModelCard(id="a")])
    trace = Trace(Request.of("x"), pool)
    forwards = trace.with_step(Step(Answer(), tuple(replies))).usd
    backwards = trace.with_step(Step(Answer(), tuple(reversed(replies)))).usd
    assert forwards == backwards == sum(prices, Decimal(0))
