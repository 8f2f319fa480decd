"""One backend for a whole pool: each card's calls go to the card's own backend."""

from collections.abc import Mapping

from polyroute.decision import Call
from polyroute.protocols import Backend, Emit, Resends, Reserve
from polyroute.trace import Reply, Trace

__all__ = ["ByCard"]


class ByCard:
    """Hand each call to the backend of the card it names.

    Parameters
    ----------
    backends : mapping of str to Backend
        By card id; every card of the pool has one.
    """

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self.backends = dict(backends)
        self._resends = {id: b for id, b in self.backends.items() if isinstance(b, Resends)}

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Let the card's own backend carry out the call."""
        backend = self.backends[trace.pool.card(call.model).id]
        return await backend.complete(call, trace, emit)

    async def complete_or_resend(
        self, call: Call, trace: Trace, emit: Emit | None, reserve: Reserve
    ) -> Reply:
        """Let the card's own backend carry out the call; it may resend it, if it is one to."""
        id = trace.pool.card(call.model).id
        resend = self._resends.get(id)
        if resend is None:
            return await self.backends[id].complete(call, trace, emit)
        return await resend.complete_or_resend(call, trace, emit, reserve)

    async def close(self) -> None:
        """Close every backend."""
        for backend in self.backends.values():
            await backend.close()
