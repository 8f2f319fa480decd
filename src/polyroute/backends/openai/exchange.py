"""One sending of one call: what goes over the connection, and what comes of it.

The one decision here: nothing is passed on before there is something to read, so that an upstream
that fails early can still be replaced; from then on whatever breaks leaves the text so far.
"""

import asyncio

from msgspec import Struct, field
from msgspec.structs import replace

from polyroute.backends.chat_completion import (
    Completion,
    StreamedCompletion,
    answered_by,
    parse,
)
from polyroute.backends.openai.alike import Alike
from polyroute.backends.openai.errors import read_retry_after, stream_error, upstream_error
from polyroute.backends.openai.form import CHAT, Form
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.sse import Event, EventReader
from polyroute.backends.openai.transport import (
    Address,
    Answer,
    ConnectTimeoutError,
    Transport,
    TransportError,
    in_words,
)
from polyroute.backends.openai.turn import as_chat
from polyroute.deadline import Deadline
from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, UpstreamTimeoutError
from polyroute.protocols import Delta, Emit
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject

__all__ = ["Exchange", "read_body", "refusal"]

_LONGEST_REPLY = 32 * 2**20
"""Bytes of a body, and characters of a streamed text, beyond which a reply is no reply."""
_LONGEST_STREAM = 8 * _LONGEST_REPLY
"""Bytes of a stream: each token comes wrapped in a few hundred bytes of JSON."""
_LONGEST_ERROR = 64 * 2**10
_USAGE_S = 5.0
"""How long a finished stream may take to say its usage."""
_END_S = 0.1
"""How long to wait for the end of a finished stream, so that its connection can be used again."""


_NOTHING_YET = Alike()


class Exchange(Struct, kw_only=True):
    """One sending of one call; single use."""

    call: Call
    trace: Trace
    emit: Emit | None
    instance: Instance
    model: str
    """The upstream's name of the model."""
    address: Address
    start: float
    """When the call began, by the clock of the event loop; earlier attempts are since then."""
    attempt: int = 1
    """Which sending of the call this is."""
    form: Form = CHAT
    sent: bool = False
    """Whether the request is on its way: from then on it may be billed."""
    _emitted: bool = False
    _first_token_s: float | None = None
    _deadline: Deadline | None = None
    """As long as it runs."""
    _streamed: StreamedCompletion | None = None
    """What has come of a stream, when it is one."""
    _alike: Alike = _NOTHING_YET
    """What its chunks have in common; one of its own for each stream."""

    async def run(self, transport: Transport) -> Reply:
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
        self._deadline = Deadline(self.start + self.instance.total_s)
        try:
            with self._deadline:
                return await self._ask(transport)
        except (BackendError, TimeoutError, TransportError, OSError) as error:
            failure = self._typed(error)
        if self._streamed is not None:
            if self._streamed.finished:
                return self._reply(self._streamed.completion())
            if self._emitted:
                so_far = replace(self._streamed.completion(), usage=None)
                return replace(self._reply(so_far), failure=_as_value(failure))
        # raised out of the `except`: an upstream's words are in the other as they came
        raise failure

    def allow(self, seconds: float) -> None:
        """Give what comes next at most `seconds`, and never more than the total."""
        assert self._deadline is not None, "it runs"
        self._deadline.move(min(asyncio.get_running_loop().time() + seconds, self._end))

    def _note_sent(self) -> None:
        self.sent = True
        if self.emit is not None:
            self.allow(self.instance.first_token_s)

    async def _ask(self, transport: Transport) -> Reply:
        stream = self.emit is not None
        body = self.form.body(
            self.call,
            self.trace.request,
            model=self.model,
            instance=self.instance,
            stream=stream,
        )
        answer = await transport.send("POST", self.address, body, self._note_sent)
        try:
            if not 200 <= answer.status < 300:
                raise await refusal(answer)
            if self.emit is None or answer.content_type == "application/json":
                wire = parse(await read_body(answer))
                if wire.get("error"):
                    raise stream_error(wire["error"])
                if self.instance.continues is not None:
                    wire = as_chat(wire, self.instance, self.call.prefix)
                return self._reply(self.form.read(wire), raw=wire)
            return await self._stream(answer, self.emit)
        finally:
            answer.release()

    async def _stream(self, answer: Answer, emit: Emit) -> Reply:
        streamed = self._streamed = StreamedCompletion()
        self._alike = Alike()
        reader, size = EventReader(), 0
        held: list[_Held] = []
        ended = False
        while not ended and not streamed.done:
            piece = await answer.read()
            ended = not piece
            size += len(piece)
            if size > _LONGEST_STREAM:
                raise _too_long()
            try:
                self._take_all(streamed, reader.close() if ended else reader.feed(piece), held)
            finally:  # what came before something that cannot be read
                if streamed.started or streamed.finished:
                    await self._pass_on(held, emit)
        if streamed.done:
            await _read_on(answer)
        completion = streamed.completion()
        if not streamed.finished:
            raise BackendError("the stream ended before the completion did", billed=True)
        return self._reply(completion)

    def _take_all(
        self, streamed: StreamedCompletion, events: list[Event], held: list["_Held"]
    ) -> None:
        """Take in events of the stream; what they add is put to what is `held`."""
        place = 0
        while place < len(events) and not streamed.done:
            texts = self._alike.texts_of(events, place)
            if not texts:
                self._take(streamed, events[place], held)
                place += 1
                continue
            place += len(texts)
            streamed.add_texts(texts)
            held.append(_Held(self._alike.chunk, texts))
            if self._first_token_s is None or streamed.characters > _LONGEST_REPLY:
                self._follow(streamed)

    def _take(self, streamed: StreamedCompletion, event: Event, held: list["_Held"]) -> None:
        """Take in one event that is like none before it."""
        said = event.data
        if not said or said.isspace():
            return
        if said[0] != "{" and said.strip() == "[DONE]":
            streamed.done = True
            return
        chunk = parse(said)
        if event.name == "error" or chunk.get("error"):
            raise stream_error(chunk.get("error") or chunk)
        if self.instance.continues is not None:
            chunk = as_chat(chunk, self.instance, self.call.prefix)
        else:
            self._alike.learn(said, chunk)
        held.append(_Held(chunk, text=streamed.add(chunk)))
        self._follow(streamed)

    def _follow(self, streamed: StreamedCompletion) -> None:
        """Give what comes next the time that it may take."""
        if streamed.characters > _LONGEST_REPLY:
            raise _too_long()
        if streamed.finished:
            self.allow(_USAGE_S)
        elif streamed.started and self._first_token_s is None:
            self._first_token_s = asyncio.get_running_loop().time() - self.start
            self.allow(self.instance.total_s)

    async def _pass_on(self, held: list["_Held"], emit: Emit) -> None:
        passed, held[:] = held[:], []
        last = len(passed) - 1
        for k, one in enumerate(passed):
            self._emitted = True
            text = "".join(one.parts) or one.text
            await emit(Delta(text, one.chunk, more=k < last, parts=tuple(one.parts)))

    def _reply(self, completion: Completion, raw: JsonObject | None = None) -> Reply:
        fields = completion.fields
        name = completion.model
        if name is not None and name != self.model:
            card = self.trace.pool.card(self.call.model)
            name = answered_by(name, asked=self.model, card=card)
        else:
            name = None
        if completion.stop and self.call.merged_params(self.trace.request).get("stop"):
            fields = {**fields, **completion.stop}
        return Reply(
            model=self.call.model,
            text=completion.text,
            usage=completion.usage,
            seconds=asyncio.get_running_loop().time() - self.start,
            first_token_s=self._first_token_s,
            finish_reason=completion.finish_reason,
            answered_by=name,
            instance=self.instance.label,
            region=self.instance.region,
            attempts=self.attempt,
            logprobs=completion.logprobs,
            fields=fields,
            raw=raw,
        )

    def _typed(self, error: Exception) -> BackendError:
        """Return the `BackendError` that says what happened, and where."""
        where = self.instance.label
        if isinstance(error, BackendError):
            error.args = (f"{where}: {self.instance.secrets().hide(str(error))}",)
            return error
        if isinstance(error, ConnectTimeoutError):
            limit = f"no connection within {self.instance.connect_s:g} s"
            return UpstreamTimeoutError(f"{where}: {limit}")
        if isinstance(error, TimeoutError):
            limit = f"no reply within {self.instance.first_token_s:g} s of sending"
            started = self._streamed is not None and self._streamed.started
            if started or asyncio.get_running_loop().time() >= self._end:
                limit = f"the reply did not end within {self.instance.total_s:g} s"
            return UpstreamTimeoutError(f"{where}: {limit}", billed=self.sent)
        said = str(error) if isinstance(error, TransportError) else in_words(error)
        words = self.instance.secrets().hide(said)
        return BackendError(f"{where}: {words}", billed=self.sent)

    @property
    def _end(self) -> float:
        return self.start + self.instance.total_s


class _Held(Struct):
    """A chunk that waits to be passed on, or several that are like it but for their texts."""

    chunk: JsonObject | None
    parts: list[str] = field(default_factory=list)
    text: str = ""


async def read_body(answer: Answer, limit: int = _LONGEST_REPLY) -> bytes:
    """Read a whole body.

    Raises
    ------
    BackendError
        Of kind ``invalid_reply``, if it is longer than `limit` bytes.
    """  # noqa: DOC501
    pieces: list[bytes] = []
    size = 0
    while piece := await answer.read():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise _too_long()
    return b"".join(pieces)


async def refusal(answer: Answer) -> BackendError:
    """Return the error of a status that is no success, with what the upstream says of it."""
    if 300 <= answer.status < 400:
        return BackendError(
            f"HTTP {answer.status}: the upstream redirects to another address; put that "
            "address into the url of the instance",
            kind="bad_request",
            status=answer.status,
        )
    try:
        body = await read_body(answer, _LONGEST_ERROR)
    except (BackendError, TransportError):
        body = b""  # the status says enough
    retry_after_s = read_retry_after(answer.header("retry-after"))
    return upstream_error(answer.status, body, retry_after_s=retry_after_s)


async def _read_on(answer: Answer) -> None:
    """Read what little follows the last event, so that the connection can be used again."""
    try:
        with Deadline(asyncio.get_running_loop().time() + _END_S):
            while await answer.read():
                pass
    except (TimeoutError, TransportError):
        return  # the connection is closed instead


def _as_value(error: BackendError) -> Failure:
    return Failure(error.failure_kind, str(error), error.status, error.retry_after_s)


def _too_long() -> BackendError:
    return BackendError(
        f"the reply is longer than {_LONGEST_REPLY // 2**20} MiB", kind="invalid_reply", billed=True
    )
