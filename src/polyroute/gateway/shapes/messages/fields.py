"""The fields of a request for a message -> the parameters of a chat completion."""

from collections.abc import Mapping, Sequence

from polyroute.gateway.errors import InvalidError
from polyroute.gateway.shapes.translation import Translation, unsayable
from polyroute.types import Json, JsonObject

__all__ = ["SCHEMA", "params"]

_TEXT = {"type": ["string", "null"]}

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["model", "messages", "max_tokens"],
    "properties": {
        "model": {"type": "string"},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"type": "string", "enum": ["user", "assistant"]},
                    "content": {"type": ["string", "array"], "items": {"type": "object"}},
                },
            },
        },
        "max_tokens": {"type": "integer", "minimum": 1},
        "metadata": {"type": ["object", "null"], "properties": {"user_id": _TEXT}},
        "output_config": {"type": ["object", "null"], "properties": {"effort": _TEXT}},
        "service_tier": _TEXT,
        "stop_sequences": {"type": ["array", "null"], "items": {"type": "string"}},
        "stream": {"type": ["boolean", "null"]},
        "system": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "temperature": {"type": ["number", "null"]},
        "thinking": {
            "type": ["object", "null"],
            "required": ["type"],
            "properties": {"type": {"type": "string"}},
        },
        "tool_choice": {
            "type": ["object", "null"],
            "required": ["type"],
            "properties": {
                "type": {"type": "string", "enum": ["auto", "any", "tool", "none"]},
                "name": {"type": "string"},
                "disable_parallel_tool_use": {"type": ["boolean", "null"]},
            },
        },
        "tools": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "description": _TEXT,
                    "input_schema": {"type": "object"},
                    "type": _TEXT,
                    "strict": {"type": ["boolean", "null"]},
                },
            },
        },
        "top_k": {"type": ["integer", "null"]},
        "top_p": {"type": ["number", "null"]},
        "polyroute": {"type": ["object", "null"]},
    },
}
"""What is looked at here; other fields go on to the candidate as they came."""

_OURS = frozenset({"model", "messages", "system", "stream", "polyroute"})

_ONLY: Mapping[str, tuple[Json, ...]] = {
    "container": (),
    "context_management": (),
    "inference_geo": (),
    "mcp_servers": (),
    "output_format": (),
    "service_tier": ("auto",),
}
"""Fields that chat completions cannot say, and what they may be besides null."""

_ELSEWHERE = {
    "functions": "tools",
    "max_completion_tokens": "max_tokens",
    "n": "a request for each",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "stream_options": "nothing: the usage is always streamed",
}
"""Fields of chat completions, and what says the same here."""

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def params(wire: JsonObject) -> dict[str, Json]:
    """Return the parameters of the chat completion that `wire`, which fits the schema, asks for.

    Raises
    ------
    InvalidError
        With the name of a field that chat completions cannot express.
    """
    return _FIELDS.params(wire)


def _metadata(value: JsonObject) -> dict[str, Json]:
    for name in value:
        if name != "user_id":
            raise unsayable(f"metadata.{name}")
    return {} if value.get("user_id") is None else {"user": value["user_id"]}


def _output_config(value: JsonObject) -> dict[str, Json]:
    said: dict[str, Json] = {}
    for name, item in value.items():
        if item is None:
            continue
        if name == "effort":
            said["reasoning_effort"] = item
        elif name == "format" and isinstance(item, Mapping) and item.get("type") == "json_schema":
            schema = {"name": "answer", "schema": item.get("schema"), "strict": True}
            said["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            raise unsayable(f"output_config.{name}")
    return said


def _stop(value: Sequence[str]) -> dict[str, Json]:
    return {"stop": value} if value else {}


def _thinking(value: JsonObject) -> dict[str, Json]:
    if value["type"] != "disabled":
        raise unsayable("thinking", advice="ask for output_config.effort instead")
    return {}


def _tool_choice(value: JsonObject) -> dict[str, Json]:
    said: dict[str, Json] = {}
    for name in value:
        if name not in ("type", "name", "disable_parallel_tool_use"):
            raise unsayable(f"tool_choice.{name}")
    if value.get("disable_parallel_tool_use") is not None:
        said["parallel_tool_calls"] = not value["disable_parallel_tool_use"]
    if value["type"] in _CHOICES:
        return {"tool_choice": _CHOICES[value["type"]], **said}
    if "name" not in value:
        raise InvalidError("tool_choice.name is missing", param="tool_choice.name")
    return {"tool_choice": {"type": "function", "function": {"name": value["name"]}}, **said}


def _tools(value: Sequence[JsonObject]) -> dict[str, Json]:
    return {"tools": [_tool(tool, f"tools[{k}]") for k, tool in enumerate(value)]}


def _tool(tool: JsonObject, place: str) -> dict[str, Json]:
    if tool.get("type") not in (None, "custom"):
        raise unsayable(f"{place}.type")
    if "input_schema" not in tool:
        raise InvalidError(f"{place}.input_schema is missing", param=f"{place}.input_schema")
    function: dict[str, Json] = {"name": tool["name"]}
    said: dict[str, Json] = {"type": "function", "function": function}
    for name, item in tool.items():
        if item is None or name in ("name", "type"):
            continue
        if name in ("description", "strict"):
            function[name] = item
        elif name == "input_schema":
            function["parameters"] = item
        elif name == "cache_control":
            said[name] = item
        else:
            raise unsayable(f"{place}.{name}")
    return said


_FIELDS = Translation(
    ours=_OURS,
    only=_ONLY,
    elsewhere=_ELSEWHERE,
    translated={
        "max_tokens": lambda value: {"max_completion_tokens": value},
        "metadata": _metadata,
        "output_config": _output_config,
        "stop_sequences": _stop,
        "thinking": _thinking,
        "tool_choice": _tool_choice,
        "tools": _tools,
    },
    known=SCHEMA["properties"],
)
