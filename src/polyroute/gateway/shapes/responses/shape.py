"""``POST /v1/responses``: asked and answered in items.

The one decision here: what a response is gone on with is the record that this server keeps anyway.
Where it keeps none in full, there is nothing to go on with, and the request is told so.
"""

from polyroute.errors import RecordError
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.completion import choices
from polyroute.gateway.errors import ApiError, InvalidError
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import Outcome
from polyroute.gateway.shapes.responses.answer import ID, finished
from polyroute.gateway.shapes.responses.events import Events
from polyroute.gateway.shapes.responses.fields import SCHEMA, params
from polyroute.gateway.shapes.responses.items import messages
from polyroute.gateway.shapes.schema import check
from polyroute.gateway.stream import Rounds
from polyroute.types import Json, JsonObject

__all__ = ["Responses"]


class Responses:
    """``POST /v1/responses``.

    Parameters
    ----------
    rounds : {"reasoning", "comments", "off"}
        Whether streams show the rounds before the answer, as comments.
    keeper : Keeper
        Where earlier responses are found.
    stored : bool
        Whether it keeps them in full.
    """

    def __init__(self, rounds: Rounds, keeper: Keeper, *, stored: bool) -> None:
        self._rounds: Rounds = rounds
        self._keeper = keeper
        self._stored = stored

    async def read(self, wire: dict[str, Json], caller: Caller) -> dict[str, Json]:
        """Return the body as one of OpenAI's chat completions.

        Raises
        ------
        InvalidError
            If a field is wrong, or cannot be expressed.
        ApiError
            404, when the response to go on with is not there.
        """
        check(wire, SCHEMA)
        if wire.get("store") and not self._stored:
            raise InvalidError(
                "store: this server keeps no records in full, so a response cannot be stored; "
                "leave it out, or set records.content to full",
                param="store",
            )
        conversation = await self._before(wire.get("previous_response_id"), caller)
        if wire.get("instructions") is not None:
            conversation.insert(0, {"role": "system", "content": wire["instructions"]})
        conversation += messages(wire["input"])
        ours: dict[str, Json] = {
            key: wire[key] for key in ("model", "stream", "polyroute") if key in wire
        }
        return {**params(wire), **ours, "messages": conversation}

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        return finished(outcome, asked, stored=self._stored)

    def writer(self, asked: Asked) -> Events:
        """Return what writes one streamed reply."""
        return Events(asked, self._rounds, stored=self._stored)

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        return error.body(report)

    async def _before(self, id: str | None, caller: Caller) -> list[dict[str, Json]]:
        """Return the conversation up to an earlier response, without its instructions."""
        if id is None:
            return []
        record = await self._keeper.find(id.removeprefix(ID)) if id.startswith(ID) else None
        name = "previous_response_id"
        if record is None or not caller.sees(record):
            why = "" if self._stored else "; this server keeps no records in full"
            raise ApiError(
                404, f"there is no response {id!r:.120}{why}", code="response_not_found", param=name
            )
        try:
            trace = record.trace()
        except RecordError as error:
            raise InvalidError(f"{name}: {error}", param=name) from error
        if trace.answer is None:
            raise InvalidError(f"{name}: the response {id!r:.120} has no answer", param=name)
        asked = [message.to_json() for message in trace.request.messages]
        if asked and asked[0]["role"] == "system" and isinstance(asked[0]["content"], str):
            del asked[0]
        said = choices(trace)[0]["message"]
        answer = {"role": "assistant", "content": said.get("content")}
        kept = {key: said[key] for key in ("tool_calls", "refusal") if said.get(key)}
        return [*asked, {**answer, **kept}]
