"""``POST /v1/messages``: asked and answered in blocks."""

from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.gateway.shapes.messages.answer import error_body, finished
from polyroute.gateway.shapes.messages.content import messages
from polyroute.gateway.shapes.messages.events import Events
from polyroute.gateway.shapes.messages.fields import SCHEMA, params
from polyroute.gateway.shapes.schema import check
from polyroute.gateway.stream import Rounds
from polyroute.types import Json, JsonObject

__all__ = ["Messages"]


class Messages:
    """``POST /v1/messages``.

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
        """
        check(wire, SCHEMA)
        ours: dict[str, Json] = {
            key: wire[key] for key in ("model", "stream", "polyroute") if key in wire
        }
        return {**params(wire), **ours, "messages": messages(wire)}

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        return finished(outcome, asked)

    def writer(self, asked: Asked) -> Events:
        """Return what writes one streamed reply."""
        return Events(asked, self._rounds)

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        return error_body(error, report)
