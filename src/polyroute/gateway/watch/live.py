"""Episodes as they happen, for those who look on.

The one decision here: nobody who looks on slows an episode down. What a reader is too slow for is
dropped, and it is given the whole picture anew; without readers nothing is written at all, and
what has ended is kept as it was, to be described when somebody comes.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

from msgspec import Struct, field

from polyroute.decision import Decision, Route
from polyroute.episode import Decided, Replied
from polyroute.gateway.asked import Asked
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import FellBack, Happening
from polyroute.gateway.watch.account import Account
from polyroute.gateway.wire import encode
from polyroute.trace import Reply
from polyroute.types import Json, JsonObject

__all__ = ["EPISODES", "Live"]

EPISODES = 100
"""Finished episodes that are kept: as many as the page draws. They are the memory that a server
under load goes round in, so twice as many cost every request a few per cent of its time."""

_SHOWN = 300
"""Most characters of a text."""

_SHORT = 10_000
"""Characters of an episode that is kept whole until somebody looks; of a longer one, only what is
shown is kept."""

_SHOWN_EVENTS = (Decided, Replied, FellBack)

_READERS = 32
_AHEAD = 256
"""Events that may wait for a reader."""

_LONGEST_S = 60.0
"""Seconds after which a reader has to come again: a configuration that was replaced ends with its
last request, and would never end with a reader that stays."""

_PULSE_S = 15.0
"""Seconds of silence after which a reader is told that the server lives."""


class _Running(Struct):
    """An episode on its way."""

    asked: Asked
    at: float
    events: list[tuple[float, Decided | Replied | FellBack]] = field(default_factory=list)


class Live:
    """Shows the episodes of one server.

    Parameters
    ----------
    texts : bool
        Whether texts may be shown; `False` where the records keep none either.
    ended : deque, optional
        The newest episodes, where others go on with them.
    """

    def __init__(self, *, texts: bool, ended: "deque[Account | JsonObject] | None" = None) -> None:
        self._texts = texts
        self._running: dict[str, _Running] = {}
        self._ended = deque(maxlen=EPISODES) if ended is None else ended
        self._readers: set[asyncio.Queue[bytes | None]] = set()

    def began(self, asked: Asked) -> None:
        """Take note of a request."""
        running = self._running[asked.request.id] = _Running(asked, time.time())
        if self._readers:
            self._tell({"type": "began", **self._begun(running)})

    def happened(self, asked: Asked, event: Happening) -> None:
        """Take note of what happened in its episode."""
        if not isinstance(event, _SHOWN_EVENTS):
            return
        running = self._running.get(asked.request.id)
        if running is None:
            return
        now = time.time()
        running.events.append((now, event))
        if self._readers:
            self._tell({"type": "happened", "id": asked.request.id, **self._event(now, event)})

    def ended(self, account: Account) -> None:
        """Take note that it is over."""
        id = account.asked.request.id
        self._running.pop(id, None)
        if not self._readers and _is_short(account):
            self._ended.append(account)
            return
        episode = self._episode(account)
        self._ended.append(episode)
        if self._readers:
            self._tell({"type": "ended", "episode": episode})

    async def events(self) -> AsyncGenerator[bytes]:
        """Yield server-sent events: the picture as it is, then every change.

        Raises
        ------
        ApiError
            503, when too many look on already.
        """
        if len(self._readers) >= _READERS:
            raise ApiError(
                503,
                f"{_READERS} readers look on already; close a page",
                type="server_error",
                code="too_many_readers",
            )
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        queue.put_nowait(self._picture())
        self._readers.add(queue)
        return self._read(queue)

    def close(self) -> None:
        """Let every reader go."""
        for queue in tuple(self._readers):
            _replace(queue, None)

    async def _read(self, queue: asyncio.Queue[bytes | None]) -> AsyncGenerator[bytes]:
        end = time.monotonic() + _LONGEST_S
        try:
            while (left := end - time.monotonic()) > 0:
                try:
                    event = await asyncio.wait_for(queue.get(), min(_PULSE_S, left))
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._readers.discard(queue)

    def _tell(self, event: JsonObject) -> None:
        said = _written(event)
        for queue in self._readers:
            try:
                queue.put_nowait(said)
            except asyncio.QueueFull:
                _replace(queue, self._picture())

    def _picture(self) -> bytes:
        running = [
            {
                **self._begun(one),
                "events": [self._event(at, event) for at, event in one.events],
            }
            for one in self._running.values()
        ]
        ended = [self._episode(e) if isinstance(e, Account) else e for e in self._ended]
        return _written({"type": "picture", "running": running, "ended": ended})

    def _begun(self, running: _Running) -> dict[str, Json]:
        asked = running.asked
        return {
            "id": asked.request.id,
            "at": running.at,
            "policy": asked.choice.name,
            "question": self._text(asked.request.prompt),
        }

    def _event(self, at: float, event: Decided | Replied | FellBack) -> dict[str, Json]:
        if isinstance(event, Decided):
            return {"at": at, "decided": self._decision(event.decision)}
        if isinstance(event, Replied):
            return {"at": at, "index": event.index, "replied": self._reply(event.reply)}
        return {"at": at, "fell_back": event.card}

    def _decision(self, decision: Decision) -> dict[str, Json]:
        said: dict[str, Json] = {"reason": self._text(decision.reason)}
        if not isinstance(decision, Route):
            return {**said, "answer": True, "calls": []}
        calls = [{"card": c.model, "prompt": self._text(c.prompt or "")} for c in decision.calls]
        return {**said, "own": decision.own, "final": decision.final, "calls": calls}

    def _reply(self, reply: Reply) -> dict[str, Json]:
        return {
            "card": reply.model,
            "text": self._text(reply.text),
            "usd": None if reply.usd is None else f"{reply.usd:f}",
            "seconds": reply.seconds,
            "tokens": None if reply.usage is None else reply.usage.total,
            "failure": None if reply.failure is None else reply.failure.kind,
            "instance": reply.instance,
        }

    def _episode(self, account: Account) -> dict[str, Json]:
        outcome, asked = account.outcome, account.asked
        steps: list[JsonObject] = [
            {
                **self._decision(step.decision),
                "seconds": step.seconds,
                "replies": [self._reply(reply) for reply in step.replies],
            }
            for trace in account.traces
            for step in trace.steps
        ]
        return {
            "id": asked.request.id,
            "trace": account.id,
            "at": account.began,
            "policy": account.policy,
            "question": self._text(asked.request.prompt),
            "answer": self._text((outcome and outcome.trace.answer) or ""),
            "ending": account.ending,
            "error": outcome and outcome.error and outcome.error.code,
            "seconds": account.seconds,
            "usd": f"{account.usd:f}",
            "unknown": account.unknown,
            "rounds": account.rounds,
            "remembered": account.remembered,
            "fallback": outcome and outcome.fallback and outcome.fallback.card,
            "steps": steps,
        }

    def _text(self, text: str) -> str:
        if not self._texts:
            return ""
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_short(account: Account) -> bool:
    """Whether an episode takes little memory: one call, and nothing in it but little text."""
    if len(account.called) != 1:
        return False
    reply, request = account.called[0].reply, account.asked.request
    if reply.logprobs is not None or any(reply.fields.values()) or "tools" in request.params:
        return False
    if reply.raw is not None and "choices" not in reply.raw:  # vectors
        return False
    size = len(reply.text)
    for message in request.messages:
        if not isinstance(message.content, str) or message.fields:
            return False
        size += len(message.content)
    return size < _SHORT


def _replace(queue: asyncio.Queue[bytes | None], item: bytes | None) -> None:
    """Put `item` in place of everything that waits."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(item)


def _written(event: JsonObject) -> bytes:
    return b"data: " + encode(event) + b"\n\n"
