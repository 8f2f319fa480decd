"""The router model's turns on a server of tokens: ids in, sampled ids out.

The one decision here: this keeps one episode as one sequence of tokens, exactly as
`polyroute.backends.transformers` does in process, so both engines train on the same sequence: what
was sampled stays as it was sampled, an observation is tokenised alone and appended, nothing else.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from polyroute.backends.transformers import Tokens
from polyroute.backends.transformers.session import Session
from polyroute.backends.transformers.wording import TAIL, Wording
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Json, JsonObject, Message, Usage

__all__ = ["Generated", "Served", "TokenServer", "sampling"]

_TAKEN = ("temperature", "top_p", "top_k", "repetition_penalty", "logprobs")
"""What the trainer decides about sampling, whatever the policy says."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generated:
    """What a server sampled for one turn."""

    ids: Sequence[int]
    logprobs: Sequence[float] | None = None
    """One for each of `ids`; `None` when the server gives none."""
    aborted: bool = False
    """Whether it was stopped from outside, so that the turn is no turn."""


class TokenServer(Protocol):
    """Takes tokens, gives tokens."""

    async def generate(self, ids: Sequence[int], params: JsonObject) -> Generated:
        """Sample what follows `ids`."""
        ...


class Served:
    """One episode of a router model on a server of tokens; make one per episode.

    Parameters
    ----------
    server : TokenServer
    wording : Wording
        Of the model's tokenizer.
    params : mapping
        How the trainer samples: ``temperature``, ``top_p``, ``top_k`` and the like go over the
        policy's own; stop strings and the longest turn are the policy's.
    prompt_tokens, reply_tokens : int
        The trainer's limits. A longer prompt, and a turn with no room left, are failures of kind
        ``context``, which end the episode without an answer of its own.
    """

    def __init__(
        self,
        server: TokenServer,
        wording: Wording,
        params: JsonObject,
        *,
        prompt_tokens: int,
        reply_tokens: int,
    ) -> None:
        self.server = server
        self.wording = wording
        self.params = params
        self.prompt_tokens = prompt_tokens
        self.reply_tokens = reply_tokens
        self._session: Session | None = None

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Have the next turn of the episode sampled.

        Raises
        ------
        BackendError
            Of kind ``context`` when the episode is too long for the trainer; ``bad_request`` when
            the transcript does not continue the episode; ``backend`` when the server broke off.
        """
        del emit
        begin = time.monotonic()
        session = self._continued(call.messages(trace.request), call.prefix)
        params = sampling(call.merged_params(trace.request), self.params)
        room = self.reply_tokens - len(session.mask)
        if room < 1:
            raise BackendError(f"no room in {self.reply_tokens} tokens", kind="context")
        asked = params.get("max_tokens")
        limit = min(room, int(asked)) if isinstance(asked, int | float) else room
        params["max_tokens"] = limit
        got = await self.server.generate(tuple(session.ids), params)
        if got.aborted:
            raise BackendError(f"the server broke off a turn of {call.model!r}")
        start = len(session.ids)
        _keep(session, got)
        ended = len(got.ids) < limit or self._ends(got.ids)
        session.finish_reason = "stop" if ended else "length"
        return self._reply(call, session, start, time.monotonic() - begin)

    async def close(self) -> None:
        """Do nothing: the server is the trainer's."""

    def tokens(self) -> Tokens | None:
        """Return the episode's tokens up to the last one that was sampled; `None` without any."""
        session = self._session
        if session is None or not any(session.mask):
            return None
        last = max(k for k, own in enumerate(session.mask) if own)
        session.cut(session.prompt_length + last + 1)
        return session.tokens()

    def _continued(self, messages: tuple[Message, ...], prefix: str) -> Session:
        asked = messages[:-1] if prefix else messages
        session = self._session
        if session is None:
            ids = self.wording.prompt_ids(asked)
            if len(ids) > self.prompt_tokens:
                raise BackendError(
                    f"the prompt has {len(ids)} tokens, and prompt_tokens is {self.prompt_tokens}",
                    kind="context",
                )
            session = self._session = Session(messages=asked, ids=ids, prompt_length=len(ids))
        added = session.text_after(asked, prefix)
        if added is None:
            raise BackendError("a turn does not continue its episode", kind="bad_request")
        session.append(self.wording.encode(added) if added else [], prefix)
        return session

    def _ends(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] == self.wording.tokenizer.eos_token_id

    def _reply(self, call: Call, session: Session, start: int, seconds: float) -> Reply:
        ids = session.ids[start:]
        before = session.ids[max(session.prompt_length, start - TAIL) : start]
        whole = self.wording.decode(ids, before)
        stop = _first(whole, _stops(call.params.get("stop")))
        text, stop, session.overhang = whole.partition(stop) if stop else (whole, "", "")
        session.shown = call.prefix + text + stop
        if stop:  # it may come with the very last token that was allowed
            session.finish_reason = "stop"
        fields: JsonObject = {"stop": stop or None} if session.finish_reason == "stop" else {}
        return Reply(
            model=call.model,
            text=text,
            usage=Usage(input=start, output=len(ids)),
            seconds=seconds,
            finish_reason=session.finish_reason,
            logprobs=tuple(session.logprobs[-len(ids) :]) if ids else (),
            fields=fields,
        )


def sampling(own: JsonObject, trainer: JsonObject) -> dict[str, Json]:
    """Return the parameters of a turn in the words of vLLM: the trainer's over the policy's own.

    The seed is left to the server: the same request is sampled several times in a group, and has to
    be sampled differently.

    Examples
    --------
    >>> own = {"stop": ["</a>"], "max_tokens": 96, "seed": 7}
    >>> sampling(own, {"top_p": 1.0})
    {'max_tokens': 96, 'top_p': 1.0, 'stop': ['</a>'], 'include_stop_str_in_output': True}
    """
    params = {key: value for key, value in own.items() if key not in ("stop", "seed")}
    params |= {key: trainer[key] for key in _TAKEN if key in trainer}
    stops = _stops(own.get("stop"))
    return {**params, "stop": list(stops), "include_stop_str_in_output": True} if stops else params


def _keep(session: Session, got: Generated) -> None:
    """Append what was sampled."""
    ids = list(got.ids)
    session.ids += ids
    session.mask += [True] * len(ids)
    session.logprobs += list(got.logprobs) if got.logprobs is not None else [0.0] * len(ids)
    session.turns += 1


def _stops(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - a parameter as it was written
    return (value,) if isinstance(value, str) else tuple(value or ())


def _first(text: str, stops: Sequence[str]) -> str | None:
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    return min(found)[1] if found else None
