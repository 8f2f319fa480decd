import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar

import pytest
from msgspec.structs import replace

from polyroute import Budget, Failure, Message, ModelCard, Pool, Price, Request, Trace, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError, ConfigError, RefusalError
from polyroute.policies.cheapest import Cheapest
from polyroute.policies.fixed import Fixed
from polyroute.policies.rules import Rule, Rules
from polyroute.protocols import Method

POOL = Pool(
    [
        ModelCard(id="calc", kind="tool", price=Price.per_million(0, 0, call="0.001")),
        ModelCard(id="geo", kind="tool", price=Price.per_million(0, 0, call="0.002")),
        ModelCard(id="llm", price=Price.per_million(1, 1), context=1000),
    ]
)
RULES = Rules(
    rules=(
        Rule(name="arithmetic", to="calc", matches=r"\d\s*[-+*/]\s*\d"),
        Rule(name="place", to="geo", matches=r"\bcapital\b"),
    ),
    otherwise=Fixed("llm"),
)


def run(policy, say, request):
    return asyncio.run(run_episode(policy, Scripted(say), request, POOL))


def echo(model, prompt):
    return f"{model}: {prompt}"


def refuse_tools(model, prompt):
    if model != "llm":
        raise RefusalError(f"not for {model}")
    return echo(model, prompt)


def asked(trace):
    return [call.model for call in trace.calls]


@dataclass(frozen=True)
class Watcher:
    """Records what it is shown, and asks `llm` until it may not."""

    method: ClassVar[Method] = Method(when="multi-stage", what=(), how="heuristic")
    seen: list[Trace] = field(default_factory=list)

    async def decide(self, trace):
        self.seen.append(trace)
        if trace.left.rounds == 0 or len(trace.steps) > 1:
            return trace.give_up()
        return await Fixed("llm").decide(replace(trace, steps=()))


def test_the_first_matching_rule_decides_and_the_request_passes_untouched():
    request = replace(Request.of("Is 2 + 2 the capital?"), params={"tools": [1], "x": 2})
    trace = run(RULES, echo, request)
    assert asked(trace) == ["calc"]
    route = trace.steps[0].decision
    assert route.final
    assert route.reason == "rule 'arithmetic'"
    assert route.calls[0].messages(request) == request.messages
    assert route.calls[0].merged_params(request) == request.params


def test_a_request_without_a_rule_is_decided_by_the_other_policy():
    assert run(RULES, echo, Request.of("hello")).answer == "llm: hello"


def test_a_refusal_falls_through_the_other_rules_to_the_other_policy():
    trace = run(RULES, refuse_tools, Request.of("capital of 1+1?"))
    assert asked(trace) == ["calc", "geo", "llm"]
    assert trace.answer == "llm: capital of 1+1?"
    assert [reply.failure.kind for reply in trace.replies[:2]] == ["refusal", "refusal"]


def test_two_rules_for_one_candidate_ask_it_once():
    rules = Rules(rules=(Rule(to="calc"), Rule(to="calc", matches="2")), otherwise=Fixed("llm"))
    assert asked(run(rules, refuse_tools, Request.of("2"))) == ["calc", "llm"]


def test_the_other_policy_sees_its_own_steps_and_the_budget_that_is_left():
    def say(model, prompt):
        if model == "calc":
            raise RefusalError("no")
        if model == "geo":
            raise BackendError("down", billed=True)
        raise BackendError("down")

    watcher = Watcher()
    budget = Budget(usd=Decimal("0.01"), seconds=60, rounds=4)
    request = Request.of("capital of 1+1?", budget=budget)
    trace = run(Rules(rules=RULES.rules, otherwise=watcher), say, request)
    first, second = watcher.seen[:2]
    assert first.steps == ()
    assert first.left.rounds == 2
    assert first.left.usd == trace.left.usd == Decimal("0.01")
    assert first.left.seconds == pytest.approx(60 - trace.steps[1].seconds)
    assert len(second.steps) == 1
    assert second.left.rounds == 1
    assert second.left.seconds == pytest.approx(60 - trace.steps[2].seconds)
    assert first.request.messages == request.messages


def test_money_spent_by_the_rules_is_not_left_for_the_other_policy():
    @dataclass(frozen=True)
    class Partial:
        """A reply that was billed, and is cut."""

        async def complete(self, call, trace, emit=None):
            reply = await Scripted(echo).complete(call, trace)
            failure = Failure("unavailable", "cut") if call.model == "calc" else None
            return replace(reply, failure=failure)

        async def close(self):
            pass

    watcher = Watcher()
    budget = Budget(usd=Decimal("0.01"), tokens=2000)
    policy = Rules(rules=RULES.rules[:1], otherwise=watcher)
    asyncio.run(run_episode(policy, Partial(), Request.of("1 + 1", budget=budget), POOL))
    assert watcher.seen[0].left.usd == Decimal("0.009")
    assert watcher.seen[0].left.tokens == 2000 - 7  # three words asked, four said


def test_rules_that_used_up_the_rounds_end_with_the_last_failure():
    request = Request.of("capital of 1+1?", budget=Budget(rounds=2))
    trace = run(RULES, refuse_tools, request)
    assert asked(trace) == ["calc", "geo"]
    assert trace.failure.message == "not for geo"
    trace = run(RULES, refuse_tools, Request.of("capital of 1+1?", budget=Budget(rounds=1)))
    assert asked(trace) == ["calc"]


def test_a_refused_call_falls_through_too():
    trace = run(RULES, echo, Request.of("1 + 1", budget=Budget(usd=Decimal("0.0005"))))
    assert trace.replies[0].failure.kind == "budget"
    assert asked(trace) == ["calc", "llm"]


def test_rules_nest():
    inner = Rules(rules=(Rule(to="geo", matches="capital"),), otherwise=Cheapest())
    policy = Rules(rules=(Rule(to="calc", matches=r"\d"),), otherwise=inner)
    trace = run(policy, refuse_tools, Request.of("capital of 1?"))
    assert asked(trace) == ["calc", "geo", "llm"]
    assert trace.answer == "llm: capital of 1?"


def test_a_replayed_prefix_gives_the_same_decision():
    trace = run(RULES, refuse_tools, Request.of("capital of 1+1?"))
    for k, step in enumerate(trace.steps):
        again = asyncio.run(RULES.decide(replace(trace, steps=trace.steps[:k])))
        assert again == step.decision


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("rule", "request_", "holds"),
    [
        (Rule(to="llm"), Request.of(""), True),
        (Rule(to="llm", matches="PARIS"), Request.of("in paris"), True),
        (Rule(to="llm", matches="^paris"), Request.of("in paris"), False),
        (Rule(to="llm", min_chars=3), Request.of("ab"), False),
        (Rule(to="llm", min_chars=3, max_chars=3), Request.of("abc"), True),
        (Rule(to="llm", max_chars=3), Request.of("abcd"), False),
        (Rule(to="llm", languages=("fr", "de")), Request.of("Wie ist das Wetter?"), True),
        (Rule(to="llm", languages=("fr",)), Request.of("How is the weather?"), False),
        (Rule(to="llm", languages=("fr",)), Request.of("1 + 1"), False),
        (Rule(to="llm", min_messages=2), Request.of("hi"), False),
        (Rule(to="llm", has_tools=True), Request.of("hi"), False),
        (Rule(to="llm", has_tools=False), Request.of("hi"), True),
        (Rule(to="llm", has_tools=True), replace(Request.of("hi"), params={"tools": [{}]}), True),
        (Rule(to="llm", has_tools=True), replace(Request.of("hi"), params={"tools": []}), False),
        (Rule(to="llm", has_image=True), Request.of("hi"), False),
        (
            Rule(to="llm", has_image=True, min_messages=2),
            Request(id="q", messages=(Message("user", (IMAGE,)), Message("user", "and?"))),
            True,
        ),
        (Rule(to="llm", matches="a", min_chars=2), Request.of("a"), False),
    ],
)
def test_a_rule_holds_when_all_its_conditions_do(rule, request_, holds):
    assert rule.holds(request_) is holds


def test_the_last_user_message_is_searched_and_no_other():
    messages = (Message("user", "capital"), Message("assistant", "capital"), Message("user", "ok"))
    assert not Rule(to="geo", matches="capital").holds(Request(id="q", messages=messages))


def test_a_pattern_sees_the_start_of_a_long_message_only():
    rule = Rule(to="llm", matches="end")
    assert rule.holds(Request.of("x" * 19_997 + "end"))
    assert not rule.holds(Request.of("x" * 19_998 + "end"))


def test_a_bad_pattern_names_its_rule():
    with pytest.raises(ConfigError, match=r"rule 'sums': 'matches' is no regular expression"):
        Rule(name="sums", to="calc", matches="(")


def test_a_language_that_cannot_be_told_is_refused():
    with pytest.raises(ConfigError, match=r"rule 'geo': cannot tell the languages \['xx'\]"):
        Rule(to="geo", languages=("en", "xx"))
