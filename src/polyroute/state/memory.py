"""State in the memory of one process: nothing to set up, gone with the process."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from polyroute.state.shared import GRACE_S, Hold, Taken

__all__ = ["MemoryState"]

_SWEEP = 4_096
"""Changes after which what has expired is thrown away."""


@dataclass(slots=True)
class _Counter:
    used: int
    expires_at: float


class MemoryState:
    """Shared by the tasks of one event loop.

    Parameters
    ----------
    clock : callable, optional
        Returns the seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counters: dict[str, _Counter] = {}
        self._leases: dict[str, tuple[float, tuple[tuple[str, int], ...]]] = {}
        self._values: dict[str, tuple[float, bytes]] = {}
        self._changes = 0

    async def take(self, id: str, holds: Sequence[Hold]) -> Taken:
        """Take from every counter, or from none."""
        now = self._sweep()
        counters = [self._counter(hold, now) for hold in holds]
        left = [
            None if hold.most is None else hold.most - counter.used
            for hold, counter in zip(holds, counters, strict=True)
        ]
        for k, hold in enumerate(holds):
            room = left[k]
            if room is not None and room < hold.floor:
                return Taken(granted=(0,) * len(holds), left=tuple(left), refused=k)
        granted = tuple(
            hold.amount if room is None else min(hold.amount, room)
            for hold, room in zip(holds, left, strict=True)
        )
        for counter, amount in zip(counters, granted, strict=True):
            counter.used += amount
        if holds:
            expires_at = max(hold.ends_at for hold in holds) + GRACE_S
            keys = [hold.key for hold in holds]
            self._leases[id] = (expires_at, tuple(zip(keys, granted, strict=True)))
        now_left = tuple(
            None if room is None else room - amount
            for room, amount in zip(left, granted, strict=True)
        )
        return Taken(granted=granted, left=now_left)

    async def settle(self, id: str, spent: Mapping[str, int]) -> bool:
        """Let every counter have what was spent in place of what was taken."""
        _, held = self._leases.pop(id, (0.0, None))
        if held is None:
            return False
        for key, amount in held:
            counter = self._counters.get(key)
            if counter is not None:
                counter.used += spent.get(key, 0) - amount
        return True

    async def read(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Return what is taken from every counter."""
        now = self._clock()
        found = [self._counters.get(key) for key in keys]
        return tuple(
            0 if counter is None or counter.expires_at <= now else counter.used for counter in found
        )

    async def put(self, key: str, value: bytes, *, ttl_s: float, if_absent: bool = False) -> bool:
        """Remember `value` for so many seconds; return whether it was."""
        now = self._sweep()
        if if_absent and self._values.get(key, (0.0, b""))[0] > now:
            return False
        self._values[key] = (now + ttl_s, value)
        return True

    async def get(self, key: str) -> bytes | None:
        """Return what is remembered."""
        expires_at, value = self._values.get(key, (0.0, b""))
        return value if expires_at > self._clock() else None

    async def delete(self, *keys: str) -> None:
        """Forget what is remembered, and what was counted."""
        for key in keys:
            self._values.pop(key, None)
            self._counters.pop(key, None)

    async def close(self) -> None:
        """Do nothing: there is nothing open."""

    def _counter(self, hold: Hold, now: float) -> _Counter:
        counter = self._counters.get(hold.key)
        if counter is None or counter.expires_at <= now:
            counter = self._counters[hold.key] = _Counter(0, hold.ends_at + GRACE_S)
        return counter

    def _sweep(self) -> float:
        """Throw away what has expired, now and then; return the time."""
        now = self._clock()
        self._changes += 1
        if self._changes >= _SWEEP:
            self._changes = 0
            self._counters = {k: c for k, c in self._counters.items() if c.expires_at > now}
            self._leases = {k: item for k, item in self._leases.items() if item[0] > now}
            self._values = {k: item for k, item in self._values.items() if item[0] > now}
        return now
