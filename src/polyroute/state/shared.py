"""What every engine of shared state does: count under limits, settle exactly, remember for a while.

The one decision here: what is counted is an integer. Dollars are counted in units of one millionth
of a millionth (`units`), so that a sum is exact on every engine, and one atomic operation takes
from several counters or from none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Protocol, runtime_checkable

from polyroute.errors import ConfigError

__all__ = [
    # counting
    "Hold", "Taken",
    # money
    "usd_of", "units",
    # keeping
    "GRACE_S", "LARGEST", "Shared",
]  # fmt: skip

GRACE_S = 3_600.0
"""Seconds for which a counter is kept after its window: a long request may settle late."""

LARGEST = 2**53
"""The largest amount that one hold may take: 9,007 dollars. Redis computes with doubles."""

_EXPONENT = 12
"""Decimal places of a dollar that are counted."""

_MOST = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What is to be taken from one counter.

    Raises
    ------
    ConfigError
        If an amount is negative or too large to be counted exactly.
    """

    key: str
    """The counter, with the window it counts: ``usd/4f2a/2026-11``."""
    amount: int
    """How much, in the counter's own unit."""
    least: int | None = None
    """Take as much as is left, down to so much; `None`: all of `amount` or nothing."""
    most: int | None = None
    """How much the window may hold; `None` counts without a limit."""
    ends_at: float
    """When the window ends, in seconds since 1970."""

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= self.amount <= LARGEST:
            raise ConfigError(
                f"a hold on {self.key!r} must take 0 to {LARGEST} with its least below it, got "
                f"amount {self.amount!r}, least {self.least!r}"
            )
        if self.most is not None and not 0 <= self.most <= _MOST:
            raise ConfigError(f"{self.key!r} may hold 0 to {_MOST}, got {self.most!r}")

    @property
    def floor(self) -> int:
        """What must be left for the hold to be granted."""
        return self.amount if self.least is None else self.least


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of taking."""

    granted: tuple[int, ...]
    """For every hold what was taken; nothing anywhere when one was refused."""
    left: tuple[int | None, ...]
    """For every counter what is left now; `None` without a limit."""
    refused: int | None = None
    """Which hold has no room, the first of them; `None`: all were granted."""

    @property
    def ok(self) -> bool:
        """Whether everything was granted."""
        return self.refused is None


@runtime_checkable
class Shared(Protocol):
    """Keep what several tasks, processes or machines have in common. Every method is atomic.

    Each may raise `polyroute.errors.StateError`: the engine cannot be reached. Nothing is then
    known of what it did, and its caller decides what that means; the next call tries anew.
    """

    async def take(self, id: str, holds: Sequence[Hold]) -> Taken:
        """Take from every counter, or from none.

        Parameters
        ----------
        id : str
            Names what was taken, until it is settled; new for every call.
        holds : sequence of Hold
            From counters that differ.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def settle(self, id: str, spent: Mapping[str, int]) -> bool:
        """Let every counter that `id` took from have what was `spent` in place of it.

        Parameters
        ----------
        id : str
            As it was taken.
        spent : mapping of str to int
            By counter; nothing was spent of one that is missing.

        Returns
        -------
        bool
            Whether there was something to settle: `False` the second time, which changes nothing.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def read(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Return what is taken from every counter, held or spent; 0 of one that is not known.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def put(self, key: str, value: bytes, *, ttl_s: float, if_absent: bool = False) -> bool:
        """Remember `value` for so many seconds; return whether it was.

        With `if_absent` only where nothing is remembered under `key`.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def get(self, key: str) -> bytes | None:
        """Return what is remembered; `None` when nothing is, or its time is over.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def delete(self, *keys: str) -> None:
        """Forget what is remembered under `keys`, and what was counted.

        Raises
        ------
        StateError
            If the engine cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Release files and connections; the next use opens them again."""
        ...


def units(usd: Decimal) -> int:
    """Return dollars as what is counted: millionths of a millionth, rounded up.

    Examples
    --------
    >>> units(Decimal("0.000000075")), units(Decimal("1e-13"))
    (75000, 1)
    """
    return int(usd.scaleb(_EXPONENT).to_integral_value(ROUND_CEILING))


def usd_of(units: int) -> Decimal:
    """Return what was counted as dollars.

    Examples
    --------
    >>> usd_of(75_000)
    Decimal('7.5E-8')
    """
    usd = Decimal(units).scaleb(-_EXPONENT)
    return Decimal(f"{usd.normalize():f}")
