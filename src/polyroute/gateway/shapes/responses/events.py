"""The events of a run -> the events of a streamed response, numbered, one item after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from polyroute.episode import Streamed
from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import model, report
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import FellBack, Happening, Outcome
from polyroute.gateway.shapes.deltas import Deltas, Lines
from polyroute.gateway.shapes.responses.answer import (
    body,
    call_item,
    ended,
    reasoning_item,
    text_item,
    text_part,
    usage_of,
)
from polyroute.gateway.stream import Rounds
from polyroute.gateway.wire import encode
from polyroute.types import Json, JsonObject

__all__ = ["Events"]


@dataclass(slots=True)
class _Item:
    """One item of the output, as far as it has come."""

    index: int
    wire: dict[str, Json]
    kind: str
    """``text``, ``refusal``, ``reasoning``, or ``call <index>``."""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[JsonObject] = field(default_factory=list)
    notes: list[JsonObject] = field(default_factory=list)
    open: bool = True

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def whole(self, status: str = "completed") -> dict[str, Json]:
        """Return the item with all that has come."""
        wire = {**self.wire, "status": status}
        if "arguments" in wire:
            return {**wire, "arguments": self.text}
        if "input" in wire:
            return {**wire, "input": self.text}
        return {**wire, "content": [self.part]}

    @property
    def part(self) -> dict[str, Json]:
        """The part of the content that a message or the reasoning consists of."""
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.text}
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        part: dict[str, Json] = text_part(self.text, self.notes, {"content": self.logprobs})
        return part


class Events:
    """Writes one streamed response.

    Parameters
    ----------
    asked : Asked
        The request.
    rounds : {"reasoning", "comments", "off"}
        Whether the rounds before the answer are shown, as comments.
    stored : bool
        Whether the response can be gone on with.
    """

    def __init__(self, asked: Asked, rounds: Rounds, *, stored: bool) -> None:
        self._asked = asked
        self._stored = stored
        self._deltas = Deltas(asked)
        self._lines = Lines(rounds)
        self._id = asked.request.id
        self._number = 0
        self._items: list[_Item] = []
        self._begun: dict[str, Json] | None = None
        self._reason: str | None = None

    def feed(self, event: Happening) -> bytes:
        """Take in what happened."""
        if isinstance(event, FellBack):
            self._id = event.answer_id
        if isinstance(event, Streamed):
            return b"".join(self._choice(choice) for choice in self._deltas.of(event))
        return self._lines.of(event)

    def finish(self, outcome: Outcome) -> bytes:
        """Write what is left of the answer, and the whole response."""
        pieces = [self._choice(choice) for choice in self._deltas.rest(outcome)]
        if not self._items:
            pieces.append(self._grow("text", ""))
        pieces += [self._close(item) for item in self._items]
        how = ended(self._reason)
        response = {
            **self._response(),
            **how,
            "model": model(outcome, self._asked),
            "usage": usage_of(outcome),
            "polyroute": report(outcome, self._asked),
        }
        pieces.append(self._event(f"response.{how['status']}", response=response))
        return b"".join(pieces)

    def fail(self, error: ApiError, about: JsonObject | None) -> bytes:
        """Write that the response has failed, with what there is of it."""
        begin = self._begin()
        response = {
            **self._response("incomplete"),
            "status": "failed",
            "error": {"code": error.code or error.type, "message": error.message},
            **({} if about is None else {"polyroute": about}),
        }
        return begin + self._event("response.failed", response=response)

    def _choice(self, choice: JsonObject) -> bytes:
        """Write one choice of a chunk; there is only one choice in this form."""
        delta = choice.get("delta") or {}
        self._reason = choice.get("finish_reason") or self._reason
        pieces = []
        if delta.get("reasoning_content"):
            pieces.append(self._grow("reasoning", delta["reasoning_content"]))
        if delta.get("content"):
            said = choice.get("logprobs")
            listed = said.get("content") if isinstance(said, Mapping) else None
            pieces.append(self._grow("text", delta["content"], listed or []))
        if delta.get("refusal"):
            pieces.append(self._grow("refusal", delta["refusal"]))
        if delta.get("annotations") and self._items:
            self._items[-1].notes += delta["annotations"]
        pieces += [self._call(call) for call in delta.get("tool_calls") or ()]
        return b"".join(pieces)

    def _call(self, call: JsonObject) -> bytes:
        named = call.get("custom") or call.get("function") or {}
        text = named.get("input") or named.get("arguments") or ""
        return self._grow(f"call {call.get('index', 0)}", text, like=call)

    def _grow(
        self, kind: str, text: str, logprobs: list[JsonObject] | None = None, like: Json = None
    ) -> bytes:
        """Add `text` to the item of that kind that is being written, or begin it."""
        pieces = []
        calls = [item for item in self._items if item.kind == kind and kind.startswith("call")]
        last = self._items[-1] if self._items else None
        if calls:
            item = calls[0]
        elif last is not None and last.kind == kind:
            item = last
        else:
            pieces = [self._begin(), b"" if last is None else self._close(last)]
            item = self._new(kind, like)
            pieces.append(self._open(item))
        if text:
            item.pieces.append(text)
            item.logprobs += logprobs or []
            pieces.append(self._delta(item, text, logprobs))
        return b"".join(pieces)

    def _new(self, kind: str, like: Json) -> _Item:
        index = len(self._items)
        if kind == "reasoning":
            wire = reasoning_item("", f"rs_{self._id}_{index}", "in_progress")
        elif like is not None:
            blank = {key: {**like[key]} for key in ("custom", "function") if like.get(key)}
            for named in blank.values():
                named.pop("arguments", None)
                named.pop("input", None)
            wire = call_item({**like, **blank}, f"fc_{self._id}_{index}", "in_progress")
        else:
            wire = text_item(f"msg_{self._id}_{index}", "in_progress")
        item = _Item(index, wire, kind)
        self._items.append(item)
        return item

    def _begin(self) -> bytes:
        """Write that there will be a response, once."""
        if self._begun is not None:
            return b""
        self._begun = body(
            self._asked,
            id=self._id,
            status="in_progress",
            model=self._deltas.model,
            stored=self._stored,
        )
        created = self._event("response.created", response=self._begun)
        return created + self._event("response.in_progress", response=self._begun)

    def _open(self, item: _Item) -> bytes:
        added = self._event("response.output_item.added", output_index=item.index, item=item.wire)
        if item.kind.startswith("call"):
            return added
        return added + self._of_part("response.content_part.added", item, part=item.part)

    def _delta(self, item: _Item, text: str, logprobs: list[JsonObject] | None) -> bytes:
        more: JsonObject = {"logprobs": logprobs or []} if item.kind == "text" else {}
        return self._of_part(f"{_event_of(item)}.delta", item, delta=text, **more)

    def _close(self, item: _Item) -> bytes:
        """Write that nothing will be added to an item."""
        if not item.open:
            return b""
        item.open = False
        done = f"{_event_of(item)}.done"
        if item.kind.startswith("call"):
            key = "arguments" if "arguments" in item.wire else "input"
            name = {"name": item.wire["name"]} if key == "arguments" else {}
            pieces = [self._of_part(done, item, **{key: item.text}, **name)]
        else:
            key = "refusal" if item.kind == "refusal" else "text"
            more = {"logprobs": item.logprobs} if item.kind == "text" else {}
            pieces = [
                self._of_part(done, item, **{key: item.text}, **more),
                self._of_part("response.content_part.done", item, part=item.part),
            ]
        whole = self._event("response.output_item.done", output_index=item.index, item=item.whole())
        return b"".join([*pieces, whole])

    def _of_part(self, event: str, item: _Item, /, **about: Json) -> bytes:
        place: dict[str, Json] = {"item_id": item.wire["id"], "output_index": item.index}
        if not item.kind.startswith("call"):
            place["content_index"] = 0
        return self._event(event, **place, **about)

    def _response(self, last: str = "completed") -> dict[str, Json]:
        begun = self._begun or {}
        written = [item.whole("completed" if not item.open else last) for item in self._items]
        return {**begun, "output": written}

    def _event(self, name: str, /, **about: Json) -> bytes:
        event = {"type": name, "sequence_number": self._number, **about}
        self._number += 1
        return f"event: {name}\ndata: ".encode() + encode(event) + b"\n\n"


def _event_of(item: _Item) -> str:
    """Return the name of the events that an item grows by."""
    if item.kind.startswith("call"):
        custom = item.wire["type"] == "custom_tool_call"
        return "response.custom_tool_call_input" if custom else "response.function_call_arguments"
    kinds = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_text"}
    return f"response.{kinds[item.kind]}"
