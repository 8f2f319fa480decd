"""Texts to vectors, by any endpoint that has OpenAI's ``/embeddings``.

The one decision here: to ask for vectors is a call like any other, so that it is bounded, billed
and recorded like any other. The texts are the request's messages; the vectors are in the reply's
raw body, and in no record.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence

from polyroute.backends.chat_completion import answered_by, parse, read_usage
from polyroute.backends.openai.exchange import read_body, refusal
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.over_aiohttp import OverAiohttp
from polyroute.backends.openai.transport import (
    Address,
    ConnectTimeoutError,
    TransportError,
    in_words,
)
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError, UpstreamTimeoutError
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Json, Message

__all__ = ["Embeddings", "as_input", "as_messages"]

_KEEP_ALIVE_S = 4.0


class Embeddings:
    """Ask one embedding model through its instances, in turn.

    Parameters
    ----------
    instances : tuple of Instance
        Where the model is served; at least one.
    retries : int, default=2
        How often a call may be sent again, each time to the next instance, where the upstream
        cannot have billed it.

    Raises
    ------
    ConfigError
        If there is no instance, or `retries` is negative.
    """

    def __init__(self, *, instances: tuple[Instance, ...], retries: int = 2) -> None:
        if not instances:
            raise ConfigError("the backend 'openai_embeddings' needs one instance, got none")
        if retries < 0:
            raise ConfigError(f"retries must be 0 or more, got {retries!r}")
        self._instances = tuple(instances)
        self._retries = retries
        self._turns = itertools.count()
        self._transport: OverAiohttp | None = None

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Ask for the vectors of the messages; `Reply.raw` is the upstream's body.

        Raises
        ------
        BackendError
            If there is no reply.
        """
        turn = next(self._turns)
        attempt = 1
        while True:
            instance = self._instances[(turn + attempt - 1) % len(self._instances)]
            try:
                return await self._ask(instance, call, trace, attempt)
            except BackendError as error:
                safe = error.failure_kind in ("rate_limit", "unavailable", "timeout")
                if attempt > self._retries or error.billed or not safe:
                    raise
            attempt += 1

    async def close(self) -> None:
        """Close all connections. The next call makes new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def _ask(self, instance: Instance, call: Call, trace: Trace, attempt: int) -> Reply:
        card = trace.pool.card(call.model)
        model = instance.model or card.id
        params = {
            key: value
            for key, value in call.merged_params(trace.request).items()
            if key != "max_tokens"  # the loop's own bound: vectors are no completion
        }
        body = {"model": model, "input": as_input(call.messages(trace.request)), **params}
        loop = asyncio.get_running_loop()
        start = loop.time()
        wire = await self._send(instance, json.dumps(body).encode("ascii"))
        said = wire.get("usage")
        counted = {**said, "completion_tokens": 0} if isinstance(said, Mapping) else None
        return Reply(
            model=call.model,
            usage=read_usage(counted),
            seconds=loop.time() - start,
            answered_by=answered_by(wire.get("model"), asked=model, card=card),
            instance=instance.label,
            attempts=attempt,
            finish_reason="stop",
            raw=wire,
        )

    async def _send(self, instance: Instance, body: bytes) -> dict[str, Json]:
        """Send one request and read its answer; what goes wrong is typed, and has no key in it."""
        sent = False

        def note() -> None:
            nonlocal sent
            sent = True

        address = Address(
            instance.endpoint("embeddings"), instance.request_headers(), instance.connect_s
        )
        try:
            async with asyncio.timeout(instance.total_s):
                return await self._exchange(address, body, note)
        except BackendError as error:
            words = instance.secrets().hide(str(error))
            error.args = (f"{instance.label}: {words}",)
            raise
        except (ConnectTimeoutError, TimeoutError) as error:
            limit = instance.total_s if sent else instance.connect_s
            failure: BackendError = UpstreamTimeoutError(
                f"{instance.label}: no reply within {limit:g} s ({type(error).__name__})",
                billed=sent,
            )
        except (TransportError, OSError) as error:
            words = instance.secrets().hide(in_words(error))
            failure = BackendError(f"{instance.label}: {words}", billed=sent)
        raise failure

    async def _exchange(
        self, address: Address, body: bytes, note: Callable[[], None]
    ) -> dict[str, Json]:
        if self._transport is None:
            self._transport = OverAiohttp(keep_alive_s=_KEEP_ALIVE_S)
        answer = await self._transport.send("POST", address, body, note)
        try:
            if not 200 <= answer.status < 300:
                raise await refusal(answer)
            wire = parse(await read_body(answer))
        finally:
            answer.release()
        if not isinstance(wire.get("data"), list):
            raise BackendError("the body holds no list of vectors", kind="invalid_reply")
        return wire


def as_messages(given: Json) -> tuple[Message, ...]:
    """Return the field ``input`` as messages of the user: one for each text or list of tokens.

    Examples
    --------
    >>> [message.content for message in as_messages(["a", "b"])][1]
    ({'type': 'text', 'text': 'b'},)
    """
    if isinstance(given, str):
        return (Message("user", given),)
    if given and isinstance(given[0], int):
        return (Message("user", (_tokens(given, "only"),)),)
    return tuple(
        Message("user", ({"type": "text", "text": one},))
        if isinstance(one, str)
        else Message("user", (_tokens(one, "one"),))
        for one in given
    )


def as_input(messages: Sequence[Message]) -> Json:
    """Return what `as_messages` was given.

    Examples
    --------
    >>> for given in ("a", ["a"], ["a", "b"], [1, 2], [[1, 2]]):
    ...     assert as_input(as_messages(given)) == given
    """
    if len(messages) == 1 and isinstance(messages[0].content, str):
        return messages[0].content
    listed = []
    for message in messages:
        part = message.content[0] if isinstance(message.content, tuple) else {}
        if part.get("tokens") is not None and part.get("list") == "only":
            return list(part["tokens"])
        listed.append(part.get("tokens", message.text))
    return listed


def _tokens(tokens: Sequence[int], place: str) -> dict[str, Json]:
    """Return tokens as a part; it counts as text, so that a budget bounds it."""
    return {"type": "text", "text": "", "tokens": list(tokens), "list": place}
