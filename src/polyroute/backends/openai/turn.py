"""How an instance is asked for a turn, and made to go on from the beginning of one.

The one decision here: there is no standard for it, so each instance declares what its server
does, and a call that needs it elsewhere is an error, never a turn that starts anew unnoticed.
"""

import json
from collections.abc import Mapping

from msgspec.structs import replace

from polyroute.backends.chat_completion import request_body
from polyroute.backends.openai.instance import Instance
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.types import Json, Request

__all__ = ["as_chat", "path_of", "turn_body"]

_FLAGS = {"continue_final_message": True, "add_generation_prompt": False}
"""What vLLM and SGLang are told, so that the last message is gone on with."""

_CHAT_ONLY = ("messages", "logprobs", "top_logprobs", "tools", "tool_choice", "response_format")


def path_of(instance: Instance) -> str:
    """Return the endpoint, under the instance's base URL, that is asked."""
    return "completions" if instance.continues == "completions" else "chat/completions"


def turn_body(
    call: Call, request: Request, *, model: str, instance: Instance, stream: bool
) -> bytes:
    """Return the body that asks `call` of `instance`, as JSON.

    Raises
    ------
    BackendError
        Of kind ``bad_request``, if the instance cannot go on from a prefix, or if its template
        cannot hold the conversation.
    """
    if call.prefix and instance.continues is None:
        raise BackendError(
            f"the call begins the turn of {call.model!r}, and the instance does not say how it "
            "goes on from there; set `continues` (flags for vLLM and SGLang, bare for llama.cpp, "
            "completions with a template for any other)",
            kind="bad_request",
        )
    if call.prefix and instance.continues == "flags":
        call = replace(call, params={**call.params, **_FLAGS})
    body = request_body(call, request, model=model, stream=stream)
    if instance.template is None:
        return body
    wire: dict[str, Json] = json.loads(body)
    params = {key: value for key, value in wire.items() if key not in _CHAT_ONLY}
    if wire.get("logprobs"):
        params["logprobs"] = max(1, wire.get("top_logprobs") or 0)
    prompt = _only_prompt(call, request)
    text = instance.template.replace("{prompt}", prompt) + call.prefix
    return json.dumps({**params, "prompt": text}).encode("ascii")


def as_chat(wire: dict[str, Json], instance: Instance, prefix: str) -> dict[str, Json]:
    """Return a body or a chunk in the chat endpoint's form, without `prefix` at its start.

    The completions endpoint says less, and in other words. llama.cpp repeats the prefix at the
    start of a body, though not of a stream.
    """
    if instance.continues not in ("completions", "bare"):
        return wire
    choices = wire.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return wire
    if instance.continues == "completions":
        return {**wire, "choices": [_chat_choice(choice) for choice in choices]}
    if not prefix:
        return wire
    return {**wire, "choices": [_without(prefix, choice) for choice in choices]}


def _without(prefix: str, choice: dict[str, Json]) -> dict[str, Json]:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(content, str):
        return choice
    return {**choice, "message": {**message, "content": content.removeprefix(prefix)}}


def _chat_choice(choice: dict[str, Json]) -> dict[str, Json]:
    said = {"role": "assistant", "content": choice.get("text")}
    rest = {key: value for key, value in choice.items() if key not in ("text", "logprobs")}
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, Mapping):
        tokens, values = logprobs.get("tokens") or (), logprobs.get("token_logprobs") or ()
        pairs = zip(tokens, values, strict=False)
        rest["logprobs"] = {"content": [{"token": t, "logprob": value} for t, value in pairs]}
    return {**rest, "message": said, "delta": said}


def _only_prompt(call: Call, request: Request) -> str:
    asked = replace(call, prefix="").messages(request)
    if len(asked) != 1 or asked[0].role != "user" or not isinstance(asked[0].content, str):
        raise BackendError(
            "the instance's template holds one user message of text, and the conversation is "
            "another; ask an instance without a template",
            kind="bad_request",
        )
    return asked[0].content
