"""What is known of a request when it is over: everything that is counted, drawn or logged.

The one decision here: it is worked out once, and all who watch read the same account. Names in it
are those of the configuration, so that what a client sends never becomes the name of a metric.
"""

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from polyroute.decision import Call, Route
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.completion import quoted
from polyroute.gateway.run import Outcome
from polyroute.trace import Reply, Trace

__all__ = ["Account", "Called", "Ending", "account_of"]

Ending: TypeAlias = Literal["answered", "failed", "cancelled"]

_NOTHING = Decimal(0)


class Called(Struct, frozen=True):
    """One call, and what came back."""

    card: str
    """Id of the card that was asked."""
    call: Call
    reply: Reply
    own: bool
    """Whether it was the policy's own thinking."""

    refused: bool
    """Whether the budget did not allow it; it was not made."""


class Account(Struct, frozen=True, kw_only=True):
    """One request that is over."""

    caller: Caller
    asked: Asked
    outcome: Outcome | None
    """`None` when its episode never began."""
    began: float
    """Seconds since 1970."""
    seconds: float
    """From the time it was let in to its end."""
    policy: str
    """Name of the policy; ``fixed`` when the request named a card."""
    routed: bool
    """Whether a policy chose, and not the client."""
    ending: Ending
    remembered: bool
    """Whether the answer of an earlier request was given again: nothing was called."""
    called: tuple[Called, ...] = ()
    """Every call, oldest first; none when the answer was remembered."""
    usd: Decimal = _NOTHING
    """The known part of what it cost."""
    unknown: int = 0
    """Replies whose price nobody knows."""
    saved: Decimal = _NOTHING
    """What a remembered answer had cost."""
    rounds: int = 0
    answer: Reply | None = None
    """The reply that is the answer; `None` when the policy wrote it, or there is none."""

    @property
    def id(self) -> str:
        """Id of the trace."""
        return self.asked.request.id if self.outcome is None else self.outcome.trace.request.id

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The traces of this request."""
        return () if self.outcome is None else self.outcome.traces


def account_of(
    caller: Caller, asked: Asked, outcome: Outcome | None, *, began: float, seconds: float
) -> Account:
    """Return the account of a request that has ended.

    Parameters
    ----------
    caller, asked, outcome
        As a `Watcher` is told them.
    began : float
        Seconds since 1970 at which it was let in.
    seconds : float
        How long it took.
    """
    if outcome is None:
        return Account(
            caller=caller,
            asked=asked,
            outcome=None,
            began=began,
            seconds=seconds,
            policy=asked.choice.name,
            routed=asked.choice.card is None,
            ending="failed",
            remembered=False,
        )
    recalled, bill = outcome.recalled, outcome.bill
    return Account(
        caller=caller,
        asked=asked,
        outcome=outcome,
        began=began,
        seconds=seconds,
        policy=asked.choice.name,
        routed=asked.choice.card is None,
        ending="answered" if outcome.error is None else _ending(outcome),
        remembered=recalled is not None,
        called=_called(outcome.traces),
        usd=bill.usd,
        unknown=bill.unknown,
        saved=_NOTHING if recalled is None or recalled.usd is None else recalled.usd,
        rounds=outcome.rounds,
        answer=quoted(outcome.trace),
    )


def _ending(outcome: Outcome) -> Ending:
    replies = outcome.trace.replies
    failure = replies[-1].failure if replies else None
    return "cancelled" if failure is not None and failure.kind == "cancelled" else "failed"


def _called(traces: tuple[Trace, ...]) -> tuple[Called, ...]:
    called: list[Called] = []
    for trace in traces:
        for step in trace.steps:
            if isinstance(step.decision, Route):
                own = step.decision.own
                for call, reply in zip(step.decision.calls, step.replies, strict=True):
                    card = trace.pool.card(call.model).id
                    refused = reply.failure is not None and reply.failure.kind == "budget"
                    called.append(Called(card, call, reply, own, refused))
    return tuple(called)
