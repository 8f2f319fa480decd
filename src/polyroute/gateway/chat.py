"""``POST /v1/chat/completions``, as plain ASGI.

The one decision here: a client that goes away takes its calls with it. While a request is carried
out, the connection is watched, streaming or not.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from polyroute.gateway.asked import Asked, Reader
from polyroute.gateway.completion import completion, headers, report
from polyroute.gateway.errors import ApiError, of_status
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import FellBack, Run
from polyroute.gateway.stream import Chunks, Rounds
from polyroute.gateway.wire import DisconnectedError, read_body, refuse, respond, start, write
from polyroute.protocols import Backend

__all__ = ["Chat"]

_EVENTS = "text/event-stream; charset=utf-8"

_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Ask what stands between us and the client to pass pieces on as they come."""


class Chat:
    """The endpoint.

    Parameters
    ----------
    reader : Reader
        Reads request bodies.
    backend : Backend
        Carries out the calls.
    keeper : Keeper
        Keeps the records.
    fallback : str or None
        The card that answers when a policy breaks.
    rounds : {"reasoning", "comments", "off"}
        How streams show the rounds before the answer.
    max_body_mb : int
        Longest request body, in megabytes.
    """

    def __init__(
        self,
        reader: Reader,
        backend: Backend,
        keeper: Keeper,
        *,
        fallback: str | None,
        rounds: Rounds,
        max_body_mb: int,
    ) -> None:
        self._reader = reader
        self._backend = backend
        self._keeper = keeper
        self._fallback = fallback
        self._rounds: Rounds = rounds
        self._max_body_mb = max_body_mb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await read_body(scope, receive, limit_mb=self._max_body_mb)
            asked = self._reader.read(body)
        except DisconnectedError:
            return
        except ApiError as error:
            await refuse(send, error)
            return
        run = Run(asked, self._backend, self._keeper, fallback=self._fallback)
        answer = self._stream(run, asked, send) if asked.stream else _whole(run, asked, send)
        # a server that stops cancels this task: the client has been told, and there is no more
        with suppress(asyncio.CancelledError):
            await _while_connected(answer, receive)

    async def _stream(self, run: Run, asked: Asked, send: Send) -> None:
        """Send the answer as it comes; the status is sent with the first piece."""
        chunks = Chunks(asked, self._rounds)
        started = False
        try:
            async with aclosing(run.events(stream=True)) as events:
                async for event in events:
                    if not (piece := chunks.feed(event)):
                        continue
                    if not started:
                        await start(
                            send, 200, _early(asked, run.fell_back) | _UNBUFFERED, media=_EVENTS
                        )
                        started = True
                    await write(send, piece, more=True)
            outcome = run.outcome
            about, told = report(outcome, asked), headers(outcome, asked)
            if outcome.error is not None and not started:
                await refuse(send, outcome.error, report=about, headers=told)
                return
            last = chunks.fail(outcome.error, about) if outcome.error else chunks.finish(outcome)
        except (Exception, asyncio.CancelledError) as error:
            if started:
                await write(send, chunks.fail(_cut(error), None), more=False)
            elif isinstance(error, asyncio.CancelledError):
                await refuse(send, _cut(error))
            raise
        if not started:
            await start(send, 200, told | _UNBUFFERED, media=_EVENTS)
        await write(send, last, more=False)


async def _whole(run: Run, asked: Asked, send: Send) -> None:
    """Send the answer when it is whole."""
    try:
        async with aclosing(run.events(stream=False)) as events:
            async for _ in events:
                pass
    except asyncio.CancelledError as error:
        await refuse(send, _cut(error))
        raise
    outcome = run.outcome
    told = headers(outcome, asked)
    if outcome.error is not None:
        await refuse(send, outcome.error, report=report(outcome, asked), headers=told)
    else:
        await respond(send, completion(outcome, asked), headers=told)


async def _while_connected(answer: Coroutine[None, None, None], receive: Receive) -> None:
    """Await `answer`; cancel it when the client goes."""
    work = asyncio.create_task(answer)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
    work.result()


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
        "x-polyroute-policy": quote(asked.choice.name),
    }
    return told if fell_back is None else {**told, "x-polyroute-fallback": quote(fell_back.card)}
