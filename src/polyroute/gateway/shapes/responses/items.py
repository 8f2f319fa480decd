"""The input of a response's request -> messages of a chat completion.

The one decision here: what the items say of a turn of the assistant (its reasoning, its text, its
calls) becomes one message, because that is what the candidate once said.
"""

from collections.abc import Mapping, Sequence

from polyroute.gateway.errors import InvalidError
from polyroute.types import Json, JsonObject

__all__ = ["messages"]

_CALLS = {"function_call": "function", "custom_tool_call": "custom"}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def messages(said: str | Sequence[JsonObject]) -> list[dict[str, Json]]:
    """Return the messages that `said`, the field ``input``, holds.

    An item's own ``id`` and ``status`` are about the item, and go no further. A system message is
    always sent as parts, so that it can be told from ``instructions``, which are text.

    Raises
    ------
    InvalidError
        With the place of an item that is wrong, or that chat completions cannot express.

    Examples
    --------
    >>> messages("hello")
    [{'role': 'user', 'content': 'hello'}]
    """
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    conversation: list[dict[str, Json]] = []
    for k, item in enumerate(said):
        _take(item, f"input[{k}]", conversation)
    return conversation


def _take(item: JsonObject, place: str, conversation: list[dict[str, Json]]) -> None:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        message = _message(item, place)
        last = conversation[-1] if conversation else {}
        thought = set(last) == {"role", "content", "reasoning_content"}
        if message["role"] == "assistant" and thought and last["content"] is None:
            last |= message  # the reasoning was that of this very turn
            return
        conversation.append(message)
    elif kind in _CALLS:
        turn = _turn(conversation)
        turn.setdefault("tool_calls", []).append(_call(item, _CALLS[kind], place))
    elif kind in _OUTPUTS:
        call_id = _string(item, "call_id", place)
        content = _content(item.get("output"), f"{place}.output")
        conversation.append({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind == "reasoning":
        text = _reasoning(item, place)
        conversation.append({"role": "assistant", "content": None, "reasoning_content": text})
    else:
        raise InvalidError(
            f"{place}.type {kind!r:.80} cannot be carried out here: an item is a message, "
            "reasoning, a call of a function or a custom tool, or the output of one",
            param=f"{place}.type",
        )


def _turn(conversation: list[dict[str, Json]]) -> dict[str, Json]:
    """Return the assistant's turn that is going on, or begin one."""
    if not conversation or conversation[-1]["role"] != "assistant":
        conversation.append({"role": "assistant", "content": None})
    return conversation[-1]


def _message(item: JsonObject, place: str) -> dict[str, Json]:
    role = _string(item, "role", place)
    if role not in ("user", "assistant", "system", "developer"):
        where = f"{place}.role"
        raise InvalidError(f"{where} {role!r:.80} is no role of a message", param=where)
    content = _content(item.get("content"), f"{place}.content")
    if role == "system" and isinstance(content, str):
        content = [{"type": "text", "text": content}]
    message: dict[str, Json] = {"role": role, "content": content}
    for name, value in item.items():
        if name in ("type", "id", "status", "role", "content") or value is None:
            continue
        if name == "phase":
            where = f"{place}.{name}"
            raise InvalidError(f"{where} cannot be expressed in a chat completion", param=where)
        message[name] = value
    return message


def _call(item: JsonObject, kind: str, place: str) -> dict[str, Json]:
    given = "arguments" if kind == "function" else "input"
    call = {"name": _string(item, "name", place), given: _string(item, given, place)}
    return {"id": _string(item, "call_id", place), "type": kind, kind: call}


def _reasoning(item: JsonObject, place: str) -> str:
    if item.get("encrypted_content") is not None:
        where = f"{place}.encrypted_content"
        raise InvalidError(f"{where} cannot be read by any candidate here", param=where)
    parts = item.get("content") or item.get("summary") or []
    if not isinstance(parts, list):
        raise InvalidError(f"{place}.content must be a list", param=f"{place}.content")
    return "\n".join(
        _string(part, "text", f"{place}.content[{k}]") if isinstance(part, Mapping) else str(part)
        for k, part in enumerate(parts)
    )


def _content(value: Json, place: str) -> str | list[JsonObject]:
    """Return the content of a message: one piece of text as text, everything else as parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidError(f"{place} must be a string or a list, got {value!r:.80}", param=place)
    parts: list[JsonObject] = [_part(part, f"{place}[{k}]") for k, part in enumerate(value)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: Json, place: str) -> dict[str, Json]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": _string(part, "text", place)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _string(part, "refusal", place)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_audio" and isinstance(part.get("input_audio"), Mapping):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    if kind == "input_file" and part.get("file_url") is None:
        file = {key: part[key] for key in ("file_data", "file_id", "filename") if key in part}
        return {"type": "file", "file": file}
    where = f"{place}.type"
    raise InvalidError(
        f"{where} {kind!r:.80} cannot be carried out here: a part is input_text, output_text, "
        "refusal, input_image with an image_url, input_audio, or input_file with its data",
        param=where,
    )


def _string(item: JsonObject, name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        where = f"{place}.{name}"
        raise InvalidError(f"{where} must be a string, got {value!r:.80}", param=where)
    return value
