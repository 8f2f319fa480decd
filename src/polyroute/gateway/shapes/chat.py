"""OpenAI's chat completions: the form in which the gateway itself thinks."""

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.completion import completion
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.gateway.stream import Chunks, Rounds
from polyroute.types import Json, JsonObject

__all__ = ["SCHEMA", "Chat"]

_COUNT = {"type": ["integer", "null"], "minimum": 1}

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {
                    "role": {"type": "string"},
                    "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
                },
            },
        },
        "max_completion_tokens": _COUNT,
        "max_tokens": _COUNT,
        "n": _COUNT,
        "seed": {"type": ["integer", "null"]},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_usage": {"type": ["boolean", "null"]}},
        },
        "polyroute": {"type": ["object", "null"]},
    },
}
"""What is looked at, by the reader of requests; other fields go on as they came."""


class Chat:
    """``POST /v1/chat/completions``.

    Parameters
    ----------
    rounds : {"reasoning", "comments", "off"}
        How streams show the rounds before the answer.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds: Rounds = rounds

    async def read(self, wire: dict[str, Json], caller: Caller) -> dict[str, Json]:
        """Return the body as it is."""
        return wire

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        return completion(outcome, asked)

    def writer(self, asked: Asked) -> Chunks:
        """Return what writes one streamed reply."""
        return Chunks(asked, self._rounds)

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        return error.body(report)
