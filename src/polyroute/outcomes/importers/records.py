"""Polyroute's own records: what was asked and answered in production, as an outcome table.

Every reply to the request's own messages is an outcome: of the model that was asked, at the price
and in the time that were recorded. The policy's own thinking and its sub-questions are not, nor are
failed calls and conversations of several turns. A record says nothing of how good an answer was:
scores come from outside, by the id of the trace, and belong to the reply that became the answer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.outcomes.gathering import Answered, Gathering, Place
from polyroute.outcomes.importers.imported import Imported, files_at, finished
from polyroute.outcomes.rows import json_rows
from polyroute.types import Json, Message

__all__ = ["of_records", "read_records"]


def read_records(path: Path) -> Imported:
    """Read an export (`polyroute trace export`), or all ``.jsonl`` files below a folder.

    Raises
    ------
    ConfigError
        If a line is no record.
    """
    places = (
        (Place.of(file, line), row)
        for file in files_at(path, [".jsonl", ".jsonl.gz"])
        for line, row in json_rows(file)
    )
    return _imported(places, {}, path)


def of_records(
    records: Iterable[Mapping[str, Json]], *, scores: Mapping[str, float] | None = None
) -> Imported:
    """Return the table of records in their JSON form.

    Parameters
    ----------
    records : iterable of mapping
        ``record.to_json()`` of each, with its texts.
    scores : mapping of str to float, optional
        Score, 0 to 1, of the answer of a trace, by the trace's id.

    Raises
    ------
    ConfigError
        If one is no record, there is no outcome in any, or a score is for no trace of them.
    """
    rows = ((Place("records", k), record) for k, record in enumerate(records, start=1))
    return _imported(rows, scores or {}, Path("records"))


def _imported(
    rows: Iterable[tuple[Place, Mapping[str, Json]]], scores: Mapping[str, float], path: Path
) -> Imported:
    gathering = Gathering()
    left_out: Counter[str] = Counter()
    unused = set(scores)
    for place, record in rows:
        try:
            reason = _add(gathering, record, scores.get(record["id"]), place)
            unused.discard(record["id"])
        except (KeyError, TypeError, AttributeError) as error:
            raise place.error(f"not a record of polyroute: {error!r}") from error
        left_out.update([reason] if reason else [])
    if unused:
        raise ConfigError(f"a score is for the trace {min(unused)!r}, which is not in the records")
    return finished(gathering, path, left_out)


def _add(
    gathering: Gathering, record: Mapping[str, Json], score: float | None, place: Place
) -> str | None:
    """Add the outcomes of a record, or return why there are none."""
    if record["content"] != "full":
        return "kept without its texts"
    messages = [Message.from_json(message) for message in record["request"]["messages"]]
    users = [message for message in messages if message.role == "user"]
    if len(users) != 1 or any(message.role in ("assistant", "tool") for message in messages):
        return "not a single question"
    if users[0].has_image:
        return "with an image"
    replies = list(_replies(record))
    if not replies:
        return "no model answered the question itself"
    answer = _answer(record)
    question = gathering.question(users[0].text, place=place)
    answered_by = next((k for k, reply in enumerate(replies) if reply["text"] == answer), None)
    for k, reply in enumerate(replies):
        usage = reply["usage"] or {}
        answered = Answered(
            model=reply["model"],
            score=score if k == answered_by else None,
            text=reply["text"],
            prompt_tokens=usage["input"] + usage["cached"] if usage else None,
            completion_tokens=usage["output"] + usage["reasoning"] if usage else None,
            cost_usd=reply["usd"],
            latency_s=reply["seconds"],
        )
        gathering.answer(question, answered, place=place)
    return None


def _replies(record: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """Yield the replies to the request's own messages that did not fail."""
    for step in record["steps"]:
        decision = step["decision"]
        if decision["type"] != "route" or decision["own"]:
            continue
        for call, reply in zip(decision["calls"], step["replies"], strict=True):
            if call["prompt"] is None and reply["failure"] is None:
                yield reply


def _answer(record: Mapping[str, Json]) -> str | None:
    """Return the text of the answer."""
    if not record["steps"]:
        return None
    last = record["steps"][-1]
    if last["decision"]["type"] == "answer":
        return None if last["decision"]["failure"] else str(last["decision"]["text"])
    return next((str(reply["text"]) for reply in last["replies"] if not reply["failure"]), None)
