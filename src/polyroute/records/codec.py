"""Requests and steps as JSON, and back, without losing a digit.

The one decision here: dollars travel as strings, everything else as JSON has it.
"""

import math
from decimal import Decimal
from operator import attrgetter

from msgspec.structs import asdict

from polyroute.decision import Failure, decision_from_json
from polyroute.trace import Reply, Step
from polyroute.types import Budget, Conversation, Json, JsonObject, Message, Request, Usage

__all__ = ["request_from_json", "request_to_json", "step_from_json", "step_to_json"]


def request_to_json(request: Request) -> JsonObject:
    """Return the JSON form of a request, without its id."""
    wire: dict[str, Json] = {
        "messages": [message.to_json() for message in request.messages],
        "params": request.params,
        "budget": {**asdict(request.budget), "usd": _decimal_to_json(request.budget.usd)},
        "seed": request.seed,
    }
    if request.conversation is not None:
        wire["conversation"] = asdict(request.conversation)
    if request.tenant is not None:
        wire["tenant"] = request.tenant
    return wire


def request_from_json(wire: JsonObject, id: str) -> Request:
    """Read what `request_to_json` wrote."""
    budget = {**wire["budget"], "usd": _decimal(wire["budget"]["usd"])}
    said = wire.get("conversation")
    return Request(
        id=id,
        messages=tuple(Message.from_json(message) for message in wire["messages"]),
        budget=Budget(**budget),
        seed=wire["seed"],
        params=wire["params"],
        conversation=None if said is None else Conversation(**said),
        tenant=wire.get("tenant"),
    )


def step_to_json(step: Step) -> JsonObject:
    """Return the JSON form of a step; `Reply.raw` is not in it."""
    return {
        "decision": step.decision.to_json(),
        "replies": [_reply_to_json(reply) for reply in step.replies],
        "seconds": step.seconds,
    }


def step_from_json(wire: JsonObject) -> Step:
    """Read what `step_to_json` wrote."""
    replies = tuple(_reply_from_json(reply) for reply in wire["replies"])
    return Step(decision_from_json(wire["decision"]), replies, wire["seconds"])


_AS_THEY_ARE = (
    "model", "text", "seconds", "first_token_s", "finish_reason", "answered_by", "instance",
    "attempts", "similarity", "fields",
)  # fmt: skip
"""The fields of a reply that are JSON already."""

_as_they_are = attrgetter(*_AS_THEY_ARE)


def _reply_to_json(reply: Reply) -> JsonObject:
    wire: dict[str, Json] = dict(zip(_AS_THEY_ARE, _as_they_are(reply), strict=True))
    wire["usd"] = _decimal_to_json(reply.usd)
    wire["usage"] = None if reply.usage is None else asdict(reply.usage)
    wire["failure"] = None if reply.failure is None else asdict(reply.failure)
    wire["logprobs"] = None
    if reply.logprobs is not None:
        # a token that was impossible has log-probability -inf, which is no JSON number
        wire["logprobs"] = [x if math.isfinite(x) else str(x) for x in reply.logprobs]
    if reply.region is not None:
        wire["region"] = reply.region
    if reply.discarded:
        wire["discarded"] = [_reply_to_json(lost) for lost in reply.discarded]
    return wire


def _reply_from_json(wire: JsonObject) -> Reply:
    logprobs = wire["logprobs"]
    return Reply(
        **{name: wire[name] for name in _AS_THEY_ARE},
        region=wire.get("region"),
        usd=_decimal(wire["usd"]),
        usage=None if wire["usage"] is None else Usage(**wire["usage"]),
        discarded=tuple(_reply_from_json(lost) for lost in wire.get("discarded", ())),
        failure=None if wire["failure"] is None else Failure(**wire["failure"]),
        logprobs=None
        if logprobs is None
        else tuple(float(x) if isinstance(x, str) else x for x in logprobs),
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _decimal_to_json(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
