"""One remembered answer, and when an answer may be remembered.

The one decision here: an answer is remembered when it is one that would be given again. What was
cut, refused, failed on the way, came from a stand-in or calls tools is not.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import choices, quoted
from polyroute.gateway.run import Outcome
from polyroute.types import Json, JsonObject

__all__ = ["Entry", "entry_of"]

_WHOLE = ("stop", "end_turn", None)
"""Reasons for which a candidate ends its turn when it has said everything."""

_NOT_KEPT = ("role", "content", "refusal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One remembered answer."""

    text: str
    fields: JsonObject = field(default_factory=dict)
    """The other fields of the message: its reasoning, its annotations."""
    model: str | None
    """Who answered; `None` when the policy wrote it."""
    trace_id: str
    """Of the episode that answered."""
    usd: str | None
    """What that episode cost, exactly; `None` when nobody knows."""
    seconds: float
    """How long it took."""
    tokens: int
    """How many tokens it used, as far as they are known."""
    limit_usd: str | None
    """What it might have cost at most; `None` without a limit."""
    made_at: float
    """Seconds since 1970."""
    ends_at: float
    """When it is no good any more."""
    category: str

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Entry | None":
        """Read an entry; `None` when it is none, or one of another version."""
        try:
            wire: Any = orjson.loads(stored)
            return cls(**wire)
        except (orjson.JSONDecodeError, TypeError):
            return None

    def made_with(self, limit: Decimal | None) -> bool:
        """Whether the episode might spend as much as one with that limit."""
        if self.limit_usd is None:
            return True
        return limit is not None and limit <= Decimal(self.limit_usd)


def entry_of(
    outcome: Outcome, asked: Asked, *, now: float, seconds: float, category: str
) -> Entry | None:
    """Return what is to be remembered of an outcome; `None` when nothing is.

    Parameters
    ----------
    outcome, asked
        The run.
    now : float
        Seconds since 1970.
    seconds : float
        How long the answer is good for.
    category : str
        Of the request.
    """
    message = _message(outcome)
    if message is None:
        return None
    trace = outcome.trace
    fields = {k: v for k, v in message.items() if k not in _NOT_KEPT and v is not None}
    reply = quoted(trace)
    usd, limit = trace.bill.total, asked.request.budget.usd
    return Entry(
        text=message["content"],
        fields=fields,
        model=None if reply is None else trace.pool.card(reply.model).id,
        trace_id=trace.request.id,
        usd=None if usd is None else f"{usd:f}",
        seconds=round(trace.seconds, 6),
        tokens=trace.usage.total,
        limit_usd=None if limit is None else f"{limit:f}",
        made_at=now,
        ends_at=now + seconds,
        category=category,
    )


def _message(outcome: Outcome) -> Mapping[str, Json] | None:
    """Return the answer's message when all that led to it went well."""
    trace = outcome.trace
    if outcome.error is not None or outcome.fallback is not None or outcome.recalled is not None:
        return None
    if not trace.answer or not trace.replies:
        return None
    if any(not reply.ok or reply.finish_reason not in _WHOLE for reply in trace.replies):
        return None
    listed = choices(trace)
    message = listed[0].get("message") if len(listed) == 1 else None
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
        return None
    if message.get("refusal") or message.get("tool_calls") or message.get("function_call"):
        return None
    if message.get("audio") or listed[0].get("finish_reason") not in _WHOLE:
        return None
    return message
