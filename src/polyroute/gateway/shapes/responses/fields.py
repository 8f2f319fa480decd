"""The fields of a response's request -> the parameters of a chat completion.

The one decision here: a field has exactly one of four fates. It becomes a parameter, it goes on as
it came, it is answered by the gateway itself, or the request is refused by the field's name.
"""

from collections.abc import Mapping, Sequence

from polyroute.gateway.errors import InvalidError
from polyroute.gateway.shapes.translation import Translation, unsayable
from polyroute.types import Json, JsonObject

__all__ = ["SCHEMA", "params"]

_TEXT = {"type": ["string", "null"]}
_NUMBER = {"type": ["number", "null"]}

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string"},
        "input": {"type": ["string", "array"], "minItems": 1, "items": {"type": "object"}},
        "instructions": _TEXT,
        "include": {"type": ["array", "null"], "items": {"type": "string"}},
        "max_output_tokens": {"type": ["integer", "null"], "minimum": 1},
        "metadata": {"type": ["object", "null"]},
        "parallel_tool_calls": {"type": ["boolean", "null"]},
        "previous_response_id": _TEXT,
        "reasoning": {"type": ["object", "null"], "properties": {"effort": _TEXT}},
        "store": {"type": ["boolean", "null"]},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_obfuscation": {"type": ["boolean", "null"]}},
        },
        "temperature": _NUMBER,
        "text": {
            "type": ["object", "null"],
            "properties": {
                "format": {
                    "type": ["object", "null"],
                    "required": ["type"],
                    "properties": {
                        "type": {"type": "string", "enum": ["text", "json_object", "json_schema"]}
                    },
                },
                "verbosity": _TEXT,
            },
        },
        "tool_choice": {
            "type": ["string", "object", "null"],
            "properties": {"type": {"type": "string"}, "name": {"type": "string"}},
        },
        "tools": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string"}, "name": {"type": "string"}},
            },
        },
        "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
        "top_p": _NUMBER,
        "polyroute": {"type": ["object", "null"]},
    },
}
"""What is looked at here; other fields go on to the candidate as they came."""

_OURS = frozenset(
    {
        "model", "input", "instructions", "metadata", "previous_response_id", "store", "stream",
        "polyroute",
    }
)  # fmt: skip
"""Fields that the gateway itself answers, and the conversation."""

_ONLY: Mapping[str, tuple[Json, ...]] = {
    "access_programs": (),
    "background": (False,),
    "background_options": (),
    "context_management": (),
    "conversation": (),
    "image": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "truncation": ("disabled",),
}
"""Fields that chat completions cannot say, and what they may be besides null."""

_ELSEWHERE = {
    "function_call": "tool_choice",
    "functions": "tools",
    "logprobs": "top_logprobs",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "n": "a request for each",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Fields of chat completions, and what says the same here."""

_LOGPROBS = "message.output_text.logprobs"

_INCLUDED = (_LOGPROBS, "reasoning.encrypted_content")
"""What may be asked to be included. No candidate encrypts its reasoning: it is there in clear."""


def params(wire: JsonObject) -> dict[str, Json]:
    """Return the parameters of the chat completion that `wire`, which fits the schema, asks for.

    Raises
    ------
    InvalidError
        With the name of a field that chat completions cannot express.
    """
    return _FIELDS.params(wire)


def _include(value: Sequence[str]) -> dict[str, Json]:
    for k, item in enumerate(value):
        if item not in _INCLUDED:
            raise unsayable(f"include[{k}]", item)
    return {"logprobs": True} if _LOGPROBS in value else {}


def _reasoning(value: JsonObject) -> dict[str, Json]:
    for name, item in value.items():
        if name != "effort" and item is not None:
            raise unsayable(f"reasoning.{name}")
    effort = value.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _text(value: JsonObject) -> dict[str, Json]:
    for name in value:
        if name not in ("format", "verbosity"):
            raise unsayable(f"text.{name}")
    said: dict[str, Json] = {}
    if value.get("verbosity") is not None:
        said["verbosity"] = value["verbosity"]
    form = value.get("format")
    if form is None or form["type"] == "text":
        return said
    if form["type"] == "json_object":
        return {**said, "response_format": {"type": "json_object"}}
    schema = {key: item for key, item in form.items() if key != "type"}
    return {**said, "response_format": {"type": "json_schema", "json_schema": schema}}


def _stream_options(value: JsonObject) -> dict[str, Json]:
    for name, item in value.items():
        if name != "include_obfuscation" or item:
            raise unsayable(f"stream_options.{name}")
    return {}


def _tools(value: Sequence[JsonObject]) -> dict[str, Json]:
    return {"tools": [_tool(tool, f"tools[{k}]") for k, tool in enumerate(value)]}


def _tool(tool: JsonObject, place: str) -> dict[str, Json]:
    kind = tool["type"]
    if kind not in ("function", "custom"):
        raise unsayable(f"{place}.type", kind)
    if "name" not in tool:
        raise InvalidError(f"{place}.name is missing", param=f"{place}.name")
    said = {key: item for key, item in tool.items() if key != "type"}
    form = said.get("format")
    if kind == "custom" and isinstance(form, Mapping) and form.get("type") == "grammar":
        grammar = {key: item for key, item in form.items() if key != "type"}
        said["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": kind, kind: said}


def _tool_choice(value: str | JsonObject) -> dict[str, Json]:
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            raise InvalidError(
                f"tool_choice must be none, auto, required or a tool, got {value!r:.80}",
                param="tool_choice",
            )
        return {"tool_choice": value}
    kind = value.get("type")
    if kind in ("function", "custom"):
        if set(value) != {"type", "name"}:
            raise InvalidError("tool_choice must have a type and a name", param="tool_choice")
        return {"tool_choice": {"type": kind, kind: {"name": value["name"]}}}
    if kind == "allowed_tools" and isinstance(value.get("tools"), list):
        tools = [_named(tool, k) for k, tool in enumerate(value["tools"])]
        allowed = {"mode": value.get("mode", "auto"), "tools": tools}
        return {"tool_choice": {"type": kind, kind: allowed}}
    raise unsayable("tool_choice.type", kind)


def _named(tool: Json, k: int) -> dict[str, Json]:
    place = f"tool_choice.tools[{k}]"
    if not isinstance(tool, Mapping) or tool.get("type") not in ("function", "custom"):
        raise unsayable(place)
    if not isinstance(tool.get("name"), str):
        raise InvalidError(f"{place}.name is missing", param=f"{place}.name")
    kind = tool["type"]
    return {"type": kind, kind: {"name": tool["name"]}}


def _top_logprobs(value: int) -> dict[str, Json]:
    return {"logprobs": True, "top_logprobs": value} if value else {}


_FIELDS = Translation(
    ours=_OURS,
    only=_ONLY,
    elsewhere=_ELSEWHERE,
    translated={
        "include": _include,
        "max_output_tokens": lambda value: {"max_completion_tokens": value},
        "reasoning": _reasoning,
        "stream_options": _stream_options,
        "text": _text,
        "tool_choice": _tool_choice,
        "tools": _tools,
        "top_logprobs": _top_logprobs,
    },
    known=SCHEMA["properties"],
)
