"""One limit in dollars over many episodes: a backend that makes no call that could break it.

The one decision here: a call whose worst case does not fit waits while others are running, since
most of them cost less than was set aside; it is refused when nothing is left to wait for.
"""

import asyncio
from decimal import Decimal

from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, UpstreamTimeoutError
from polyroute.ledger import Ledger, Reservation
from polyroute.pool import Pool
from polyroute.protocols import Backend, Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Budget, Usage

__all__ = ["Capped"]


class Capped:
    """Carry out calls by `backend` as long as `usd` lasts, over all episodes together.

    Parameters
    ----------
    backend : Backend
    pool : Pool
        The prices; a card without one is refused while there is a limit.
    usd : Decimal or None
        Most dollars; `None` is no limit.
    seconds : float, optional
        Time limit of one call; waiting for money does not count.
    """

    def __init__(
        self, backend: Backend, pool: Pool, usd: Decimal | None, *, seconds: float | None = None
    ) -> None:
        self._backend = backend
        self._seconds = seconds
        self._ledger = Ledger(Budget(usd=usd), pool)
        self._running = 0
        self._ended = asyncio.Condition()

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Carry out `call` when its worst case fits.

        Raises
        ------
        UpstreamTimeoutError
            If it took too long.
        BackendError
            Of kind ``budget`` when it does not fit; else as the backend says.
        """
        reservation = await self._reserve(call, trace)
        reply = Reply(model=call.model, usage=None)  # what nobody knows stays set aside
        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._backend.complete(reservation.call, trace, emit)
        except BackendError as error:
            if not error.billed:
                reply = Reply(model=call.model, usage=Usage(), usd=Decimal(0))
            raise
        except TimeoutError as error:
            problem = f"no reply within {self._seconds:g} s"
            raise UpstreamTimeoutError(problem, billed=True) from error
        finally:
            self._ledger.settle(reservation, reply)
            self._running -= 1
            async with self._ended:
                self._ended.notify_all()
        return reply

    async def close(self) -> None:
        """Close the backend."""
        await self._backend.close()

    async def _reserve(self, call: Call, trace: Trace) -> Reservation:
        async with self._ended:
            while True:
                reserved = self._ledger.reserve(call, trace.request)
                if not isinstance(reserved, Failure):
                    self._running += 1
                    return reserved
                if not self._running:
                    raise BackendError(reserved.message, kind="budget")
                await self._ended.wait()
