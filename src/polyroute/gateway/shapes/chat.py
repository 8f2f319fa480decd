"""OpenAI's chat completions: the form in which the gateway itself thinks."""

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.completion import completion
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.gateway.stream import Chunks, Rounds
from polyroute.types import Json, JsonObject

__all__ = ["Chat"]


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
