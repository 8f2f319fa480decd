"""What a policy may say: ask some candidates, or answer."""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field
from msgspec.structs import asdict

from polyroute.errors import FailureKind
from polyroute.types import Json, JsonObject, Message, Request

__all__ = ["Answer", "Call", "Decision", "Failure", "Route", "decision_from_json"]


class Failure(Struct, frozen=True, gc=False):
    """Why there is no reply, or no answer."""

    kind: FailureKind
    message: str
    status: int | None = None
    """HTTP status of the upstream, where there was one."""
    retry_after_s: float | None = None
    """Seconds after which the upstream asked to be called again."""


class Call(Struct, frozen=True):
    """Ask one candidate one thing."""

    model: str
    """An id from the pool."""
    prompt: str | None = None
    """The sub-query, asked on its own; the request's own messages when `None`."""
    params: JsonObject = field(default_factory=dict)
    """Parameters of this call (`temperature`, `max_tokens`, `seed`, …); they win over those of
    the request, which go only with the request's own messages."""
    prefix: str = ""
    """Text with which the candidate's own turn begins. It goes on from there, and its reply is
    what it adds. Only backends of language models that continue a text can carry it out."""

    def messages(self, request: Request) -> tuple[Message, ...]:
        """Return what the candidate is sent; the last message is the prefix, when there is one."""
        asked = request.messages if self.prompt is None else (Message("user", self.prompt),)
        return (*asked, Message("assistant", self.prefix)) if self.prefix else asked

    def merged_params(self, request: Request) -> dict[str, Json]:
        """Return the parameters the candidate is sent."""
        return {**(request.params if self.prompt is None else {}), **self.params}


class Route(Struct, frozen=True, kw_only=True):
    """Ask one or more candidates at once; their replies come back in the next trace.

    A single-shot router returns one call with ``final=True``; a panel returns several calls; a
    multi-round router returns ``final=False`` and is asked again.
    """

    calls: tuple[Call, ...]
    final: bool = False
    """Relay the first good reply, in call order, as the answer, so that it can be streamed. When
    no reply is good the policy is asked again."""
    own: bool = False
    """The policy's own thinking (a router model, a judge, a verifier): billed to the episode like
    any call, but not counted as a round."""
    reason: str = ""
    propensity: float | None = None
    """Probability with which the policy gave this decision; needed for off-policy estimates."""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {"type": "route", **asdict(self), "calls": [_call(call) for call in self.calls]}


class Answer(Struct, frozen=True, kw_only=True):
    """Stop: say `text`, or say why there is nothing to say."""

    text: str = ""
    reason: str = ""
    failure: Failure | None = None
    """Why there is no answer; `text` is then empty."""
    fields: JsonObject = field(default_factory=dict)
    """Further facts for the reader of the trace (a warning, a score)."""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        failure = None if self.failure is None else asdict(self.failure)
        return {"type": "answer", **asdict(self), "failure": failure}


Decision: TypeAlias = Route | Answer


def decision_from_json(wire: Mapping[str, Json]) -> Decision:
    """Read what `Route.to_json` or `Answer.to_json` wrote."""
    values = {key: value for key, value in wire.items() if key != "type"}
    if wire["type"] == "route":
        values["calls"] = tuple(Call(**call) for call in wire["calls"])
        return Route(**values)
    if wire["failure"] is not None:
        values["failure"] = Failure(**wire["failure"])
    return Answer(**values)


def _call(call: Call) -> dict[str, Json]:
    """Return the call without an empty prefix, so that the records of calls without one stay."""
    wire: dict[str, Json] = asdict(call)
    if not call.prefix:
        del wire["prefix"]
    return wire
