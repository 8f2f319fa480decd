import asyncio
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

import pytest
from msgspec.structs import replace

from polyroute.backends.scripted import Scripted
from polyroute.decision import Answer, Call, Route
from polyroute.episode import run_episode
from polyroute.policies.fixed import Fixed
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Method
from polyroute.records.record import Draft, Record
from polyroute.records.replay import counterfactual, replay
from polyroute.types import Budget, Request

PRICE = Price.per_million(1, 1)
POOL = Pool([ModelCard(id=id, price=PRICE, max_output=50) for id in ("a", "b", "c")])


@dataclass(frozen=True)
class Wander:
    """Ask a seeded choice of two candidates, twice, then answer."""

    method: ClassVar[Method] = Method(when="multi-stage", what=("response",), how="heuristic")
    salt: int = 0

    async def decide(self, trace):
        if len(trace.steps) == 2 or trace.left.rounds == 0:
            return Answer(text=" ".join(r.text for r in trace.good_replies), fields={"n": 1})
        dice = random.Random(trace.request.seed * 1000 + self.salt + len(trace.steps))
        names = dice.sample(trace.pool.ids, 2)
        return Route(calls=tuple(Call(n, f"{n}?", {"stop": ("x",)}) for n in names), reason="dice")


@dataclass(frozen=True)
class Broken:
    method: ClassVar[Method] = Wander.method

    async def decide(self, trace):
        if trace.steps:
            raise KeyError("sigma")
        return await Wander().decide(trace)


def stored(policy=None, **budget):
    request = replace(Request.of("why?", id="q", budget=Budget(**budget)), seed=3)
    backend = Scripted(lambda model, prompt: " ".join([model] * 40))
    trace = asyncio.run(run_episode(policy or Wander(), backend, request, POOL))
    return Record.from_line(Draft(Record.of(trace, policy=None)).seal(1, None).line).trace()


def test_a_stored_trace_replays_to_the_same_decisions():
    result = asyncio.run(replay(stored(), Wander()))
    assert (result.steps, result.agreed, result.same) == (3, 3, True)


def test_the_first_other_decision_is_shown_with_the_field_that_differs():
    trace = stored()
    salt = next(s for s in range(1, 99) if first(trace, s) != first(trace, 0))
    difference = asyncio.run(replay(trace, Wander(salt))).difference
    assert difference.step == 0
    assert difference.explanation.startswith("calls[")
    assert difference.recorded == trace.steps[0].decision
    assert difference.replayed != difference.recorded


def first(trace, salt):
    return asyncio.run(Wander(salt).decide(replace(trace, steps=()))).calls


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        (lambda d: replace(d, reason="whim"), "reason: recorded 'whim', replayed 'dice'"),
        (lambda d: replace(d, calls=d.calls[:1]), "calls: recorded 1 of them, replayed 2"),
        (lambda d: replace(d, propensity=0.5), "propensity: recorded 0.5, replayed None"),
        (lambda d: Answer(text="x"), "type: recorded 'answer', replayed 'route'"),
        (
            lambda d: replace(d, calls=(d.calls[0], replace(d.calls[1], params={}))),
            "calls[1].params.stop: only in the replay",
        ),
    ],
)
def test_an_edited_decision_is_explained(change, explanation):
    trace = stored()
    edited = replace(trace.steps[1], decision=change(trace.steps[1].decision))
    trace = replace(trace, steps=(trace.steps[0], edited, trace.steps[2]))
    result = asyncio.run(replay(trace, Wander()))
    assert (result.agreed, result.difference.step) == (1, 1)
    assert result.difference.explanation == explanation


def test_a_policy_that_raises_is_a_difference():
    result = asyncio.run(replay(stored(), Broken()))
    assert (result.agreed, result.difference.replayed) == (1, None)
    assert result.difference.explanation == "the policy raised: KeyError('sigma')"


def test_another_policy_leaves_the_trace_where_it_would_decide_otherwise():
    result = asyncio.run(counterfactual(stored(Fixed("a")), Fixed("b")))
    assert result.difference.explanation == "calls[0].model: recorded 'a', replayed 'b'"
    assert asyncio.run(counterfactual(stored(Fixed("a")), Fixed("a"))).same


def test_the_same_budget_changes_nothing():
    for budget in ({}, {"usd": Decimal("0.0004")}, {"tokens": 180}, {"rounds": 1}):
        trace = stored(**budget)
        result = asyncio.run(counterfactual(trace, Wander(), budget=trace.request.budget))
        assert result.same, result.difference.explanation


@pytest.mark.parametrize(
    ("budget", "step", "explanation"),
    [
        (Budget(rounds=1), 1, "type: recorded 'route', replayed 'answer'"),
        (Budget(usd=Decimal("0.000010")), 0, "would be refused: the worst case"),
        (Budget(seconds=0.0), 0, "the deadline is 0 s"),
        (Budget(tokens=140), 0, "would be refused"),
        (Budget(tokens=84), 0, "would be cut to 35 tokens; it had 40"),
    ],
)
def test_another_budget_leaves_the_trace_where_it_would_bite(budget, step, explanation):
    result = asyncio.run(counterfactual(stored(), Wander(), budget=budget))
    assert result.difference.step == step
    assert explanation in result.difference.explanation


def test_a_call_that_a_larger_budget_would_have_made_is_a_difference():
    trace = stored(usd=Decimal("0.0001"))
    assert any(reply.failure for reply in trace.replies)
    result = asyncio.run(counterfactual(trace, Wander(), budget=Budget(usd=Decimal(1))))
    assert "was refused, and would be made" in result.difference.explanation
