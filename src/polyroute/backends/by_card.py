"""One backend for a whole pool: each card's calls go to the card's own backend."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping

from polyroute.decision import Call
from polyroute.errors import UpstreamTimeoutError
from polyroute.protocols import Backend, Delta, Emit, Resends, Reserve
from polyroute.trace import Reply, Trace

__all__ = ["ByCard"]


class ByCard:
    """Hand each call to the backend of the card it names.

    Parameters
    ----------
    backends : mapping of str to Backend
        By card id; every card of the pool has one.
    first_token_s : mapping of str to float, optional
        By card id: seconds after which a stream that has not begun is a timeout.
    """

    def __init__(
        self, backends: Mapping[str, Backend], first_token_s: Mapping[str, float] | None = None
    ) -> None:
        self._first_token_s = dict(first_token_s or {})
        self.backends = dict(backends)
        self._resends = {id: b for id, b in self.backends.items() if isinstance(b, Resends)}

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Let the card's own backend carry out the call."""
        id = trace.pool.card(call.model).id
        backend = self.backends[id]
        if emit is None or id not in self._first_token_s:
            return await backend.complete(call, trace, emit)
        return await _patiently(
            lambda passed_on: backend.complete(call, trace, passed_on),
            emit,
            self._first_token_s[id],
        )

    def complete_or_resend(
        self, call: Call, trace: Trace, emit: Emit | None, reserve: Reserve
    ) -> Coroutine[None, None, Reply]:
        """Let the card's own backend carry out the call; it may resend it, if it is one to."""
        id = call.model if call.model in self.backends else trace.pool.card(call.model).id
        resend = self._resends.get(id)
        if resend is None:
            return self.complete(call, trace, emit)
        if emit is None or id not in self._first_token_s:
            return resend.complete_or_resend(call, trace, emit, reserve)
        return _patiently(
            lambda passed_on: resend.complete_or_resend(call, trace, passed_on, reserve),
            emit,
            self._first_token_s[id],
        )

    async def close(self) -> None:
        """Close every backend."""
        for backend in self.backends.values():
            await backend.close()


async def _patiently(
    ask: Callable[[Emit], Awaitable[Reply]], emit: Emit, first_token_s: float
) -> Reply:
    """Ask, and wait for the first piece no longer than `first_token_s` seconds.

    Raises
    ------
    UpstreamTimeoutError
        When there was none in time; the call is cancelled, and may be billed.
    """  # noqa: DOC501 - what is raised again is the backend's own
    try:
        async with asyncio.timeout(first_token_s) as limit:

            async def pass_on(delta: Delta) -> None:
                limit.reschedule(None)
                await emit(delta)

            return await ask(pass_on)
    except TimeoutError as error:
        if not limit.expired():
            raise
        why = f"the stream had not begun after {first_token_s:g} s"
        raise UpstreamTimeoutError(why, billed=True) from error
