import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

import pytest

from polyroute import Budget, Call, ModelCard, Pool, Price, Reply, Request, Route, Usage
from polyroute.backends.scripted import Scripted
from polyroute.decision import Answer, Failure
from polyroute.episode import Decided, Episode, Finished, Replied, Streamed, run_episode
from polyroute.episode import stream_episode as stream
from polyroute.errors import BackendError, PolicyError, RateLimitError, RefusalError
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Delta, Method
from polyroute.trace import Trace

POOL = Pool(
    [
        ModelCard(id="small", price=Price.per_million("0.1", "0.1"), max_output=100),
        ModelCard(id="large", price=Price.per_million(5, 15), max_output=100),
        ModelCard(id="unpriced", max_output=100),
        ModelCard(id="calc", kind="tool", price=Price(call=Decimal("0.001"))),
    ]
)


def say(model: str, prompt: str) -> str:
    return {"small": "Lyon", "large": "Paris"}.get(model, f"{model}: {prompt}")


def run(policy, backend=None, *, pool=POOL, **budget) -> Trace:
    request = Request.of("capital of France?", budget=Budget(**budget))
    return asyncio.run(run_episode(policy, backend or Scripted(say), request, pool))


@dataclass
class Scenes:
    """A policy that plays its decisions in order; past the last it gives up."""

    scenes: list
    method = Method(when="multi-stage", what=(), how="heuristic")

    async def decide(self, trace):
        k = len(trace.steps)
        return self.scenes[k] if k < len(self.scenes) else trace.give_up()


@dataclass
class Failing:
    """A backend that raises what it is given, or returns it."""

    outcome: object
    calls: list = field(default_factory=list)

    async def complete(self, call, trace, emit=None):
        self.calls.append(call)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    async def close(self):
        pass


class Hanging:
    """A backend that never replies, and notices when it is cancelled."""

    def __init__(self):
        self.started = []
        self.cancelled = []

    async def complete(self, call, trace, emit=None):
        self.started.append(call.model)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(call.model)
            raise

    async def close(self):
        pass


def route(*models, **fields):
    return Route(calls=tuple(Call(model) for model in models), **fields)


def test_a_final_route_relays_its_reply_as_the_answer():
    trace = run(Fixed("large"))
    assert trace.answer == "Paris"
    assert trace.failure is None
    assert trace.rounds == 1


def test_the_bill_is_the_sum_of_tokens_times_rates():
    trace = run(Scenes([route("small", "large"), Answer(text="done")]))
    # Three prompt words and one completion word each, at 0.1 / 0.1 and 5 / 15 per million.
    assert trace.usd == Decimal("0.0000004") + Decimal("0.00003")
    assert trace.usd == sum((reply.usd for reply in trace.replies), Decimal(0))


def test_calls_of_one_route_run_side_by_side():
    both = asyncio.Event()
    waiting = []

    class Meeting:
        async def complete(self, call, trace, emit=None):
            waiting.append(call.model)
            if len(waiting) == 2:
                both.set()
            await both.wait()
            return Reply(model=call.model, text=call.model)

        async def close(self):
            pass

    trace = run(Scenes([route("large", "small"), Answer(text="met")]), Meeting())
    assert [reply.text for reply in trace.replies] == ["large", "small"]


def test_an_unknown_candidate_is_a_policy_error_that_lists_the_known_ones():
    with pytest.raises(PolicyError, match=r"'nope' is not in the pool \(small, large"):
        run(Fixed("nope"))


@pytest.mark.parametrize(
    ("error", "kind", "usd"),
    [
        (BackendError("down", status=503), "unavailable", Decimal(0)),
        (RateLimitError("slow down", retry_after_s=3.0), "rate_limit", Decimal(0)),
        (RefusalError("not mine"), "refusal", Decimal(0)),
        (BackendError("cut", billed=True), "unavailable", None),
        (KeyError("a bug"), "backend", None),
        (asyncio.CancelledError(), "backend", None),
    ],
    ids=["503", "429", "refusal", "billed", "bug", "stray cancellation"],
)
def test_a_failed_call_is_data(error, kind, usd):
    trace = run(Fixed("small"), Failing(error))
    assert trace.answer is None
    assert trace.failure.kind == kind
    assert trace.replies[0].usd == usd


def test_a_reply_that_failed_after_it_was_billed_counts():
    failed = Reply(model="large", usage=Usage(1_000_000), failure=Failure("refusal", "no"))
    assert run(Fixed("large"), Failing(failed)).usd == Decimal(5)


def test_an_unknown_price_makes_the_bill_unknown_not_free():
    trace = run(Scenes([route("small", "unpriced"), Answer(text="done")]))
    assert trace.usd is None
    assert trace.bill.unknown == 1
    assert trace.bill.usd == trace.replies[0].usd


def test_a_policy_may_ask_again_when_a_final_route_failed():
    class Down:
        async def complete(self, call, trace, emit=None):
            if call.model == "large":
                raise BackendError("down")
            return Reply(model=call.model, text="rescued")

        async def close(self):
            pass

    trace = run(Scenes([route("large", final=True), route("small", final=True)]), Down())
    assert trace.answer == "rescued"


def test_a_policy_that_never_answers_is_a_policy_error():
    class Endless:
        method = Method(when="multi-stage", what=(), how="heuristic")

        async def decide(self, trace):
            return route("small")

    with pytest.raises(PolicyError, match="without an answer"):
        run(Endless(), rounds=2)


def test_a_policy_that_raises_is_a_policy_error_with_its_cause():
    class Broken:
        method = Method(when="multi-stage", what=(), how="heuristic")

        async def decide(self, trace):
            return 1 / 0

    with pytest.raises(PolicyError, match="Broken: ZeroDivisionError") as caught:
        run(Broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("decision", [None, "small", Route(calls=())])
def test_something_that_is_no_decision_is_a_policy_error(decision):
    with pytest.raises(PolicyError, match=r"decision|one call or more"):
        run(Scenes([decision]))


# Budgets


def test_a_call_whose_worst_case_does_not_fit_is_not_made():
    backend = Failing(Reply(model="large", text="Paris"))
    trace = run(Fixed("large"), backend, usd=Decimal("0.00000001"))
    assert backend.calls == []
    assert trace.failure.kind == "budget"
    assert "'large'" in trace.failure.message
    assert trace.usd == 0


def test_parallel_calls_share_one_budget():
    # Each call may cost 16 + 58 prompt bytes at most and 100 completion tokens, at 5 and 15.
    one = run(Fixed("large"), usd=Decimal("0.003"))
    assert one.answer == "Paris"
    trace = run(Scenes([route("large", "large", "large"), Answer(text="x")]), usd=Decimal("0.004"))
    assert [reply.ok for reply in trace.replies] == [True, True, False]


def test_a_budget_in_usd_refuses_a_card_whose_price_is_unknown():
    trace = run(Fixed("unpriced"), usd=Decimal(1))
    assert "price of 'unpriced' is unknown" in trace.failure.message


def test_rounds_that_are_used_up_are_refused_and_the_policy_is_told():
    trace = run(Scenes([route("small"), route("small"), Answer(text="enough")]), rounds=1)
    assert [reply.ok for reply in trace.replies] == [True, False]
    assert trace.rounds == 1
    assert trace.answer == "enough"


def test_the_policys_own_calls_are_billed_but_are_no_rounds():
    trace = run(Scenes([route("small", own=True), route("small"), Answer(text="x")]), rounds=1)
    assert trace.rounds == 1
    assert all(reply.ok for reply in trace.replies)
    assert trace.usd == Decimal("0.0000008")


def test_a_call_without_a_limit_is_given_the_one_that_the_budget_pays():
    pool = Pool([ModelCard(id="m", price=Price.per_million(0, 10))])
    backend = Failing(Reply(model="m", text="x", usage=Usage(0, 50)))
    run(Fixed("m"), backend, pool=pool, usd=Decimal("0.0005"))
    assert backend.calls[0].params == {"max_tokens": 50}


def test_a_limit_of_its_own_is_never_changed():
    pool = Pool([ModelCard(id="m", price=Price.per_million(0, 10))])
    backend = Failing(Reply(model="m", text="x"))
    request = Request(
        id="q",
        messages=Request.of("hi").messages,
        params={"max_tokens": 51},
        budget=Budget(usd=Decimal("0.0005")),
    )
    trace = asyncio.run(run_episode(Fixed("m"), backend, request, pool))
    assert trace.failure.kind == "budget"


def test_an_unknown_usage_keeps_its_worst_case_reserved():
    backend = Failing(Reply(model="large", text="?", usage=None))
    scenes = Scenes([route("large"), route("large"), Answer(text="x")])
    trace = run(scenes, backend, usd=Decimal("0.0022"))
    assert [reply.ok for reply in trace.replies] == [True, False]
    assert trace.usd is None


def test_a_budget_in_tokens_holds():
    trace = run(Scenes([route("small"), route("small"), Answer(text="x")]), tokens=190)
    assert [reply.ok for reply in trace.replies] == [True, True]
    trace = run(Scenes([route("small"), route("small"), Answer(text="x")]), tokens=100)
    assert trace.usage.total <= 100


def test_a_call_that_runs_past_the_deadline_is_cut_off_and_the_policy_answers():
    backend = Hanging()
    trace = run(
        Scenes([route("small"), route("small"), Answer(text="late")]), backend, seconds=0.05
    )
    assert backend.cancelled == ["small"]
    assert [reply.failure.kind for reply in trace.replies] == ["timeout", "budget"]
    assert trace.answer == "late"


# Streaming and cancellation


def collect(policy, backend, request=None):
    async def main():
        return [e async for e in stream(policy, backend, request or Request.of("hi you"), POOL)]

    return asyncio.run(main())


def test_events_come_in_the_order_in_which_things_happen():
    scenes = Scenes([route("small", own=True), route("calc", final=True)])
    events = collect(scenes, Scripted(say))
    assert [type(event) for event in events] == [
        Decided, Replied, Decided, Streamed, Streamed, Streamed, Replied, Finished
    ]  # fmt: skip
    pieces = "".join(event.delta.text for event in events if isinstance(event, Streamed))
    assert pieces == events[-1].trace.answer == "calc: hi you"


def test_a_backend_that_cannot_stream_is_streamed_in_one_piece():
    events = collect(Fixed("small"), Failing(Reply(model="small", text="whole")))
    assert [e.delta.text for e in events if isinstance(e, Streamed)] == ["whole"]


def test_a_stream_that_breaks_ends_the_episode_because_it_cannot_be_unsaid():
    class Cut:
        async def complete(self, call, trace, emit=None):
            await emit(Delta("Par"))
            failure = Failure("unavailable", "cut")
            return Reply(model=call.model, text="Par", failure=failure, usage=None)

        async def close(self):
            pass

    scenes = Scenes([route("large", final=True), route("small", final=True)])
    trace = collect(scenes, Cut())[-1].trace
    assert trace.failure.kind == "unavailable"
    assert len(trace.steps) == 1


def test_closing_the_stream_cancels_every_running_call_and_keeps_them_in_the_trace():
    backend = Hanging()

    async def main():
        episode = Episode(Scenes([route("small", "large")]), backend, Request.of("hi"), POOL)
        async with aclosing(episode.events()) as events:
            assert isinstance(await anext(events), Decided)
            waiting = asyncio.ensure_future(anext(events))
            while len(backend.started) < 2:
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        return episode.trace

    trace = asyncio.run(main())
    assert sorted(backend.cancelled) == ["large", "small"]
    assert [reply.failure.kind for reply in trace.replies] == ["cancelled"] * 2
    assert trace.usd is None


def test_a_slow_reader_holds_the_upstream_back():
    emitted = []

    class Flood:
        async def complete(self, call, trace, emit=None):
            for k in range(10_000):
                await emit(Delta("x"))
                emitted.append(k)
            return Reply(model=call.model, text="x")

        async def close(self):
            pass

    async def main():
        async with aclosing(stream(Fixed("small"), Flood(), Request.of("hi"), POOL)) as events:
            async for event in events:
                if isinstance(event, Streamed):
                    for _ in range(1_000):
                        await asyncio.sleep(0)
                    return len(emitted)

    assert asyncio.run(main()) < 200


def test_time_never_runs_backwards_over_the_steps():
    trace = run(Scenes([route("small")] * 3 + [Answer(text="x")]))
    assert all(a.seconds <= b.seconds for a, b in pairwise(trace.steps))


def test_an_episode_cut_short_beside_a_refused_call_keeps_both_in_the_trace():
    backend = Hanging()

    async def main():
        request = Request.of("hi", budget=Budget(usd=Decimal("0.001")))
        route_both = route("unpriced", "small")
        episode = Episode(Scenes([route_both]), backend, request, POOL)
        async with aclosing(episode.events()) as events:
            await anext(events)
            assert isinstance(await anext(events), Replied)
        return episode.trace

    trace = asyncio.run(main())
    assert [reply.failure.kind for reply in trace.replies] == ["budget", "cancelled"]
