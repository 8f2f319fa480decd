"""The events of a run -> the events of a streamed message, block by block."""

from polyroute.episode import Streamed
from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import report
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import FellBack, Happening, Outcome
from polyroute.gateway.shapes.deltas import Deltas, Lines
from polyroute.gateway.shapes.messages.answer import error_body, stopped, usage_of
from polyroute.gateway.stream import Rounds
from polyroute.gateway.wire import encode
from polyroute.types import Json, JsonObject

__all__ = ["Events"]

_NOTHING = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}
"""The usage when a message begins: nobody knows it yet. The last event has it."""


class Events:
    """Writes one streamed message.

    Parameters
    ----------
    asked : Asked
        The request.
    rounds : {"reasoning", "comments", "off"}
        Whether the rounds before the answer are shown, as comments.
    """

    def __init__(self, asked: Asked, rounds: Rounds) -> None:
        self._asked = asked
        self._deltas = Deltas(asked)
        self._lines = Lines(rounds)
        self._id = asked.request.id
        self._begun = False
        self._index = -1
        """Of the block that is being written."""
        self._kind: str | None = None
        """What it is; `None`: none is open."""
        self._reason: str | None = None
        self._refused = False

    def feed(self, event: Happening) -> bytes:
        """Take in what happened."""
        if isinstance(event, FellBack):
            self._id = event.answer_id
        if isinstance(event, Streamed):
            return b"".join(self._choice(choice) for choice in self._deltas.of(event))
        return self._lines.of(event)

    def finish(self, outcome: Outcome) -> bytes:
        """Write what is left of the answer, why it ended, and its usage."""
        pieces = [self._choice(choice) for choice in self._deltas.rest(outcome)]
        pieces += [self._begin(), self._close()]
        last = _event(
            "message_delta",
            delta=stopped(self._reason, outcome, refused=self._refused),
            usage=usage_of(outcome),
            polyroute=report(outcome, self._asked),
        )
        return b"".join([*pieces, last, _event("message_stop")])

    def fail(self, error: ApiError, about: JsonObject | None) -> bytes:
        """Write an error into a stream that has begun, and end it."""
        body = error_body(error, about)
        return b"event: error\ndata: " + encode(body) + b"\n\n"

    def _choice(self, choice: JsonObject) -> bytes:
        """Write one choice of a chunk; there is only one choice in this form."""
        delta = choice.get("delta") or {}
        self._reason = choice.get("finish_reason") or self._reason
        pieces = []
        if thought := delta.get("reasoning_content"):
            blank: dict[str, Json] = {"type": "thinking", "thinking": "", "signature": ""}
            pieces.append(self._grow("thinking", blank))
            pieces.append(self._delta(type="thinking_delta", thinking=thought))
        for name in ("content", "refusal"):
            if text := delta.get(name):
                self._refused = self._refused or name == "refusal"
                pieces.append(self._grow(name, {"type": "text", "text": "", "citations": None}))
                pieces.append(self._delta(type="text_delta", text=text))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            use = {"type": "tool_use", "id": call.get("id"), "name": function.get("name")}
            pieces.append(self._grow(f"call {call.get('index', 0)}", {**use, "input": {}}))
            if arguments := function.get("arguments"):
                pieces.append(self._delta(type="input_json_delta", partial_json=arguments))
        return b"".join(pieces)

    def _grow(self, kind: str, blank: dict[str, Json]) -> bytes:
        """Begin a block, unless it is the one that is being written."""
        if kind == self._kind:
            return b""
        pieces = [self._begin(), self._close()]
        self._kind = kind
        self._index += 1
        start = _event("content_block_start", index=self._index, content_block=blank)
        return b"".join([*pieces, start])

    def _delta(self, **delta: Json) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        self._kind = None
        return _event("content_block_stop", index=self._index)

    def _begin(self) -> bytes:
        """Write that there will be a message, once."""
        if self._begun:
            return b""
        self._begun = True
        message: dict[str, Json] = {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "model": self._deltas.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _NOTHING,
        }
        return _event("message_start", message=message)


def _event(name: str, /, **about: Json) -> bytes:
    return f"event: {name}\ndata: ".encode() + encode({"type": name, **about}) + b"\n\n"
