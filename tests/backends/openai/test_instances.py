"""Several instances of one model: resending, hedging, health, against real servers."""

import asyncio
import gc
import json
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web

from polyroute import Budget, ModelCard, Pool, Price, Request, run_episode, stream_episode
from polyroute.backends.openai import Hedge, Instance, OpenAI, delivery
from polyroute.balance.health import Health
from polyroute.decision import Call
from polyroute.episode import Finished, Streamed
from polyroute.errors import BackendError, ConfigError, RateLimitError
from polyroute.policies.fixed import Fixed
from polyroute.records.record import Draft, Record
from polyroute.spec import construct
from polyroute.trace import Trace

POOL = Pool([ModelCard(id="m", price=Price.per_million(1, 2), max_output=50)])
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
USD = Decimal("0.000015")
CHOICE = {"index": 0, "finish_reason": "stop"}
CLOSED = "http://127.0.0.1:9/v1"


class Server:
    """An upstream that answers, and how the next calls go wrong."""

    def __init__(self, name):
        self.name = name
        self.url = ""
        self.calls = 0
        self.cancelled = 0
        self.faults = []
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.lists_models = True

    async def answer(self, request):
        self.calls += 1
        body = await request.json()
        fault = self.faults.pop(0) if self.faults else None
        self.began.set()
        if isinstance(fault, tuple):
            return web.Response(status=fault[0], headers=fault[1])
        if fault == "cut":
            request.transport.abort()
        elif fault == "hang":
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if body.get("stream"):
            return await self.stream(request, fault)
        message = {"role": "assistant", "content": self.name}
        return web.json_response(
            {"model": "m", "choices": [{**CHOICE, "message": message}], "usage": USAGE}
        )

    async def stream(self, request, fault):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in (self.name, "!"):
            chunk = {"model": "m", "choices": [{"index": 0, "delta": {"content": word}}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            if fault == "cut late":
                request.transport.abort()
        end = '{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
        usage = '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}'
        await response.write(f"data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n".encode())
        return response

    async def models(self, _):
        if not self.lists_models:
            return web.Response(status=500)
        return web.json_response({"data": [{"id": "m"}]})


@asynccontextmanager
async def serving(name):
    server = Server(name)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    app.router.add_get("/v1/models", server.models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()


def with_instances(test, names="ab", **how):
    """Run `test(backend, *servers)` with one server and instance for each name."""

    async def run():
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(serving(name)) for name in names]
            configured = tuple(
                Instance(url=each.url, model="m", name=each.name) for each in servers
            )
            backend = OpenAI(instances=configured, **how)
            waits = backend.waits = []

            async def note(seconds):
                waits.append(seconds)

            backend._sleep = note
            try:
                return await test(backend, *servers)
            finally:
                await backend.close()

    return asyncio.run(run())


async def ask(backend, **budget):
    request = Request.of("hello", budget=Budget(**budget))
    return await run_episode(Fixed("m"), backend, request, POOL)


def test_the_region_of_every_sending_is_in_the_record():
    async def test(backend, a, b):
        a.faults = ["cut"]
        places = tuple(
            Instance(url=each.url, model="m", name=each.name, region=region)
            for each, region in ((a, "eu"), (b, "us"))
        )
        backend = OpenAI(instances=places)
        try:
            return await ask(backend)
        finally:
            await backend.close()

    trace = with_instances(test)
    (reply,) = (
        Record.from_line(Draft(Record.of(trace, policy=None)).seal(1, None).line).trace().replies
    )
    assert (reply.region, reply.discarded[0].region) == ("us", "eu")


# ---- resending --------------------------------------------------------------------------------


def test_a_call_whose_connection_was_cut_is_asked_elsewhere_and_both_are_shown():
    async def test(backend, a, b):
        a.faults = ["cut"]
        return await ask(backend)

    trace = with_instances(test)
    assert trace.answer == "b"
    assert trace.final.usd == USD
    (lost,) = trace.final.discarded
    assert (lost.instance, lost.failure.kind, lost.usd) == ("a", "unavailable", None)
    assert trace.usd is None
    assert trace.final.attempts == 2


def test_a_call_that_nobody_answered_says_who_was_asked_last_and_how_often():
    async def test(backend, a, b):
        a.faults, b.faults = [(503, {})] * 9, [(503, {})] * 9
        return await ask(backend)

    trace = with_instances(test)
    (reply,) = trace.replies
    assert reply.failure.kind == "unavailable"
    assert reply.instance in {"a", "b"}
    assert reply.failure.message.startswith(f"{reply.instance}: ")
    assert reply.attempts == 3
    assert (reply.usage.total, reply.usd) == (0, 0)


def test_failed_calls_leave_nothing_to_the_collector_of_cycles():
    async def test(backend, a, b):
        a.faults, b.faults = [(503, {}), "cut"] * 4, [(503, {}), "cut"] * 4
        gc.collect()
        gc.disable()
        try:
            failed = [await ask(backend) for _ in range(6)]
            kinds = {
                reply.failure and reply.failure.kind for each in failed for reply in each.replies
            }
            del failed
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return kinds, {type(each).__name__ for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    kinds, kept = with_instances(test)
    assert "unavailable" in kinds
    assert not kept & {"Delivery", "Exchange", "_Link", "Trace", "Reply", "Ledger"}


def test_it_is_not_where_the_budget_holds_it_only_once():
    async def test(backend, a, b):
        a.faults = ["cut"]
        trace = await ask(backend, usd=Decimal("0.0002"))
        return trace, b.calls

    trace, calls = with_instances(test)
    assert trace.failure.kind == "unavailable"
    assert calls == 0


def test_outside_of_a_loop_that_reserves_it_is_not():
    async def test(backend, a, b):
        a.faults = ["cut"]
        with pytest.raises(BackendError) as caught:
            await backend.complete(Call("m"), Trace(Request.of("?"), POOL))
        return caught.value.billed, b.calls, [one.outstanding for one in backend.snapshot()]

    assert with_instances(test) == (True, 0, [0, 0])


def test_a_stream_that_has_begun_is_not_asked_elsewhere():
    async def test(backend, a, b):
        a.faults = ["cut late"]
        events = [
            event async for event in stream_episode(Fixed("m"), backend, Request.of("hello"), POOL)
        ]
        return events[-1].trace, b.calls

    trace, calls = with_instances(test)
    assert trace.replies[0].text == "a"
    assert trace.failure.kind in ("unavailable", "invalid_reply")
    assert calls == 0


def test_one_that_has_not_begun_is():
    async def test(backend, a, b):
        a.faults = ["cut"]
        events = [
            event async for event in stream_episode(Fixed("m"), backend, Request.of("hello"), POOL)
        ]
        return events

    events = with_instances(test)
    assert "".join(e.delta.text for e in events if isinstance(e, Streamed)) == "b!"
    assert isinstance(events[-1], Finished)
    assert len(events[-1].trace.final.discarded) == 1


# ---- hedging ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_instance_is_hedged_and_the_loser_cancelled_and_shown(stream):
    async def test(backend, a, b):
        a.faults = ["hang"]
        if stream:
            request = Request.of("hello")
            events = [e async for e in stream_episode(Fixed("m"), backend, request, POOL)]
            trace = events[-1].trace
        else:
            trace = await ask(backend)
        await asyncio.wait_for(until(lambda: a.cancelled), 5)
        return trace, [one.outstanding for one in backend.snapshot()]

    trace, outstanding = with_instances(test, hedge=Hedge(after_s=0.05))
    assert trace.answer == ("b!" if stream else "b")
    (lost,) = trace.final.discarded
    assert (lost.instance, lost.failure.kind, lost.usd) == ("a", "cancelled", None)
    assert (trace.bill.usd, trace.bill.unknown) == (USD, 1)
    assert outstanding == [0, 0]


async def until(true):
    while not true():
        await asyncio.sleep(0.005)


def test_the_first_may_still_win():
    async def test(backend, a, b):
        a.faults, b.faults = ["hang"], ["hang"]
        asked = asyncio.create_task(ask(backend))
        await b.began.wait()
        a.gate.set()
        return await asked

    trace = with_instances(test, hedge=Hedge(after_s=0.05))
    assert trace.answer == "a"
    assert [lost.instance for lost in trace.final.discarded] == ["b"]


@pytest.fixture
def considered(monkeypatch):
    """Return a list that grows whenever a hedge was made, or was not."""
    seen, hedge = [], delivery._Race._hedge

    def note(race, place):
        hedge(race, place)
        seen.append(place)

    monkeypatch.setattr(delivery._Race, "_hedge", note)
    return seen


def test_a_hedge_that_does_not_fit_into_the_budget_is_not_made(considered):
    async def test(backend, a, b):
        a.faults = ["hang"]
        asked = asyncio.create_task(ask(backend, usd=Decimal("0.0002")))
        await until(lambda: considered)
        a.gate.set()
        return await asked, b.calls

    trace, calls = with_instances(test, hedge=Hedge(after_s=0.02))
    assert (trace.answer, trace.usd, calls) == ("a", USD, 0)


def test_no_more_than_the_allowed_share_is_hedged(considered):
    async def test(backend, a, b, c):
        for each in (a, b, c):
            each.faults = ["hang"] * 100
        asked = [asyncio.create_task(ask(backend)) for _ in range(30)]
        await until(lambda: len(considered) >= 30)
        for each in (a, b, c):
            each.gate.set()
        traces = await asyncio.gather(*asked)
        return sum(len(trace.final.discarded) for trace in traces)

    assert with_instances(test, names="abc", hedge=Hedge(after_s=0.05, most=0.1)) == 4


def test_nothing_is_hedged_before_enough_is_known_of_an_instance():
    async def test(backend, a, b):
        for _ in range(6):
            await ask(backend)
        hedging = backend._upstreams.hedging
        before = hedging.after_s(0, stream=False)
        for _ in range(2):
            await ask(backend)
        return before, hedging.after_s(0, stream=False), hedging.after_s(0, stream=True)

    before, after, streams = with_instances(test, hedge=Hedge(least_calls=4))
    assert before is None
    assert after > 0
    assert streams is None


def test_when_both_fail_the_call_has_failed_and_both_are_shown():
    async def test(backend, a, b):
        a.faults, b.faults = ["hang"], ["cut"]
        asked = asyncio.create_task(ask(backend, seconds=0.3))
        return await asked

    trace = with_instances(test, hedge=Hedge(after_s=0.02), retries=0)
    assert trace.failure.kind == "timeout"
    assert len(trace.replies[0].discarded) == 1
    assert trace.usd is None


def test_a_failure_before_the_hedge_is_a_retry():
    async def test(backend, a, b):
        a.faults = [(503, {})]
        return await ask(backend)

    trace = with_instances(test, hedge=Hedge(after_s=5))
    assert (trace.answer, trace.usd, trace.final.discarded) == ("b", USD, ())


def test_a_cancelled_call_cancels_both():
    async def test(backend, a, b):
        a.faults, b.faults = ["hang"], ["hang"]
        asked = asyncio.create_task(ask(backend))
        await b.began.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await asyncio.wait_for(until(lambda: a.cancelled and b.cancelled), 5)
        return [one.outstanding for one in backend.snapshot()]

    assert with_instances(test, hedge=Hedge(after_s=0.02)) == [0, 0]


# ---- health -----------------------------------------------------------------------------------


def test_an_instance_that_fails_is_left_alone():
    async def test(backend, a, b):
        a.faults = [(500, {})] * 100
        traces = [await ask(backend) for _ in range(20)]
        return [trace.answer for trace in traces], a.calls, backend.snapshot()

    answers, calls, seen = with_instances(test, health=Health(in_a_row=3))
    assert answers == ["b"] * 20
    assert calls == 3
    assert [one.state for one in seen] == ["open", "closed"]
    assert seen[0].why == "unavailable, HTTP 500"


def test_when_none_is_fit_the_call_fails_at_once_and_says_why():
    async def test(backend, a):
        a.faults = [(500, {})] * 3
        for _ in range(3):
            await ask(backend)
        return (await ask(backend)).failure, a.calls

    failure, calls = with_instances(test, names="a", retries=0, health=Health(in_a_row=3))
    assert failure.kind == "unavailable"
    assert "no instance is fit to be asked: a is open: unavailable, HTTP 500" in failure.message
    assert calls == 3


def test_a_429_sends_the_next_calls_elsewhere():
    async def test(backend, a, b):
        a.faults = [(429, {"Retry-After": "20"})]
        answers = [(await ask(backend)).answer for _ in range(5)]
        return answers, a.calls, backend.snapshot()[0], backend.waits

    answers, calls, seen, waits = with_instances(test)
    assert (answers, calls, waits) == (["b"] * 5, 1, [])
    assert seen.state == "cooling"
    assert 19 < seen.back_in_s <= 20


def test_a_rest_that_is_too_long_is_told_at_once():
    async def test(backend, a):
        a.faults = [(429, {"Retry-After": "50"})]
        first = await ask(backend)
        with pytest.raises(RateLimitError) as caught:
            await backend.complete(Call("m"), Trace(Request.of("?"), POOL))
        return first.failure, caught.value

    failure, error = with_instances(test, names="a")
    assert failure.kind == "rate_limit"
    assert 49 < error.retry_after_s <= 50


def test_probes_take_an_instance_out_that_nobody_has_asked():
    async def test(backend, a, b):
        b.lists_models = False
        watching = asyncio.create_task(backend.watch())
        await asyncio.wait_for(until(lambda: backend.snapshot()[1].state == "open"), 10)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return [(await ask(backend)).answer for _ in range(3)], b.calls

    health = Health(probe_s=0.01, probe_failures=2, open_s=60)
    assert with_instances(test, health=health) == (["a"] * 3, 0)


def test_without_an_interval_nobody_is_probed():
    async def test(backend, a):
        await asyncio.wait_for(backend.watch(), 5)

    with_instances(test, names="a")


def test_a_balancer_its_health_and_hedging_are_configured_by_name():
    spec = {
        "name": "openai",
        "instances": [{"url": "http://a/v1", "weight": 3}, {"url": "http://b/v1"}],
        "balance": "weighted",
        "health": {"open_s": 2, "probe_s": 10},
        "hedge": {"after_s": 1.5, "most": 0.05},
    }
    backend = construct("backends", spec, where="backend")
    assert [one.weight for one in backend.snapshot()] == [3, 1]
    with pytest.raises(ConfigError, match="balance"):
        construct("backends", {**spec, "balance": "roundrobin"}, where="backend")
    with pytest.raises(ConfigError, match="unknown key 'open'"):
        construct("backends", {**spec, "health": {"open": 2}}, where="backend")
    with pytest.raises(ConfigError, match=r"hedge.most must be"):
        construct("backends", {**spec, "hedge": {"most": 0}}, where="backend")
