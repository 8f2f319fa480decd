"""``POST /v1/embeddings``: passed through to the model that is named."""

from polyroute.backends.openai.embeddings import as_messages
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.catalogue import PREFIX
from polyroute.gateway.completion import model, quoted, report
from polyroute.gateway.errors import ApiError, InvalidError
from polyroute.gateway.run import Outcome
from polyroute.gateway.seams import Writer
from polyroute.gateway.shapes.schema import check
from polyroute.types import Json, JsonObject

__all__ = ["SCHEMA", "Embeddings"]

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string"},
        "input": {
            "type": ["string", "array"],
            "minItems": 1,
            "items": {
                "type": ["string", "integer", "array"],
                "minItems": 1,
                "items": {"type": "integer"},
            },
        },
        "polyroute": {"type": ["object", "null"]},
    },
}
"""What is looked at here; other fields go on to the candidate as they came."""

_NO_FIELDS = ("messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n")


class Embeddings:
    """``POST /v1/embeddings``.

    Parameters
    ----------
    any : bool
        Whether there is a model to ask.
    """

    def __init__(self, *, any: bool) -> None:
        self._any = any

    async def read(self, wire: dict[str, Json], caller: Caller) -> dict[str, Json]:
        """Return the body as a chat completion whose messages are the texts.

        Raises
        ------
        InvalidError
            If a field is wrong.
        ApiError
            404, for a policy: vectors of two models do not mix, so nothing is routed here; and
            where there is no model for it.
        """
        if not self._any:
            why = "no embedding model is configured here; see the section embeddings"
            raise ApiError(404, why, code="model_not_found", param="model")
        check(wire, SCHEMA)
        for name in _NO_FIELDS:
            if name in wire:
                raise InvalidError(f"{name} is no field of this endpoint", param=name)
        name = wire["model"]
        if name == PREFIX or name.startswith(f"{PREFIX}/"):
            raise ApiError(
                404,
                f"{name!r:.80} is a policy, and embeddings are asked of one model by its name; "
                "see GET /v1/models",
                code="model_not_found",
                param="model",
            )
        kinds = {type(one) for one in wire["input"]}
        if isinstance(wire["input"], list) and len(kinds) > 1:
            raise InvalidError("input: texts and tokens cannot be mixed", param="input")
        messages = [message.to_json() for message in as_messages(wire["input"])]
        rest = {key: value for key, value in wire.items() if key != "input"}
        return {**rest, "messages": messages}

    def whole(self, outcome: Outcome, asked: Asked) -> JsonObject:
        """Return the body of a reply: the upstream's, with the report.

        Raises
        ------
        ApiError
            502, if the candidate gave no vectors.
        """
        reply = quoted(outcome.trace)
        if reply is None or reply.raw is None:
            raise ApiError(
                502,
                "the candidate gave no vectors; its backend must be one for embeddings",
                type="upstream_error",
                code="upstream_invalid_reply",
            )
        about = {"model": model(outcome, asked), "polyroute": report(outcome, asked)}
        return {"object": "list", **reply.raw, **about}

    def writer(self, asked: Asked) -> Writer:
        """Nothing is streamed here: the field is refused."""
        raise AssertionError("a request for vectors is never streamed")

    def error(self, error: ApiError, report: JsonObject | None = None) -> JsonObject:
        """Return the body of a refusal."""
        return error.body(report)
