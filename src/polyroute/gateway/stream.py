"""The events of a run -> server-sent events in OpenAI's shape, one piece at a time.

The one decision here: nothing is written before there is something to say. The rounds of an
episode are such a thing, a call that may yet fail is not: so what fails early still gets its real
status, and what fails late ends in an error event, never in silence.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Literal

from polyroute.decision import Call, Route
from polyroute.episode import Decided, Finished, Streamed
from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import choices, model, quoted, report, usage
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import FellBack, Happening, Outcome
from polyroute.gateway.wire import encode
from polyroute.observation import inert
from polyroute.trace import Reply
from polyroute.types import Json, JsonObject

__all__ = ["Chunks", "Rounds", "asking", "said"]

Rounds = Literal["reasoning", "comments", "off"]

_SHOWN = 200
"""Most characters of a sub-query or a reply in a line about a round."""


_MARK = "\N{OBJECT REPLACEMENT CHARACTER}" * 3
"""Stands where a text goes, and nowhere else: where it does, nothing is written by it."""


class Chunks:
    """Writes one streamed reply. Each method returns the bytes to send, perhaps none.

    Parameters
    ----------
    asked : Asked
        The request.
    rounds : {"reasoning", "comments", "off"}
        How the rounds before the answer are shown.
    """

    def __init__(self, asked: Asked, rounds: Rounds) -> None:
        self._asked = asked
        self._rounds = rounds
        self._id: str | None = None
        self._created = int(time.time())
        self._model = asked.model
        self._call: Call | None = None
        """Whose pieces come."""
        self._final = False
        """Whether the calls that run now may be the answer."""
        self._lines: list[str] = []
        """Lines about rounds that wait for something to be certain."""
        self._roled: set[int] = set()
        """The choices whose role has been said."""
        self._held: JsonObject | None = None
        """The chunk that ends the answer, until it is known whether it is the last."""
        self._text = False
        """Whether a piece of the answer has been written."""
        self._relayed = False
        """Whether it came in the upstream's own chunks."""
        self._like: JsonObject | None = None
        """The chunk of the upstream that others came like."""
        self._around: list[str] = []
        """What stands before and behind the text in chunks like it."""

    def feed(self, event: Happening) -> bytes:
        """Take in what happened."""
        if isinstance(event, Streamed):
            return self._flush() + self._piece(event) if self._lines else self._piece(event)
        if isinstance(event, FellBack):
            self._lines.append(f"the policy broke; asking {event.card} instead")
            return b""
        if isinstance(event, Finished):
            return b""
        if isinstance(event, Decided):
            if not isinstance(event.decision, Route):
                return b""
            self._final = event.decision.final
            if self._final:
                return b""
            self._lines += [asking(call, own=event.decision.own) for call in event.decision.calls]
            return self._flush()
        if not self._final:
            self._lines.append(said(event.reply))
            return self._flush()
        if not event.reply.ok:
            self._lines.append(said(event.reply))
        return b""

    def finish(self, outcome: Outcome) -> bytes:
        """Write what is left of the answer, the usage if it was asked for, and the end."""
        pieces = [self._flush()]
        self._model = model(outcome, self._asked)
        if not self._relayed:
            pieces += self._rest(outcome)
        last = self._held
        about = report(outcome, self._asked)
        if last is None:
            reply = quoted(outcome.trace)
            reason = (reply and reply.finish_reason) or "stop"
            last = self._chunk([{"index": 0, "delta": {}, "finish_reason": reason}])
        if self._asked.include_usage:
            pieces.append(_event(last))
            last = {**self._chunk([]), "usage": usage(outcome)}
        pieces += [_event({**last, "polyroute": about}), b"data: [DONE]\n\n"]
        return b"".join(pieces)

    def fail(self, error: ApiError, about: JsonObject | None) -> bytes:
        """Write an error into a stream that has begun, and end it."""
        lines = self._flush()
        held = b"" if self._held is None else _event(self._held)
        return lines + held + _event(error.body(about))

    def _piece(self, event: Streamed) -> bytes:
        """Write a piece of the answer: the upstream's chunk, or one made of the text."""
        self._text = True
        if event.call is not self._call:
            self._call, self._model = event.call, self._asked.pool.card(event.call.model).id
            self._like = None
        chunk = event.delta.chunk
        if chunk is None:
            text = event.delta.text
            if not text and 0 in self._roled:
                return b""
            return self._send([{"index": 0, "delta": {"content": text}, "finish_reason": None}])
        self._relayed = True
        if event.delta.parts:
            return self._alike(chunk, event.delta.parts)
        return self._relay(chunk)

    def _alike(self, like: JsonObject, texts: tuple[str, ...]) -> bytes:
        """Write chunks that are like one of the upstream's but for their text."""
        choice = like["choices"][0]

        def relay(text: str) -> bytes:
            return self._relay(
                {**like, "choices": [{**choice, "delta": {**choice["delta"], "content": text}}]}
            )

        if 0 not in self._roled or self._held is not None:
            first = relay(texts[0])
            return first + self._alike(like, texts[1:]) if texts[1:] else first
        if self._like is not like:
            self._like, self._around = like, relay(_MARK).decode().split(_MARK)
        if len(self._around) != 2:
            return b"".join(map(relay, texts))
        before, behind = self._around
        return (before + (behind + before).join(texts) + behind).encode()

    def _relay(self, chunk: JsonObject) -> bytes:
        """Write an upstream's chunk; its usage is ours to say, at the end."""
        listed = chunk.get("choices") or []
        if not listed and chunk.get("usage"):
            return b""
        if self._id is None:
            self._id = str(chunk.get("id") or f"chatcmpl-{self._asked.request.id}")
            self._created = chunk.get("created") or self._created
        return self._send(listed, chunk)

    def _send(self, listed: Iterable[JsonObject], like: JsonObject | None = None) -> bytes:
        """Write a chunk of choices, or hold it back when it ends one."""
        roled: list[JsonObject] = []
        ends = False
        for choice in listed:
            known = choice.get("index", 0) in self._roled
            roled.append(choice if known else self._with_role(choice))
            ends = ends or bool(choice.get("finish_reason"))
        chunk = self._chunk(roled, like)
        held, self._held = self._held, chunk if ends else None
        if held is None:
            return b"" if ends else _event(chunk)
        return _event(held) if ends else _event(held) + _event(chunk)

    def _with_role(self, choice: JsonObject) -> JsonObject:
        delta = choice.get("delta")
        if not isinstance(delta, (dict, Mapping)):
            return choice
        self._roled.add(choice.get("index", 0))
        return {**choice, "delta": {"role": "assistant", **delta}}

    def _chunk(self, listed: list[JsonObject], like: JsonObject | None = None) -> dict[str, Json]:
        self._id = self._id or f"chatcmpl-{self._asked.request.id}"
        chunk: dict[str, Json] = {
            **(like or {}),
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": listed,
        }
        chunk.pop("usage", None)
        return {**chunk, "usage": None} if self._asked.include_usage else chunk

    def _rest(self, outcome: Outcome) -> list[bytes]:
        """Write what no piece has said: a whole answer, or the fields of a streamed one."""
        written = []
        for choice in choices(outcome.trace):
            delta = {key: value for key, value in choice["message"].items() if value is not None}
            index, reason = choice.get("index", 0), choice.get("finish_reason")
            if self._text and index == 0:
                delta = {k: v for k, v in delta.items() if k not in ("role", "content")}
            if isinstance(delta.get("tool_calls"), list):
                delta["tool_calls"] = [
                    {"index": k, **piece} for k, piece in enumerate(delta["tool_calls"])
                ]
            if delta:
                whole = {"index": index, "delta": delta, "finish_reason": None}
                if choice.get("logprobs"):
                    whole["logprobs"] = choice["logprobs"]
                written.append(self._send([whole]))
            written.append(self._send([{"index": index, "delta": {}, "finish_reason": reason}]))
        return written

    def _flush(self) -> bytes:
        """Write the lines about rounds."""
        lines, self._lines = self._lines, []
        if not lines or self._rounds == "off":
            return b""
        if self._rounds == "comments":
            return "".join(f": {line}\n\n" for line in lines).encode("utf-8", "replace")
        delta = {"reasoning_content": "".join(f"{line}\n" for line in lines)}
        return self._send([{"index": 0, "delta": delta, "finish_reason": None}])


def _event(body: JsonObject) -> bytes:
    return b"data: " + encode(body) + b"\n\n"


def asking(call: Call, *, own: bool) -> str:
    """Return the line that says who is asked; what a policy asks for itself is its own affair."""
    if own:
        return f"consulting {call.model}"
    return f"asking {call.model}" + ("" if call.prompt is None else f": {_line(call.prompt)}")


def said(reply: Reply) -> str:
    """Return the line that says what came back, at what price.

    Examples
    --------
    >>> from decimal import Decimal
    >>> said(Reply(model="geo", text="Lima", usd=Decimal("0.000002"), seconds=0.02))
    'geo: Lima ($0.000002, 0.02 s)'
    """
    if reply.failure is not None:
        return f"{reply.model}: no reply, {reply.failure.kind} ({_line(reply.failure.message)})"
    price = "price unknown" if reply.usd is None else f"${reply.usd:f}"
    return f"{reply.model}: {_line(reply.text)} ({price}, {reply.seconds:.2f} s)"


def _line(text: str) -> str:
    return " ".join(inert(text, limit=_SHOWN).split())
