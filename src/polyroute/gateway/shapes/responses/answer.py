"""A finished run -> a response object, item by item."""

import time
from collections.abc import Mapping, Sequence

from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import choices, model, report, usage
from polyroute.gateway.run import Outcome
from polyroute.types import Json, JsonObject

__all__ = [
    "ID", "body", "call_item", "ended", "finished", "items", "reasoning_item", "text_item",
    "text_part", "usage_of",
]  # fmt: skip

ID = "resp_"
"""What stands before a trace id in the id of a response."""

_SAID = (
    "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id",
    "prompt_cache_key", "safety_identifier", "service_tier", "temperature", "top_p", "user",
)  # fmt: skip
"""Fields that a response repeats as they were said, or null."""

_DEFAULTS: JsonObject = {
    "background": False,
    "metadata": {},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "truncation": "disabled",
}


def body(asked: Asked, *, id: str, status: str, model: str, stored: bool) -> dict[str, Json]:
    """Return a response object with nothing in it yet."""
    said = asked.said
    defaults = {
        name: default if said.get(name) is None else said[name]
        for name, default in _DEFAULTS.items()
    }
    store = said.get("store")
    return {
        "id": f"{ID}{id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        "reasoning": {"effort": None, "summary": None, **(said.get("reasoning") or {})},
        "store": stored if store is None else store,
        **defaults,
        **{name: said.get(name) for name in _SAID},
    }


def finished(outcome: Outcome, asked: Asked, *, stored: bool) -> dict[str, Json]:
    """Return the whole response of a run with an answer."""
    choice = choices(outcome.trace)[0]
    id = outcome.trace.request.id
    wire = body(asked, id=id, status="completed", model=model(outcome, asked), stored=stored)
    wire |= ended(choice.get("finish_reason"))
    done = wire["status"]
    wire["output"] = items(choice["message"], choice.get("logprobs"), id=id, status=done)
    wire["usage"] = usage_of(outcome)
    wire["polyroute"] = report(outcome, asked)
    return wire


def ended(reason: str | None) -> dict[str, Json]:
    """Return what a reason to end says of the whole response."""
    if reason == "length":
        return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    if reason == "content_filter":
        return {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    return {"status": "completed"}


def usage_of(outcome: Outcome) -> JsonObject | None:
    """Return the tokens of the run, in this form's words; `None` when they are unknown."""
    said = usage(outcome)
    if said is None:
        return None
    into, out = said.get("prompt_tokens") or 0, said.get("completion_tokens") or 0
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (said.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": into,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": into + out,
    }


def items(message: JsonObject, logprobs: Json, *, id: str, status: str) -> list[JsonObject]:
    """Return the output items of a chat message."""
    output: list[JsonObject] = []
    if message.get("reasoning_content"):
        output.append(reasoning_item(message["reasoning_content"], f"rs_{id}_{len(output)}"))
    text, refusal = message.get("content"), message.get("refusal")
    if text or refusal or not message.get("tool_calls"):
        about = message.get("annotations") or ()
        item = text_item(f"msg_{id}_{len(output)}", status)
        item["content"] = [
            *([text_part(text or "", about, logprobs)] if text or not refusal else []),
            *([{"type": "refusal", "refusal": refusal}] if refusal else []),
        ]
        output.append(item)
    for call in message.get("tool_calls") or ():
        output.append(call_item(call, f"fc_{id}_{len(output)}", status))
    return output


def text_item(id: str, status: str) -> dict[str, Json]:
    """Return a message of the assistant with nothing in it yet."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": []}


def text_part(text: str, annotations: Sequence[JsonObject] = (), logprobs: Json = None) -> Json:
    """Return a piece of text; its annotations are flat in this form."""
    flat = []
    for note in annotations:
        kind = note.get("type")
        inner = note.get(str(kind))
        flat.append({"type": kind, **inner} if isinstance(inner, Mapping) else note)
    listed = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return {"type": "output_text", "text": text, "annotations": flat, "logprobs": listed or []}


def reasoning_item(text: str, id: str, status: str = "completed") -> dict[str, Json]:
    """Return an item of reasoning, in clear."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": id, "type": "reasoning", "status": status, "summary": [], "content": content}


def call_item(call: JsonObject, id: str, status: str) -> dict[str, Json]:
    """Return the item of one tool call of a chat message."""
    kind = "custom" if isinstance(call.get("custom"), Mapping) else "function"
    named = call.get(kind) or {}
    item = {"id": id, "status": status, "call_id": call.get("id"), "name": named.get("name")}
    if kind == "custom":
        return {**item, "type": "custom_tool_call", "input": named.get("input") or ""}
    return {**item, "type": "function_call", "arguments": named.get("arguments") or ""}
