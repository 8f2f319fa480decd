"""A finished run -> a message of blocks."""

import json
from collections.abc import Mapping

from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import choices, model, quoted, report, usage
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.types import Json, JsonObject

__all__ = ["error_body", "finished", "stopped", "usage_of"]

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def finished(outcome: Outcome, asked: Asked) -> dict[str, Json]:
    """Return the whole message of a run with an answer.

    Raises
    ------
    ApiError
        502, if the arguments of a tool call are not JSON.
    """
    choice = choices(outcome.trace)[0]
    return {
        "id": f"msg_{outcome.trace.request.id}",
        "type": "message",
        "role": "assistant",
        "model": model(outcome, asked),
        "content": _blocks(choice["message"]),
        **stopped(
            choice.get("finish_reason"), outcome, refused=bool(choice["message"].get("refusal"))
        ),
        "usage": usage_of(outcome),
        "polyroute": report(outcome, asked),
    }


def stopped(reason: str | None, outcome: Outcome, *, refused: bool) -> dict[str, Json]:
    """Return why the message ended."""
    reply = quoted(outcome.trace)
    stop = None if reply is None else reply.fields.get("stop")
    if reason == "stop" and isinstance(stop, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    said = "refusal" if refused else _REASONS.get(reason or "stop", "end_turn")
    return {"stop_reason": said, "stop_sequence": None}


def usage_of(outcome: Outcome) -> dict[str, Json]:
    """Return the tokens of the run, in this form's words: the cached ones are counted apart.

    This form has no word for unknown: what nobody knows is 0 here, and null in the report.
    """
    said = usage(outcome) or {}
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": (said.get("prompt_tokens") or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": said.get("completion_tokens") or 0,
    }


def error_body(error: ApiError, report: JsonObject | None = None) -> dict[str, Json]:
    """Return the body of a refusal."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    inner = {"type": kind, "message": error.message, "code": error.code, "param": error.param}
    more = {} if report is None else {"polyroute": report}
    return {"type": "error", "error": inner, **more}


def _blocks(message: JsonObject) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if message.get("reasoning_content"):
        thought = message["reasoning_content"]
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    for name in ("content", "refusal"):
        if message.get(name):
            blocks.append({"type": "text", "text": message[name], "citations": None})
    return blocks + [_use(call) for call in message.get("tool_calls") or ()]


def _use(call: JsonObject) -> JsonObject:
    function = call.get("function") or {}
    try:
        given = json.loads(function.get("arguments") or "{}")
    except ValueError:
        given = None
    if not isinstance(given, Mapping) or call.get("type", "function") != "function":
        raise ApiError(
            502,
            f"the candidate called {function.get('name')!r:.80} with arguments that are no JSON "
            "object, which a message cannot hold",
            type="upstream_error",
            code="upstream_invalid_reply",
        )
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name"),
        "input": given,
    }
