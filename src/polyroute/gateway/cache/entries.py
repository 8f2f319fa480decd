"""Where remembered answers are: in the memory of a process, bounded by bytes, or shared.

The one decision here: both hold bytes under a name for a while, so everything else is written
once. `polyroute.state` is such a place as it is.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

__all__ = ["Entries", "InMemory"]

_OVERHEAD = 250
"""Bytes that an entry takes beside its own."""


class Entries(Protocol):
    """Holds bytes under a name for a while. Either may raise `polyroute.errors.StateError`."""

    async def get(self, key: str) -> bytes | None:
        """Return what is held; `None` when nothing is, or its time is over."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Hold `value` for so many seconds; return whether it is held."""
        ...


class InMemory:
    """Holds the newest bytes of one process.

    Parameters
    ----------
    most_bytes : int
        Beyond it, what was not read for longest goes.
    clock : callable, optional
        Returns seconds that only grow.

    Examples
    --------
    >>> import asyncio
    >>> held = InMemory(1_000)
    >>> asyncio.run(held.put("a", b"x" * 2_000, ttl_s=60)), held.bytes
    (False, 0)
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_bytes
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.bytes = 0
        """How much is held, names and all."""

    def __len__(self) -> int:
        return len(self._held)

    async def get(self, key: str) -> bytes | None:
        """Return what is held; `None` when nothing is, or its time is over."""
        ends_at, value = self._held.get(key, (0.0, None))
        if value is None:
            return None
        if ends_at <= self._clock():
            self._drop(key)
            return None
        self._held.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Hold `value` for so many seconds; return whether it is held."""
        self._drop(key)
        size = _size(key, value)
        if size > self._most:
            return False
        self._held[key] = (self._clock() + ttl_s, value)
        self.bytes += size
        while self.bytes > self._most:
            self._drop(next(iter(self._held)))
        return True

    def _drop(self, key: str) -> None:
        found = self._held.pop(key, None)
        if found is not None:
            self.bytes -= _size(key, found[1])


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD
