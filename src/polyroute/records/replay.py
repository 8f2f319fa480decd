"""Derive the decisions of a trace again, without calling any model.

The one decision here: a decision is the same when its canonical JSON is, byte for byte; so replay
after a journey through a file is as strict as replay in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from polyroute.decision import Decision, Failure, Route
from polyroute.errors import PolyrouteError
from polyroute.ledger import Ledger, Reservation
from polyroute.protocols import Policy
from polyroute.records.canonical import canonical
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Budget, Json

__all__ = ["Difference", "Replay", "counterfactual", "replay"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first step at which a replay leaves the trace."""

    step: int
    """From 0."""
    recorded: Decision
    replayed: Decision | None
    """`None` when the policy raised."""
    explanation: str
    """Which field differs, or why the same decision would have had other replies."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How far a policy goes along with a trace."""

    steps: int
    """Steps of the trace."""
    agreed: int
    """Steps up to the first difference."""
    difference: Difference | None = None

    @property
    def same(self) -> bool:
        """Whether every decision is the recorded one."""
        return self.difference is None


async def replay(trace: Trace, policy: Policy) -> Replay:
    """Ask `policy` for every decision of `trace` again. No backend is called.

    Parameters
    ----------
    trace : Trace
        What happened: ``record.trace()``.
    policy : Policy
        The policy that decided, built anew.

    Returns
    -------
    Replay
        With the first decision that differs. A policy that raises differs.
    """
    for k in range(len(trace.steps)):
        difference = await _decide_again(trace, k, policy)
        if difference is not None:
            return Replay(len(trace.steps), k, difference)
    return Replay(len(trace.steps), len(trace.steps))


async def counterfactual(trace: Trace, policy: Policy, *, budget: Budget | None = None) -> Replay:
    """Say where another policy, or another budget, would have left `trace`. Nothing is called.

    What would have come after that point nobody knows: the replies were never given.

    Parameters
    ----------
    trace : Trace
        What happened.
    policy : Policy
        The other policy; the one that decided, to change the budget only.
    budget : Budget, optional
        The other budget. A decision that is the same under it may still have had other replies
        (a call that it would have refused, cut short or, where it is larger, made): that is a
        difference too.

    Returns
    -------
    Replay
        Up to the first difference.
    """
    if budget is not None:
        trace = replace(trace, request=replace(trace.request, budget=budget))
    ledger = Ledger(trace.request.budget, trace.pool)
    for k, step in enumerate(trace.steps):
        difference = await _decide_again(trace, k, policy)
        if difference is None and budget is not None:
            why = _other_replies(_prefix(trace, k), step, ledger)
            if why is not None:
                difference = Difference(k, step.decision, step.decision, why)
        if difference is not None:
            return Replay(len(trace.steps), k, difference)
    return Replay(len(trace.steps), len(trace.steps))


def _prefix(trace: Trace, k: int) -> Trace:
    return replace(trace, steps=trace.steps[:k])


async def _decide_again(trace: Trace, k: int, policy: Policy) -> Difference | None:
    recorded = trace.steps[k].decision
    try:
        replayed = await policy.decide(_prefix(trace, k))
        wire = replayed.to_json()
        same = canonical(wire) == canonical(recorded.to_json())
    except Exception as error:  # noqa: BLE001 - that a policy breaks is what a replay finds out
        what = str(error) if isinstance(error, PolyrouteError) else repr(error)
        return Difference(k, recorded, None, f"the policy raised: {what}")
    if same:
        return None
    return Difference(k, recorded, replayed, _first_difference(recorded.to_json(), wire))


def _first_difference(recorded: Json, replayed: Json, path: str = "") -> str:
    """Name the first place at which two JSON values differ."""
    if isinstance(recorded, Mapping) and isinstance(replayed, Mapping):
        for key in dict.fromkeys((*recorded, *replayed)):
            name = f"{path}.{key}" if path else str(key)
            if key not in recorded or key not in replayed:
                where = "replay" if key in replayed else "record"
                return f"{name}: only in the {where}"
            if canonical(recorded[key]) != canonical(replayed[key]):
                return _first_difference(recorded[key], replayed[key], name)
    if isinstance(recorded, list | tuple) and isinstance(replayed, list | tuple):
        if len(recorded) != len(replayed):
            return f"{path}: recorded {len(recorded)} of them, replayed {len(replayed)}"
        for j, (was, now) in enumerate(zip(recorded, replayed, strict=True)):
            if canonical(was) != canonical(now):
                return _first_difference(was, now, f"{path}[{j}]")
    return f"{path}: recorded {recorded!r:.200}, replayed {replayed!r:.200}"


def _other_replies(trace: Trace, step: Step, ledger: Ledger) -> str | None:
    """Say why the loop, under the budget of `trace`, would not have got these replies."""
    route, budget = step.decision, trace.request.budget
    if not isinstance(route, Route):
        return None
    if budget.seconds is not None and step.seconds > budget.seconds:
        return f"the step ended after {step.seconds:g} s; the deadline is {budget.seconds:g} s"
    out_of_rounds = not route.own and trace.left.rounds == 0
    refused = Failure("budget", f"all {budget.rounds} rounds are used")
    # all calls of a route are reserved before the first is settled, as the loop does it
    items = [
        refused if out_of_rounds else ledger.reserve(call, trace.request) for call in route.calls
    ]
    for j, (item, reply) in enumerate(zip(items, step.replies, strict=True)):
        if (why := _other_reply(item, reply)) is not None:
            return f"calls[{j}] to {reply.model!r} {why}"
        if isinstance(item, Reservation):
            ledger.settle(item, reply)
    return None


def _other_reply(item: Reservation | Failure, reply: Reply) -> str | None:
    was_refused = reply.failure is not None and reply.failure.kind == "budget"
    if isinstance(item, Failure):
        return None if was_refused else f"would be refused: {item.message}"
    if was_refused:
        return "was refused, and would be made"
    cap = item.call.params.get("max_tokens")
    if isinstance(cap, int) and reply.usage is not None and reply.usage.completion > cap:
        return f"would be cut to {cap} tokens; it had {reply.usage.completion}"
    return None
