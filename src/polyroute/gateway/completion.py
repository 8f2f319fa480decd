"""A finished run -> OpenAI's ``chat.completion``, the ``polyroute`` field, and the headers.

The one decision here: where the answer *is* one candidate's reply, the candidate's own choices
are relayed untouched. An answer is never given a prefix, a suffix or another name for its author.
"""

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote

from polyroute.decision import Answer, Call, Route
from polyroute.gateway.asked import Asked
from polyroute.gateway.run import Outcome
from polyroute.records.record import Record
from polyroute.trace import Reply, Trace
from polyroute.types import Json, JsonObject, Usage

__all__ = [
    "choices", "completion", "headers", "in_header", "model", "quoted", "report", "usage",
]  # fmt: skip

_OF_A_MESSAGE = frozenset(
    {"annotations", "audio", "function_call", "reasoning_content", "refusal", "tool_calls"}
)
"""Fields of an answer that belong into its message; others are facts about it."""


def completion(outcome: Outcome, asked: Asked) -> dict[str, Json]:
    """Return the body of a reply that is not streamed."""
    reply = quoted(outcome.trace)
    raw = reply.raw if reply is not None and _has_choices(reply.raw) else None
    body: dict[str, Json] = {
        "id": f"chatcmpl-{outcome.trace.request.id}",
        "object": "chat.completion",
        "created": int(time.time()),
        **(raw or {}),
        "model": _model(outcome, asked, reply),
        "choices": _choices(outcome.trace, reply) if raw is None else raw["choices"],
    }
    body["usage"] = usage(outcome)
    body["polyroute"] = report(outcome, asked)
    return body


def quoted(trace: Trace) -> Reply | None:
    """Return the reply that is the answer: relayed, or repeated word for word by the policy.

    A policy that looks at a reply before it accepts it answers with the reply's text and fields;
    its tool calls, its other choices and its reasons to end are then the answer's too.
    """
    if (final := trace.final) is not None:
        return final
    decision = trace.steps[-1].decision if trace.steps else None
    if not isinstance(decision, Answer) or decision.failure is not None:
        return None
    same = [
        reply
        for call, reply, own in _called(trace)
        if reply.ok and not own and call.prompt is None and reply.text == decision.text
    ]
    exact = [reply for reply in same if reply.fields == decision.fields]
    return next(iter(exact or same), None)


def choices(trace: Trace) -> list[JsonObject]:
    """Return the choices of the answer, in OpenAI's shape."""
    return _choices(trace, quoted(trace))


def _choices(trace: Trace, reply: Reply | None) -> list[JsonObject]:
    if reply is not None and reply.raw is not None and _has_choices(reply.raw):
        return list(reply.raw["choices"])
    fields: JsonObject = {}
    if reply is not None:
        fields = reply.fields
    elif trace.steps and isinstance(decision := trace.steps[-1].decision, Answer):
        fields = {k: v for k, v in decision.fields.items() if k in _OF_A_MESSAGE}
    text = trace.answer or ""
    content = None if not text and fields.get("tool_calls") else text
    message = {"role": "assistant", "content": content, "refusal": None, **fields}
    reason = "tool_calls" if fields.get("tool_calls") else "stop"
    return [
        {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": (reply and reply.finish_reason) or reason,
        }
    ]


def model(outcome: Outcome, asked: Asked) -> str:
    """Return who answered: the id of a card, or the model asked for when a policy wrote it."""
    return _model(outcome, asked, quoted(outcome.trace))


def _model(outcome: Outcome, asked: Asked, reply: Reply | None) -> str:
    if outcome.recalled is not None and outcome.recalled.model is not None:
        return outcome.recalled.model
    return asked.model if reply is None else outcome.trace.pool.card(reply.model).id


def usage(outcome: Outcome) -> JsonObject | None:
    """Return the tokens of the whole run, as far as they are known; `None` when none are.

    As the upstream said it where there was one call only; a sum over all calls, the policy's own
    included, otherwise.
    """
    made = outcome.made
    raw = made[0].raw if len(made) == 1 else None
    if raw is not None and isinstance(raw.get("usage"), (dict, Mapping)):
        reported: JsonObject = raw["usage"]
        return reported
    known = [reply.usage for reply in made if reply.usage is not None]
    return _usage_to_json(Usage.sum(known)) if known or not made else None


def report(outcome: Outcome, asked: Asked) -> dict[str, Json]:
    """Return the ``polyroute`` field: what was asked of whom, and what it cost."""
    trace = outcome.trace
    calls: list[JsonObject] = []
    own: list[Usage] = []
    seconds = 0.0
    for each in outcome.traces:
        seconds += each.seconds
        for step in each.steps:
            if isinstance(step.decision, Route):
                for reply in step.replies:
                    calls.append(_call_to_json(reply, step.decision.own))
                    if step.decision.own and reply.usage is not None:
                        own.append(reply.usage)
    fields: dict[str, Json] = {
        "trace_id": trace.request.id,
        "policy": asked.choice.name,
        "seed": trace.request.seed,
        "usd": outcome.usd,
        "rounds": outcome.rounds,
        "seconds": _to_the_microsecond(seconds),
        "usage": _usage_of(outcome, calls),
        "own_usage": _usage_to_json(Usage.sum(own)) if own else _NO_TOKENS,
        "calls": calls,
    }
    if trace.steps:
        decision = trace.steps[-1].decision
        fields["reason"] = decision.reason
        if isinstance(decision, Answer) and (facts := _facts(decision)):
            fields["facts"] = facts
    if outcome.fallback is not None:
        fallback = outcome.fallback
        fields["fallback"] = {
            "model": fallback.card,
            "reason": fallback.reason,
            "trace_id": fallback.trace_id,
        }
    if not outcome.recorded:
        fields["record"] = "lost"
    if asked.show_trace:
        spec: JsonObject | None = asked.choice.spec
        if outcome.fallback is not None or outcome.recalled is not None:
            spec = None if outcome.fallback is None else outcome.fallback.spec
        fields["trace"] = Record.of(trace, policy=spec).to_json()
    return fields


def headers(outcome: Outcome, asked: Asked) -> dict[str, str]:
    """Return the headers that say what a run came to."""
    made = outcome.made
    if len(made) == 1:
        models = in_header(made[0].model)
    else:
        models = ",".join(map(in_header, dict.fromkeys([reply.model for reply in made])))
    fields = {
        "x-polyroute-trace-id": outcome.trace.request.id,
        "x-polyroute-policy": in_header(asked.choice.name),
        "x-polyroute-usd": outcome.usd or "unknown",
        "x-polyroute-models": models,
        "x-polyroute-rounds": str(outcome.rounds),
    }
    if outcome.recalled is not None:
        fields |= {"x-polyroute-cache": "hit", "age": str(int(outcome.recalled.age_s))}
    if outcome.fallback is not None:
        fields["x-polyroute-fallback"] = in_header(outcome.fallback.card)
    if not outcome.recorded:
        fields["x-polyroute-record"] = "lost"
    return fields


@lru_cache(maxsize=1024)
def in_header(name: str) -> str:
    """Return the name of a card or a policy as a header can carry it.

    Examples
    --------
    >>> in_header("maker/small, the new one")
    'maker/small%2C%20the%20new%20one'
    """
    return quote(name, safe="/:@")


def _called(trace: Trace) -> Iterator[tuple[Call, Reply, bool]]:
    """Yield every call with its reply, and whether it is the policy's own."""
    for step in trace.steps:
        if isinstance(step.decision, Route):
            for call, reply in zip(step.decision.calls, step.replies, strict=True):
                yield call, reply, step.decision.own


def _call_to_json(reply: Reply, own: bool) -> JsonObject:
    fields: dict[str, Json] = {
        "model": reply.model,
        "own": own,
        "usd": None if reply.usd is None else f"{reply.usd:f}",
        "usage": None if reply.usage is None else _usage_to_json(reply.usage),
        "seconds": _to_the_microsecond(reply.seconds),
        "failure": None if reply.failure is None else reply.failure.kind,
    }
    if reply.instance is not None:
        fields["instance"] = reply.instance
    if reply.region is not None:
        fields["region"] = reply.region
    if reply.discarded:
        fields["discarded"] = [_call_to_json(lost, own) for lost in reply.discarded]
    return fields


def _facts(decision: Answer) -> JsonObject:
    return {key: value for key, value in decision.fields.items() if key not in _OF_A_MESSAGE}


def _usage_of(outcome: Outcome, calls: list[JsonObject]) -> JsonObject:
    """Return the tokens of all traces; those of the only call, where they are the same."""
    used = outcome.trace.usage
    if not outcome.before:
        only = outcome.made[0].usage if len(calls) == len(outcome.made) == 1 else None
        told: JsonObject = calls[0]["usage"] if used is only else _usage_to_json(used)
        return told
    return _usage_to_json(Usage.sum([trace.usage for trace in outcome.traces]))


def _to_the_microsecond(seconds: float) -> float:
    """Return the nearest number with six digits; `round` would write it out and read it again."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _usage_to_json(usage: Usage) -> JsonObject:
    prompt, completed = usage.input + usage.cached, usage.output + usage.reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


_NO_TOKENS = _usage_to_json(Usage())


def _has_choices(raw: JsonObject | None) -> bool:
    return raw is not None and isinstance(raw.get("choices"), list) and bool(raw["choices"])
