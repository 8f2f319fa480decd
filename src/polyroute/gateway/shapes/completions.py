"""``POST /v1/completions``: a prompt in, text out.

The one decision here: candidates are chat models, so a prompt is a message of the user, and the
text is the answer to it. Whoever needs a text gone on with where it stops asks another server.
"""

import time
from collections.abc import Mapping

from polyroute.episode import Streamed
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.completion import choices, model, report, usage
from polyroute.gateway.errors import ApiError, InvalidError
from polyroute.gateway.run import FellBack, Happening, Outcome
from polyroute.gateway.shapes.deltas import Deltas, Lines
from polyroute.gateway.shapes.schema import check
from polyroute.gateway.stream import Rounds
from polyroute.gateway.wire import encode
from polyroute.types import Json, JsonObject

__all__ = ["SCHEMA", "Completions"]

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {
        "model": {"type": "string"},
        "prompt": {"type": ["string", "array"], "minItems": 1},
        "best_of": {"type": ["integer", "null"]},
        "echo": {"type": ["boolean", "null"]},
        "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 5},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_usage": {"type": ["boolean", "null"]}},
        },
        "suffix": {"type": ["string", "null"]},
        "polyroute": {"type": ["object", "null"]},
    },
}
"""What is looked at here; other fields go on to the candidate as they came."""

_NOT_PASSED = ("prompt", "echo", "best_of", "suffix", "logprobs")
_ELSEWHERE = ("messages", "max_completion_tokens", "tools", "response_format")


class Completions:
    """``POST /v1/completions``.

    Parameters
    ----------
    rounds : {"reasoning", "comments", "off"}
        Whether streams show the rounds before the answer, as comments.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds: Rounds = rounds

    async def read(self, wire: dict[str, Json], caller: Caller) -> dict[str, Json]:
        """Return the body as one of OpenAI's chat completions.

        Raises
        ------
        InvalidError
            If a field is wrong, or cannot be expressed.
        """  # noqa: DOC501
        check(wire, SCHEMA)
        if wire.get("suffix"):
            raise _unsayable("suffix")
        if wire.get("best_of") not in (None, 1):
            raise _unsayable("best_of")
        for name in _ELSEWHERE:
            if name in wire:
                raise InvalidError(
                    f"{name} is no field of this endpoint; see /v1/chat/completions", param=name
                )
        chat = {key: value for key, value in wire.items() if key not in _NOT_PASSED}
        if wire.get("logprobs") is not None:
            chat |= {"logprobs": True, "top_logprobs": wire["logprobs"]}
        return {**chat, "messages": [{"role": "user", "content": _prompt(wire)}]}

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        return {
            **_body(outcome.trace.request.id, model(outcome, asked)),
            "choices": [
                {
                    "text": _echoed(asked) + (choice["message"].get("content") or ""),
                    "index": choice.get("index", 0),
                    "logprobs": _logprobs(choice.get("logprobs"), asked),
                    "finish_reason": choice.get("finish_reason"),
                }
                for choice in choices(outcome.trace)
            ],
            "usage": usage(outcome),
            "polyroute": report(outcome, asked),
        }

    def writer(self, asked: Asked) -> "_Chunks":
        """Return what writes one streamed reply."""
        return _Chunks(asked, self._rounds)

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        return error.body(report)


class _Chunks:
    """Writes one streamed completion."""

    def __init__(self, asked: Asked, rounds: Rounds) -> None:
        self._asked = asked
        self._deltas = Deltas(asked)
        self._lines = Lines(rounds)
        self._id = asked.request.id
        self._echoed: set[int] = set()

    def feed(self, event: Happening) -> bytes:
        """Take in what happened."""
        if isinstance(event, FellBack):
            self._id = event.answer_id
        if isinstance(event, Streamed):
            return b"".join(self._choice(choice) for choice in self._deltas.of(event))
        return self._lines.of(event)

    def finish(self, outcome: Outcome) -> bytes:
        """Write what is left of the answer, the usage if it was asked for, and the end."""
        pieces = [self._choice(choice) for choice in self._deltas.rest(outcome)]
        last = {
            **_body(self._id, model(outcome, self._asked)),
            "choices": [],
            "polyroute": report(outcome, self._asked),
        }
        if self._asked.include_usage:
            last["usage"] = usage(outcome)
        return b"".join([*pieces, _event(last), b"data: [DONE]\n\n"])

    def fail(self, error: ApiError, about: JsonObject | None) -> bytes:
        """Write an error into a stream that has begun, and end it."""
        return _event(error.body(about))

    def _choice(self, choice: JsonObject) -> bytes:
        index, text = choice.get("index", 0), (choice.get("delta") or {}).get("content") or ""
        if index not in self._echoed:
            self._echoed.add(index)
            text = _echoed(self._asked) + text
        reason = choice.get("finish_reason")
        if not text and reason is None:
            return b""
        one = {
            "text": text,
            "index": index,
            "logprobs": _logprobs(choice.get("logprobs"), self._asked),
            "finish_reason": reason,
        }
        return _event({**_body(self._id, self._deltas.model), "choices": [one]})


def _prompt(wire: JsonObject) -> str:
    """Return the one prompt of a request."""
    prompt = wire["prompt"]
    if isinstance(prompt, list):
        if len(prompt) != 1:
            raise InvalidError(
                f"prompt: one prompt per request, got {len(prompt)}; send a request for each",
                param="prompt",
            )
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InvalidError(
            "prompt must be text, since candidates have tokenizers of their own; tokens cannot be "
            "sent",
            param="prompt",
        )
    return prompt


def _body(id: str, model: str) -> dict[str, Json]:
    return {
        "id": f"cmpl-{id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
    }


def _echoed(asked: Asked) -> str:
    return _prompt(asked.said) if asked.said.get("echo") else ""


def _logprobs(said: Json, asked: Asked) -> JsonObject | None:
    """Return log-probabilities in this endpoint's columns, those of the completion only."""
    listed = said.get("content") if isinstance(said, Mapping) else None
    if not listed:
        return None
    offset, offsets = len(_echoed(asked)), []
    for one in listed:
        offsets.append(offset)
        offset += len(one["token"])
    return {
        "tokens": [one["token"] for one in listed],
        "token_logprobs": [one["logprob"] for one in listed],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in one.get("top_logprobs") or ()}
            for one in listed
        ],
        "text_offset": offsets,
    }


def _event(body: JsonObject) -> bytes:
    return b"data: " + encode(body) + b"\n\n"


def _unsayable(place: str) -> InvalidError:
    return InvalidError(
        f"{place} cannot be carried out here: candidates are asked by chat completions, which "
        "have no such thing; leave it out",
        param=place,
    )
