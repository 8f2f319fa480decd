"""Request logs with scores, as JSON lines: LiteLLM's standard payload, or request and response.

Either LiteLLM's keys in one object (``model``, ``messages``, ``response``, ``prompt_tokens``,
``completion_tokens``, ``response_cost``, ``response_time``, ``status``), or an OpenAI pair
(``request`` with ``model`` and ``messages``, ``response`` with ``choices`` and ``usage``;
``cost_usd``, ``latency_s``). The score is the key ``score`` of the object, or of its ``metadata``;
without one nobody judged.

Only single questions become outcomes: what was said earlier in a conversation is part of the
question, and a table has no place for it. Failed calls are no outcomes either.

References
----------
LiteLLM, StandardLoggingPayload specification; OpenAI, chat completions.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import json_rows
from polyroute.types import Json, Message

__all__ = ["read_openai_logs"]


def read_openai_logs(path: Path) -> Imported:
    """Read one file, or all ``.jsonl`` files below a folder.

    Raises
    ------
    ConfigError
        If a row has no messages or no model, or its score is no number from 0 to 1.
    """
    gathering = Gathering()
    left_out: Counter[str] = Counter()
    for file in files_at(path, [".jsonl", ".jsonl.gz"]):
        for line, row in json_rows(file):
            place = Place.of(file, line)
            reason = _add(gathering, row, place)
            left_out.update([reason] if reason else [])
    return finished(gathering, path, left_out)


def _add(gathering: Gathering, row: Mapping[str, Json], place: Place) -> str | None:
    """Add the outcome of a row, or return why it is none."""
    request = row["request"] if isinstance(row.get("request"), Mapping) else row
    messages = _messages(request.get("messages"), place)
    if row.get("status") == "failure" or row.get("error"):
        return "the call failed"
    users = [message for message in messages if message.role == "user"]
    if len(users) != 1 or any(message.role in ("assistant", "tool") for message in messages):
        return "not a single question"
    if users[0].has_image:
        return "with an image"
    response = _mapping(row.get("response"))
    response = _mapping(response.get("body")) or response
    usage = _mapping(response.get("usage")) or row
    metadata = _mapping(row.get("metadata"))
    question = gathering.question(
        users[0].text,
        place=place,
        dataset=metadata.get("dataset"),
        gold=_first(row.get("gold"), row.get("ground_truth"), metadata.get("gold")),
    )
    answered = Answered(
        model=_first(request.get("model"), response.get("model")),
        score=_first(row.get("score"), metadata.get("score"),
                     _mapping(metadata.get("requester_metadata")).get("score")),
        text=_text(row.get("response"), response, place),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        cost_usd=_first(row.get("response_cost"), row.get("cost_usd"), row.get("cost")),
        latency_s=_first(row.get("response_time"), row.get("latency_s")),
    )  # fmt: skip
    gathering.answer(question, answered, place=place)
    return None


def _messages(wire: Json, place: Place) -> list[Message]:
    if not isinstance(wire, list) or not wire:
        raise place.error("no 'messages', neither in the row nor in its 'request'")
    try:
        return [Message.from_json(message) for message in wire]
    except ConfigError as error:
        raise place.error(str(error)) from None


def _text(said: Json, response: Mapping[str, Json], place: Place) -> str | None:
    if isinstance(said, str):
        return said
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    message = _mapping(_mapping(choices[0]).get("message"))
    if not message:
        return None
    try:
        return Message.from_json({"role": "assistant", **message}).text
    except ConfigError as error:
        raise place.error(str(error)) from None


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _first(*values: Json) -> Json:
    return next((value for value in values if value is not None), None)
