"""What happens in an episode -> the pieces of its answer, for forms other than OpenAI's chat.

The one decision here: an answer comes in the same pieces whoever wrote it, a candidate that
streams, one that does not, or the policy; so a form has one way to write each.
"""

from polyroute.decision import Route
from polyroute.episode import Decided, Replied, Streamed
from polyroute.gateway.asked import Asked
from polyroute.gateway.completion import choices
from polyroute.gateway.run import Happening, Outcome
from polyroute.gateway.stream import Rounds, asking, said
from polyroute.types import Json, JsonObject

__all__ = ["Deltas", "Lines"]


class Deltas:
    """Takes the pieces of one streamed answer apart: choices with a ``delta``, as in chat chunks.

    Parameters
    ----------
    asked : Asked
        The request.
    """

    def __init__(self, asked: Asked) -> None:
        self.model = asked.model
        """Who writes the answer, as far as that is known."""
        self._pool = asked.pool
        self._text = False
        self._relayed = False

    def of(self, event: Streamed) -> list[JsonObject]:
        """Return the choices of one piece."""
        self._text = True
        self.model = self._pool.card(event.call.model).id
        chunk = event.delta.chunk
        if chunk is None:
            return [{"index": 0, "delta": {"content": event.delta.text}}]
        self._relayed = True
        if event.delta.parts:
            choice = chunk["choices"][0]
            return [{**choice, "delta": {**choice["delta"], "content": event.delta.text}}]
        return list(chunk.get("choices") or ())

    def rest(self, outcome: Outcome) -> list[JsonObject]:
        """Return the choices with what no piece has said."""
        if self._relayed:
            return []
        rest: list[JsonObject] = []
        for choice in choices(outcome.trace):
            index, message = choice.get("index", 0), choice["message"]
            delta = {key: value for key, value in message.items() if value is not None}
            if self._text and index == 0:
                delta.pop("content", None)
            if isinstance(delta.get("tool_calls"), list):
                numbered = enumerate(delta["tool_calls"])
                delta["tool_calls"] = [{"index": k, **call} for k, call in numbered]
            reason = choice.get("finish_reason")
            one: dict[str, Json] = {"index": index, "delta": delta, "finish_reason": reason}
            if choice.get("logprobs") and not self._text:
                one["logprobs"] = choice["logprobs"]
            rest.append(one)
        return rest


class Lines:
    """Writes the rounds before an answer as comments, which clients of any form skip.

    Parameters
    ----------
    rounds : {"reasoning", "comments", "off"}
        Whether they are shown.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._shown = rounds != "off"
        self._final = False

    def of(self, event: Happening) -> bytes:
        """Return the comments on `event`, perhaps none."""
        lines: list[str] = []
        if isinstance(event, Decided) and isinstance(event.decision, Route):
            self._final = event.decision.final
            if not self._final:
                lines = [asking(call, own=event.decision.own) for call in event.decision.calls]
        elif isinstance(event, Replied) and not self._final:
            lines = [said(event.reply)]
        if not self._shown:
            return b""
        return "".join(f": {line}\n\n" for line in lines).encode("utf-8", "replace")
