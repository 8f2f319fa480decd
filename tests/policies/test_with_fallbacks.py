import asyncio
from decimal import Decimal

import pytest

from polyroute import Answer, Budget, Failure, ModelCard, Pool, Price, Reply, Request, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.config import build, parse
from polyroute.decision import Call, Route
from polyroute.episode import Finished, Streamed, stream_episode
from polyroute.errors import BackendError, ConfigError, RateLimitError
from polyroute.policies.fixed import Fixed
from polyroute.policies.with_fallbacks import Fallback, WithFallbacks, inside
from polyroute.protocols import Delta, Method
from polyroute.records.record import Record
from polyroute.records.replay import replay
from polyroute.spec import spec_inside
from polyroute.types import Usage

POOL = Pool([
    ModelCard(id=name, price=Price.per_million(1, 2), max_output=10) for name in "abcd"
])  # fmt: skip
DOWN = BackendError("down")


class Cards:
    """A backend whose cards fail as they are told, and else say their names."""

    def __init__(self, **failures):
        self.failures = failures
        self.asked = []

    async def complete(self, call, trace, emit=None):
        self.asked.append(call.model)
        failure = self.failures.get(call.model)
        if failure is not None:
            raise failure
        return Reply(model=call.model, text=call.model.upper(), usage=Usage(10, 1))

    async def close(self):
        pass


class Panel:
    """Asks two cards, then answers with what it saw."""

    method = Method(when="multi-stage", what=("response",), how="heuristic")

    def __init__(self):
        self.seen = []

    async def decide(self, trace):
        self.seen.append(trace)
        if not trace.steps:
            return Route(calls=(Call("a"), Call("b", "a question of its own")))
        return Answer(text="+".join(f"{r.model}:{r.text}" for r in trace.good_replies))


def run(policy, backend, **budget):
    request = Request.of("hello", budget=Budget(**budget))
    return asyncio.run(run_episode(policy, backend, request, POOL))


def chain(*to, **more):
    return WithFallbacks(Fixed("a"), (Fallback(card="a", to=to, **more),))


def test_without_a_failure_nothing_is_added():
    trace = run(chain("b"), Cards())
    assert (trace.answer, len(trace.steps)) == ("A", 1)


def test_the_whole_chain_is_in_the_trace():
    trace = run(chain("b", "c"), Cards(a=DOWN, b=RateLimitError("slow down")))
    assert trace.answer == "C"
    assert [reply.model for reply in trace.replies] == ["a", "b", "c"]
    assert [step.decision.reason for step in trace.steps[1:]] == [
        "a failed (unavailable), asking b instead",
        "a failed (rate_limit), asking c instead",
    ]
    assert trace.usd == Decimal("0.000012")


def test_when_all_fail_the_policy_inside_gives_up_with_the_failure_of_its_own_card():
    trace = run(chain("b"), Cards(a=BackendError("no key", kind="auth"), b=DOWN))
    assert trace.failure == Failure("auth", "no key")
    assert len(trace.steps) == 3


@pytest.mark.parametrize("kind", ["bad_request", "refusal"])
def test_what_another_card_cannot_mend_is_not_asked_again(kind):
    backend = Cards(a=BackendError("no", kind=kind))
    assert run(chain("b"), backend).failure.kind == kind
    assert backend.asked == ["a"]


def test_the_kinds_may_be_declared():
    backend = Cards(a=BackendError("no", kind="refusal"))
    assert run(chain("b", kinds=("refusal",)), backend).answer == "B"
    assert run(chain("b", kinds=("timeout",)), Cards(a=DOWN)).failure.kind == "unavailable"


def test_fallbacks_are_rounds_and_end_with_them():
    trace = run(chain("b", "c"), Cards(a=DOWN, b=DOWN), rounds=2)
    assert trace.failure.kind == "unavailable"
    assert [reply.model for reply in trace.replies] == ["a", "b"]
    assert trace.rounds == 2


def test_a_fallback_that_is_too_dear_is_followed_by_a_cheaper_one():
    pool = Pool([
        ModelCard(id="a", price=Price.per_million(1, 1), max_output=10),
        ModelCard(id="b", price=Price.per_million(10**6, 1), max_output=10),
        ModelCard(id="c", price=Price.per_million(1, 1), max_output=10),
    ])  # fmt: skip
    request = Request.of("hello", budget=Budget(usd=Decimal("0.01")))
    backend = Cards(a=DOWN)
    trace = asyncio.run(run_episode(chain("b", "c"), backend, request, pool))
    assert trace.answer == "C"
    assert backend.asked == ["a", "c"]
    assert trace.replies[1].failure.kind == "budget"


def test_a_card_that_the_request_leaves_out_is_passed_over():
    request = Request.of("hello")
    backend = Cards(a=DOWN)
    trace = asyncio.run(run_episode(chain("b", "c"), backend, request, POOL.only(["a", "c"])))
    assert backend.asked == ["a", "c"]
    assert trace.answer == "C"


def test_of_several_calls_only_those_that_failed_fall_back_and_the_policy_sees_its_own_cards():
    panel = Panel()
    fallbacks = (Fallback(card="a", to=("c",)), Fallback(card="b", to=("c", "d")))
    backend = Cards(b=DOWN, c=DOWN)
    trace = run(WithFallbacks(panel, fallbacks), backend)
    assert trace.answer == "a:A+b:D"
    assert backend.asked == ["a", "b", "c", "d"]
    assert trace.calls[-1] == Call("d", "a question of its own")
    assert [len(seen.steps) for seen in panel.seen] == [0, 1]
    assert trace.rounds == 3
    assert panel.seen[1].left.rounds == trace.left.rounds


def test_the_policy_inside_sees_no_more_money_than_is_left():
    panel = Panel()
    fallbacks = (Fallback(card="b", to=("c",)),)

    class Billed(Cards):
        async def complete(self, call, trace, emit=None):
            if call.model == "b":
                failure = Failure("unavailable", "cut")
                return Reply(model="b", usage=Usage(100, 5), failure=failure)
            return await super().complete(call, trace, emit)

    trace = run(WithFallbacks(panel, fallbacks), Billed(), usd=Decimal("0.01"), tokens=10_000)
    seen = panel.seen[1].left
    assert (seen.usd, seen.tokens) == (trace.left.usd, trace.left.tokens)


def test_every_prefix_of_the_chain_decides_the_same_again():
    policy = WithFallbacks(
        Panel(), (Fallback(card="a", to=("c",)), Fallback(card="b", to=("c", "d")))
    )
    trace = run(policy, Cards(b=DOWN, c=DOWN))
    spec = {
        "name": "with_fallbacks",
        "policy": {"name": "fixed", "model": "a"},
        "fallbacks": [{"card": "a", "to": ["b", "c"]}],
    }
    fixed = run(chain("b", "c"), Cards(a=DOWN, b=DOWN))
    for one, decider in ((trace, policy), (fixed, chain("b", "c"))):
        for k, step in enumerate(one.steps):
            prefix = type(one)(one.request, one.pool, one.steps[:k])
            assert asyncio.run(decider.decide(prefix)) == step.decision
    restored = Record.of(fixed, policy=spec).trace()
    assert asyncio.run(replay(restored, chain("b", "c"))).difference is None


def test_a_final_route_streams_its_fallback():
    class Streams(Cards):
        async def complete(self, call, trace, emit=None):
            reply = await super().complete(call, trace, emit)
            await emit(Delta(reply.text))
            return reply

    async def test():
        request = Request.of("hello")
        return [e async for e in stream_episode(chain("b"), Streams(a=DOWN), request, POOL)]

    events = asyncio.run(test())
    assert [e.delta.text for e in events if isinstance(e, Streamed)] == ["B"]
    assert isinstance(events[-1], Finished)


class Late:
    """Begins to stream when it is let, then says more by and by."""

    def __init__(self, begins, ends=None):
        self.begins, self.ends, self.cancelled = begins, ends, False

    async def complete(self, call, trace, emit=None):
        try:
            await self.begins.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if emit is not None:
            await emit(Delta(call.model))
        if self.ends is not None:
            await asyncio.sleep(0.1)  # longer than the limit to the first piece
        return Reply(model=call.model, text=call.model, usage=Usage(1, 1))

    async def close(self):
        pass


def test_a_stream_that_begins_late_falls_back_before_its_first_piece():
    async def test():
        open_gate = asyncio.Event()
        open_gate.set()
        late, soon = Late(asyncio.Event()), Late(open_gate, ends=True)
        backend = ByCard({"a": late, "b": soon}, {"a": 0.02, "b": 0.02})
        request = Request.of("hello")
        events = [e async for e in stream_episode(chain("b"), backend, request, POOL)]
        return late, events

    late, events = asyncio.run(test())
    assert [e.delta.text for e in events if isinstance(e, Streamed)] == ["b"]
    trace = events[-1].trace
    assert trace.replies[0].failure.kind == "timeout"
    assert trace.usd is None, "what was cancelled may be on the bill"
    assert late.cancelled


CONFIG = """
pool:
  - {id: a, aliases: [first], backend: {name: openai, instances: [{url: 'http://x/v1'}]}}
  - {id: b, backend: {name: openai, instances: [{url: 'http://x/v1'}]}}
policy: {name: fixed, model: a}
policies: {cheap: cheapest}
fallbacks:
  a: [b]
  b: {to: [a], kinds: [timeout], first_token_s: 2.5}
"""


def test_configured_fallbacks_stand_around_every_policy():
    setup = build(parse(CONFIG, name="test"))
    for name in ("default", "cheap", "random"):
        policy = setup.policy(name)
        assert isinstance(policy, WithFallbacks)
        assert [(one.card, one.to) for one in policy.fallbacks] == [("a", ("b",)), ("b", ("a",))]
    assert policy.fallbacks[1].kinds == ("timeout",)
    assert inside(setup.policy()) == Fixed("a")
    assert spec_inside(setup.specs["default"]) == {"name": "fixed", "model": "a"}
    assert setup.first_token_s == {"b": 2.5}


@pytest.mark.parametrize(("line", "said"), [
    ("a: [z]", "z"),
    ("z: [a]", "z"),
    ("a: [a]", "names other cards"),
    ("a: []", "fallbacks.a"),
    ("a: {to: [b], kinds: [late]}", "fallbacks.a"),
])  # fmt: skip
def test_a_wrong_fallback_is_refused(line, said):
    text = CONFIG[: CONFIG.index("fallbacks")] + f"fallbacks:\n  {line}\n"
    with pytest.raises(ConfigError, match=said):
        build(parse(text, name="test"))


def test_two_lists_for_one_card_are_refused():
    one = Fallback(card="a", to=("b",))
    with pytest.raises(ConfigError, match="one list"):
        WithFallbacks(Fixed("a"), (one, one))
