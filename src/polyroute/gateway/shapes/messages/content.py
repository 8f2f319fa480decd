"""Content blocks -> messages of a chat completion.

The one decision here: a block becomes what says the same, in the same order, or the request is
refused by the block's place. Results of tools leave the user's turn, because there they are
messages of their own.
"""

import json
from collections.abc import Mapping, Sequence

from polyroute.gateway.errors import InvalidError
from polyroute.types import Json, JsonObject

__all__ = ["messages"]

_FAILED = "The tool reported an error:\n"
"""Said before the result of a tool that failed: chat completions have no field for it."""


def messages(wire: JsonObject) -> list[dict[str, Json]]:
    """Return the messages that `wire`, which fits the schema, holds.

    Raises
    ------
    InvalidError
        With the place of a block that is wrong, or that chat completions cannot express.

    Examples
    --------
    >>> messages({"system": "Be brief.", "messages": [{"role": "user", "content": "6 * 7?"}]})
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': '6 * 7?'}]
    """  # noqa: DOC501
    said: list[dict[str, Json]] = []
    system = wire.get("system")
    if system:
        parts = system if isinstance(system, str) else _parts(system, "system", ("text",))
        said.append({"role": "system", "content": parts})
    for k, message in enumerate(wire["messages"]):
        place = f"messages[{k}]"
        for name in message:
            if name not in ("role", "content"):
                raise _unsayable(f"{place}.{name}")
        content = message["content"]
        if isinstance(content, str):
            said.append({"role": message["role"], "content": content})
        elif message["role"] == "user":
            said += _user(content, f"{place}.content")
        else:
            said.append(_assistant(content, f"{place}.content"))
    if wire["messages"][-1]["role"] == "assistant":
        place = f"messages[{len(wire['messages']) - 1}].role"
        raise InvalidError(
            f"{place}: an answer that the client begins cannot be gone on with here; end with a "
            "message of the user",
            param=place,
        )
    return said


def _user(blocks: Sequence[JsonObject], place: str) -> list[dict[str, Json]]:
    said: list[dict[str, Json]] = []
    waiting: list[dict[str, Json]] = []
    for k, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            if waiting:
                said.append({"role": "user", "content": _simple(waiting)})
                waiting = []
            said.append(_result(block, f"{place}[{k}]"))
        else:
            waiting.append(_part(block, f"{place}[{k}]", ("text", "image")))
    if waiting or not said:
        said.append({"role": "user", "content": _simple(waiting)})
    return said


def _assistant(blocks: Sequence[JsonObject], place: str) -> dict[str, Json]:
    texts: list[dict[str, Json]] = []
    calls: list[dict[str, Json]] = []
    thoughts: list[str] = []
    for k, block in enumerate(blocks):
        where, kind = f"{place}[{k}]", block.get("type")
        if kind == "tool_use":
            calls.append(_call(block, where))
        elif kind == "thinking" and not texts and not calls:
            if block.get("signature"):
                raise _unsayable(f"{where}.signature")
            thoughts.append(_string(block, "thinking", where))
        elif calls:
            raise InvalidError(
                f"{where}: what the assistant says stands before its tool calls", param=where
            )
        else:
            texts.append(_part(block, where, ("text",)))
    turn: dict[str, Json] = {"role": "assistant", "content": _simple(texts) if texts else None}
    if thoughts:
        turn["reasoning_content"] = "\n".join(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _call(block: JsonObject, place: str) -> dict[str, Json]:
    if not isinstance(block.get("input"), Mapping):
        raise InvalidError(f"{place}.input must be an object", param=f"{place}.input")
    arguments = json.dumps(block["input"], ensure_ascii=False, separators=(",", ":"))
    function = {"name": _string(block, "name", place), "arguments": arguments}
    call = {"id": _string(block, "id", place), "type": "function", "function": function}
    return call | _cached(block, place, ("type", "id", "name", "input", "caller"))


def _result(block: JsonObject, place: str) -> dict[str, Json]:
    said: dict[str, Json] = {
        "role": "tool",
        "tool_call_id": _string(block, "tool_use_id", place),
    }
    said |= _cached(block, place, ("type", "tool_use_id", "content", "is_error"))
    content = block.get("content")
    if content is None:
        content = ""
    if not isinstance(content, (str, list)):
        raise InvalidError(f"{place}.content must be text or blocks", param=f"{place}.content")
    parts = content if isinstance(content, str) else _parts(content, f"{place}.content", ("text",))
    if block.get("is_error"):
        first = {"type": "text", "text": _FAILED}
        parts = _FAILED + parts if isinstance(parts, str) else [first, *parts]
    return {**said, "content": parts}


def _parts(
    blocks: Sequence[Json], place: str, kinds: tuple[str, ...]
) -> str | list[dict[str, Json]]:
    parts = [_part(block, f"{place}[{k}]", kinds) for k, block in enumerate(blocks)]
    return _simple(parts)


def _simple(parts: list[dict[str, Json]]) -> str | list[dict[str, Json]]:
    """Return one plain piece of text as text: some templates know nothing else."""
    if not parts:
        return ""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _part(block: Json, place: str, kinds: tuple[str, ...]) -> dict[str, Json]:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind not in kinds:
        where = f"{place}.type"
        raise InvalidError(
            f"{where} {kind!r:.80} cannot be carried out here; expected {' or '.join(kinds)}",
            param=where,
        )
    if kind == "text":
        more = _cached(block, place, ("type", "text", "citations"))
        if block.get("citations"):
            raise _unsayable(f"{place}.citations")
        return {"type": "text", "text": _string(block, "text", place), **more}
    more = _cached(block, place, ("type", "source"))
    return {"type": "image_url", "image_url": {"url": _image(block, place)}, **more}


def _image(block: JsonObject, place: str) -> str:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    where = f"{place}.source"
    if isinstance(source, Mapping) and kind == "url":
        return _string(source, "url", where)
    if isinstance(source, Mapping) and kind == "base64":
        media = _string(source, "media_type", where)
        return f"data:{media};base64,{_string(source, 'data', where)}"
    where = f"{where}.type"
    raise InvalidError(f"{where} must be base64 or url, got {kind!r:.80}", param=where)


def _cached(block: JsonObject, place: str, known: tuple[str, ...]) -> dict[str, Json]:
    """Return what a block says of caching, as a field of the part; any other field is refused."""
    for name, value in block.items():
        if name not in (*known, "cache_control") and value is not None:
            raise _unsayable(f"{place}.{name}")
    marked = block.get("cache_control")
    return {} if marked is None else {"cache_control": marked}


def _string(block: JsonObject, name: str, place: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        where = f"{place}.{name}"
        raise InvalidError(f"{where} must be a string, got {value!r:.80}", param=where)
    return value


def _unsayable(place: str) -> InvalidError:
    return InvalidError(
        f"{place} cannot be carried out here: candidates are asked by chat completions, which "
        "have no such thing; leave it out",
        param=place,
    )
