"""A ``POST`` that is answered by an episode, as plain ASGI, whatever its shape.

The one decision here: a client that goes away takes its calls with it, streaming or not; and
whatever was held for it is given back.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from polyroute.episode import Finished, Streamed
from polyroute.gateway.asked import Asked, Reader
from polyroute.gateway.caller import Caller, caller_of
from polyroute.gateway.client import CLIENT, Client
from polyroute.gateway.completion import headers, in_header, report
from polyroute.gateway.conversations import Conversations
from polyroute.gateway.dry_run import decided
from polyroute.gateway.errors import ApiError, of_status
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.knobs import add_knobs
from polyroute.gateway.run import FellBack, Happening, Outcome, Report, Run
from polyroute.gateway.seams import Admission, Gate, Listener, Memory, Open, Shape, Watcher
from polyroute.gateway.wire import (
    DisconnectedError,
    decode,
    read_body,
    respond,
    start,
    write,
)
from polyroute.protocols import Backend
from polyroute.types import JsonObject

__all__ = ["Endpoint", "Gateway"]

_EVENTS = "text/event-stream; charset=utf-8"

_MISS = {"x-polyroute-cache": "miss"}

_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Ask what stands between us and the client to pass pieces on as they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What all endpoints share."""

    reader: Reader
    """Reads request bodies."""
    backend: Backend
    """Carries out the calls."""
    keeper: Keeper
    """Keeps the records."""
    fallback: str | None = None
    """The card that answers when a policy breaks."""
    max_body_mb: int = 32
    """Longest request body, in megabytes."""
    conversations: Conversations = field(default_factory=Conversations)
    """Who answered each conversation last."""
    gate: Gate = field(default_factory=Open)
    memory: Memory | None = None
    watchers: tuple[Watcher, ...] = ()
    listeners: tuple[Listener, ...] = ()


class Endpoint:
    """Answers requests of one shape.

    Parameters
    ----------
    gateway : Gateway
        What carries them out.
    shape : Shape
        The form in which clients ask and are answered.
    dry_run : bool, default=False
        Only decide, and call nobody, whatever is asked.
    """

    def __init__(self, gateway: Gateway, shape: Shape, *, dry_run: bool = False) -> None:
        self._gateway = gateway
        self._shape = shape
        self._dry_run = dry_run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        gateway = self._gateway
        caller = caller_of(scope)
        try:
            body = await read_body(scope, receive, limit_mb=gateway.max_body_mb)
            said = decode(body)
            add_knobs(said, scope["headers"])
            wire = await self._shape.read(said, caller)
            asked = gateway.reader.read(wire, said, caller.named)
            if asked.request.conversation is not None:
                asked = gateway.conversations.known(caller, asked)
            admission = await gateway.gate.admit(caller, asked)
        except DisconnectedError:
            return
        except ApiError as error:
            for watcher in gateway.watchers:
                watcher.refused(caller, error)
            await self._refuse(send, error)
            return
        if self._dry_run or admission.asked.dry_run:
            await self._decide(send, admission)
            return
        one = _One(gateway, self._shape, caller, admission.asked)
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        client: Client = scope.get(CLIENT) or _Watched(receive)
        client.serve(task)
        try:
            await one.answer(send)
        except asyncio.CancelledError:
            # the client has gone, or the server stops and it has been told: there is no more
            pass
        finally:
            client.served(task)
            await admission.lease.settle(one.outcome)

    async def _decide(self, send: Send, admission: Admission) -> None:
        """Say how the request would be routed, and call nobody."""
        try:
            body = await decided(admission.asked, self._gateway.backend)
        except ApiError as error:
            await self._refuse(send, error)
        else:
            await respond(send, body, headers={"x-polyroute-policy": in_header(body["policy"])})
        finally:
            await admission.lease.settle(None)

    async def _refuse(self, send: Send, error: ApiError) -> None:
        body = self._shape.error(error)
        await respond(send, body, status=error.status, headers=error.headers)


class _One:
    """One admitted request on its way."""

    def __init__(self, gateway: Gateway, shape: Shape, caller: Caller, asked: Asked) -> None:
        self._gateway = gateway
        self._shape = shape
        self._caller = caller
        self._asked = asked
        self._run = Run(asked, gateway.backend, gateway.keeper, fallback=gateway.fallback)
        self._told: dict[str, str] = {}
        """Headers that are known before it begins."""
        self.outcome: Outcome | None = None
        """What it came to, once that is known."""

    async def answer(self, send: Send) -> None:
        """Recall the answer, or run the episode, and send what comes of it."""
        asked, gateway = self._asked, self._gateway
        for watcher in gateway.watchers:
            watcher.began(self._caller, asked)
        try:
            if gateway.memory is not None:
                self.outcome = await gateway.memory.recall(self._caller, asked)
                self._told = {} if self.outcome is not None else _MISS
            recalled = self.outcome is not None
            await (self._stream(send) if asked.stream else self._whole(send))
            if gateway.memory is not None and self.outcome is not None and not recalled:
                await gateway.memory.remember(self._caller, asked, self.outcome)
        finally:
            if self.outcome is None and self._run.begun:
                self.outcome = self._run.outcome
            for watcher in gateway.watchers:
                watcher.ended(self._caller, asked, self.outcome)
            if asked.request.conversation is not None:
                gateway.conversations.ended(self._caller, asked, self.outcome)

    async def _carry_out(self, tell: Report | None, *, stream: bool) -> Outcome:
        """Run the episode, unless its outcome was recalled, and tell the watchers."""
        if self.outcome is None:
            listeners, asked = self._gateway.listeners, self._asked

            async def report(event: Happening) -> None:
                if not isinstance(event, (Streamed, Finished)):
                    for listen in listeners:
                        listen(asked, event)
                if tell is not None:
                    await tell(event)

            await self._run.carry_out(report, stream=stream)
            self.outcome = self._run.outcome
        return self.outcome

    async def _whole(self, send: Send) -> None:
        """Send the answer when it is whole."""
        try:
            outcome = await self._carry_out(None, stream=False)
        except asyncio.CancelledError as error:
            await self._refuse(send, _cut(error))
            raise
        told = headers(outcome, self._asked) | self._told
        wrong = outcome.error
        if wrong is None:
            try:
                body = self._shape.whole(outcome, self._asked)
            except ApiError as unsayable:
                wrong = unsayable
        if wrong is not None:
            await self._refuse(send, wrong, report(outcome, self._asked), told)
        else:
            await respond(send, body, headers=told)

    async def _stream(self, send: Send) -> None:
        """Send the answer as it comes; the status is sent with the first piece."""
        asked = self._asked
        writer = self._shape.writer(asked)
        started = False
        pieces: list[bytes] = []
        """Written, and to be sent: what came in one read goes out in one."""

        async def tell(event: Happening) -> None:
            nonlocal started
            if piece := writer.feed(event):
                pieces.append(piece)
            if not pieces or (isinstance(event, Streamed) and event.delta.more):
                return
            if not started:
                early = _early(asked, self._run.fell_back) | self._told
                await start(send, 200, early | _UNBUFFERED, media=_EVENTS)
                started = True
            together = b"".join(pieces)
            pieces.clear()
            await write(send, together, more=True)

        try:
            outcome = await self._carry_out(tell, stream=True)
            about, told = report(outcome, asked), headers(outcome, asked) | self._told
            if outcome.error is not None and not started and not pieces:
                await self._refuse(send, outcome.error, about, told)
                return
            error = outcome.error
            last = writer.finish(outcome) if error is None else writer.fail(error, about)
        except (Exception, asyncio.CancelledError) as error:
            if started:
                pieces.append(writer.fail(_cut(error), None))
                await write(send, b"".join(pieces), more=False)
            elif isinstance(error, asyncio.CancelledError):
                await self._refuse(send, _cut(error))
            raise
        if not started:
            await start(send, 200, told | _UNBUFFERED, media=_EVENTS)
        await write(send, b"".join([*pieces, last]), more=False)

    async def _refuse(
        self,
        send: Send,
        error: ApiError,
        about: JsonObject | None = None,
        told: Mapping[str, str] | None = None,
    ) -> None:
        body = self._shape.error(error, about)
        await respond(send, body, status=error.status, headers={**(told or {}), **error.headers})


class _Watched:
    """The client of a server that says that it has gone only when it is asked: by a task."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None

    def serve(self, task: asyncio.Task[None]) -> None:
        """Cancel `task` when the client goes."""
        self._watching = asyncio.create_task(_disconnected(self._receive))
        self._watching.add_done_callback(lambda _: self._watching and task.cancel())

    def served(self, task: asyncio.Task[None]) -> None:
        """Leave `task` alone."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(error: BaseException) -> ApiError:
    """Return what a client is told whose answer is cut short; one that has gone hears nothing."""
    if isinstance(error, asyncio.CancelledError):
        return of_status(503, "the server is stopping; try again")
    return of_status(500, "the gateway broke; its log says where")


def _early(asked: Asked, fell_back: FellBack | None) -> dict[str, str]:
    """Return the headers that are known before the end."""
    told = {
        "x-polyroute-trace-id": asked.request.id if fell_back is None else fell_back.answer_id,
        "x-polyroute-policy": in_header(asked.choice.name),
    }
    if fell_back is not None:
        told["x-polyroute-fallback"] = in_header(fell_back.card)
    return told
