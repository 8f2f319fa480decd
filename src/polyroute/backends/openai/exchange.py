"""One sending of one call: what goes over the connection, and what comes of it.

The one decision here: nothing is passed on before there is something to read, so that an upstream
that fails early can still be replaced; from then on whatever breaks leaves the text so far.
"""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import aiohttp

from polyroute.backends.chat_completion import (
    Completion,
    StreamedCompletion,
    answered_by,
    parse,
    read_completion,
)
from polyroute.backends.openai.errors import read_retry_after, stream_error, upstream_error
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.sse import Event, EventReader
from polyroute.backends.openai.turn import as_chat, path_of, turn_body
from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, UpstreamTimeoutError
from polyroute.protocols import Delta, Emit
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject

__all__ = ["Exchange", "in_words", "note_when_sent", "read_body", "refusal"]

_LONGEST_REPLY = 32 * 2**20
"""Bytes of a body, and characters of a streamed text, beyond which a reply is no reply."""
_LONGEST_STREAM = 8 * _LONGEST_REPLY
"""Bytes of a stream: each token comes wrapped in a few hundred bytes of JSON."""
_LONGEST_ERROR = 64 * 2**10
_USAGE_S = 5.0
"""How long a finished stream may take to say its usage."""
_END_S = 0.1
"""How long to wait for the end of a finished stream, so that its connection can be used again."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One sending of one call; single use."""

    call: Call
    trace: Trace
    emit: Emit | None
    instance: Instance
    start: float
    """When the call began, by the clock of the event loop; earlier attempts are since then."""
    sent: bool = field(default=False, init=False)
    """Whether the request is on its way: from then on it may be billed."""
    _emitted: bool = field(default=False, init=False)
    _first_token_s: float | None = field(default=None, init=False)
    _limit: asyncio.Timeout | None = field(default=None, init=False)
    _streamed: StreamedCompletion = field(default_factory=StreamedCompletion, init=False)

    async def run(self, session: aiohttp.ClientSession) -> Reply:
        """Send, and read the reply.

        Returns
        -------
        Reply
            With a `failure` when a stream broke after its first piece.

        Raises
        ------
        BackendError
            For every way in which there can be no reply.
        """
        headers = self.instance.request_headers()
        try:
            async with asyncio.timeout_at(self._end) as self._limit:
                return await self._ask(session, headers)
        except (BackendError, TimeoutError, aiohttp.ClientError, OSError) as error:
            failure = self._typed(error)
        if self._streamed.finished:
            return self._reply(self._streamed.completion())
        if self._emitted:
            so_far = replace(self._streamed.completion(), usage=None)
            return replace(self._reply(so_far), failure=_as_value(failure))
        # raised out of the `except`: aiohttp's errors hold the request's headers, and so the key
        raise failure

    def allow(self, seconds: float) -> None:
        """Give what comes next at most `seconds`, and never more than the total."""
        assert self._limit is not None, "set before anything is sent"
        self._limit.reschedule(min(asyncio.get_running_loop().time() + seconds, self._end))

    async def _ask(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> Reply:
        request = self.trace.request
        stream = self.emit is not None
        body = turn_body(
            self.call, request, model=self._model, instance=self.instance, stream=stream
        )
        post = session.post(
            self.instance.endpoint(path_of(self.instance)),
            # aiohttp writes bytes in one go, and warns when there are many of them
            data=body if len(body) < 2**20 else io.BytesIO(body),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=self.instance.connect_s),
            # a redirect would carry the key to a host that nobody configured
            allow_redirects=False,
            trace_request_ctx=self,
        )
        async with post as response:
            if not 200 <= response.status < 300:
                raise await refusal(response)
            if self.emit is None or response.content_type == "application/json":
                wire = parse(await read_body(response))
                if wire.get("error"):
                    raise stream_error(wire["error"])
                wire = as_chat(wire, self.instance, self.call.prefix)
                return self._reply(read_completion(wire), raw=wire)
            return await self._stream(response, self.emit)

    async def _stream(self, response: aiohttp.ClientResponse, emit: Emit) -> Reply:
        streamed = self._streamed
        held: list[Delta] = []
        async with aclosing(self._chunks(response)) as chunks:
            async for chunk in chunks:
                held.append(Delta(streamed.add(chunk), chunk))
                if streamed.characters > _LONGEST_REPLY:
                    raise _too_long()
                if streamed.finished:
                    self.allow(_USAGE_S)
                elif streamed.started and self._first_token_s is None:
                    self.allow(self.instance.total_s)
                if streamed.started or streamed.finished:
                    await self._pass_on(held, emit)
        completion = streamed.completion()
        if not streamed.finished:
            raise BackendError("the stream ended before the completion did", billed=True)
        await self._pass_on(held, emit)
        return self._reply(completion)

    async def _pass_on(self, held: list[Delta], emit: Emit) -> None:
        if self._first_token_s is None and self._streamed.started:
            self._first_token_s = asyncio.get_running_loop().time() - self.start
        for delta in held:
            self._emitted = True
            await emit(delta)
        held.clear()

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[JsonObject]:
        async with aclosing(_events(response)) as events:
            async for event in events:
                if event.data.strip() == "[DONE]":
                    self._streamed.done = True
                    await _read_on(response)
                    return
                chunk = parse(event.data)
                error = chunk.get("error") or (chunk if event.name == "error" else None)
                if error:
                    raise stream_error(error)
                yield as_chat(chunk, self.instance, self.call.prefix)

    def _reply(self, completion: Completion, raw: JsonObject | None = None) -> Reply:
        card = self.trace.pool.card(self.call.model)
        asked_to_stop = self.call.merged_params(self.trace.request).get("stop")
        return Reply(
            model=self.call.model,
            text=completion.text,
            usage=completion.usage,
            first_token_s=self._first_token_s,
            finish_reason=completion.finish_reason,
            answered_by=answered_by(completion.model, asked=self._model, card=card),
            instance=self.instance.label,
            logprobs=completion.logprobs,
            fields={**completion.fields, **(completion.stop if asked_to_stop else {})},
            raw=raw,
        )

    def _typed(self, error: Exception) -> BackendError:
        """Return the `BackendError` that says what happened, and where."""
        where = self.instance.label
        if isinstance(error, BackendError):
            error.args = (f"{where}: {self.instance.secrets().hide(str(error))}",)
            return error
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            limit = f"no connection within {self.instance.connect_s:g} s"
            return UpstreamTimeoutError(f"{where}: {limit}")
        if isinstance(error, TimeoutError):
            limit = f"no reply within {self.instance.first_token_s:g} s of sending"
            if self._streamed.started or asyncio.get_running_loop().time() >= self._end:
                limit = f"the reply did not end within {self.instance.total_s:g} s"
            return UpstreamTimeoutError(f"{where}: {limit}", billed=self.sent)
        words = self.instance.secrets().hide(in_words(error))
        return BackendError(f"{where}: {words}", billed=self.sent)

    @property
    def _model(self) -> str:
        """The upstream's name of the model."""
        return self.instance.model or self.trace.pool.card(self.call.model).id

    @property
    def _end(self) -> float:
        return self.start + self.instance.total_s


def note_when_sent() -> aiohttp.TraceConfig:
    """Return what a session needs for an `Exchange` to know when its request is on its way."""

    async def sent(
        _: aiohttp.ClientSession,
        context: SimpleNamespace,
        __: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        exchange = context.trace_request_ctx
        if isinstance(exchange, Exchange):
            exchange.sent = True
            if exchange.emit is not None:
                exchange.allow(exchange.instance.first_token_s)

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(sent)
    return config


async def read_body(response: aiohttp.ClientResponse, limit: int = _LONGEST_REPLY) -> bytes:
    """Read a whole body.

    Raises
    ------
    BackendError
        Of kind ``invalid_reply``, if it is longer than `limit` bytes.
    """  # noqa: DOC501
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise _too_long()
    return bytes(body)


async def refusal(response: aiohttp.ClientResponse) -> BackendError:
    """Return the error of a status that is no success, with what the upstream says of it."""
    if 300 <= response.status < 400:
        return BackendError(
            f"HTTP {response.status}: the upstream redirects to another address; put that "
            "address into the url of the instance",
            kind="bad_request",
            status=response.status,
        )
    try:
        body = await read_body(response, _LONGEST_ERROR)
    except (BackendError, aiohttp.ClientError):
        body = b""  # the status says enough
    retry_after_s = read_retry_after(response.headers.get("Retry-After"))
    return upstream_error(response.status, body, retry_after_s=retry_after_s)


def in_words(error: Exception) -> str:
    """Return the class and the message of an error of a connection."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[Event]:
    """Yield the events of a stream that say something."""
    reader, size = EventReader(), 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > _LONGEST_STREAM:
            raise _too_long()
        for event in reader.feed(piece):
            if event.data.strip():
                yield event
    for event in reader.close():
        if event.data.strip():
            yield event


async def _read_on(response: aiohttp.ClientResponse) -> None:
    """Read what little follows the last event, so that the connection can be used again."""
    try:
        async with asyncio.timeout(_END_S):
            while not response.content.at_eof():
                await response.content.readany()
    except (TimeoutError, aiohttp.ClientError):
        return  # the connection is closed instead


def _as_value(error: BackendError) -> Failure:
    return Failure(error.failure_kind, str(error), error.status, error.retry_after_s)


def _too_long() -> BackendError:
    return BackendError(
        f"the reply is longer than {_LONGEST_REPLY // 2**20} MiB", kind="invalid_reply", billed=True
    )
