"""What is known of one instance right now: its running calls and its recent latencies."""

import math
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Clock", "Latencies", "Live"]

Clock = Callable[[], float]
"""Seconds that never go back."""

_FADES_S = 10.0
"""Seconds in which what is remembered of a latency falls to a third (by 1/e)."""

_KEPT = 128
"""Latencies that a quantile is taken of."""


class Latencies:
    """The last 128 latencies, and their quantiles.

    Examples
    --------
    >>> seen = Latencies()
    >>> for seconds in range(1, 101):
    ...     seen.add(float(seconds))
    >>> seen.quantile(0.95)
    95.0
    """

    __slots__ = ("_order", "_sorted")

    def __init__(self) -> None:
        self._order: deque[float] = deque(maxlen=_KEPT)
        self._sorted: list[float] | None = []
        """`None` until somebody asks again: most calls only add."""

    def __len__(self) -> int:
        return len(self._order)

    def add(self, seconds: float) -> None:
        """Take note of a latency, and forget the oldest of too many."""
        self._order.append(seconds)
        self._sorted = None

    def quantile(self, share: float) -> float | None:
        """Return the smallest latency that `share` of them do not exceed; `None` of none."""
        if self._sorted is None:
            self._sorted = sorted(self._order)
        n = len(self._sorted)
        return self._sorted[max(0, math.ceil(share * n) - 1)] if n else None


class Live:
    """Live facts of one instance; see `polyroute.protocols.Facts`.

    Parameters
    ----------
    label : str
        Its name.
    weight : float, default=1
        Its share of the calls, relative to the others.
    outstanding : int, default=0
        Calls that it is carrying out.
    region : str, optional
        Where it is.
    clock : callable
        For the fading of latencies.
    """

    __slots__ = ("_at", "_clock", "_peak_s", "first", "label", "outstanding", "region", "weight",
                 "whole")  # fmt: skip

    def __init__(
        self,
        label: str,
        *,
        weight: float = 1.0,
        outstanding: int = 0,
        region: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.label = label
        self.weight = weight
        self.outstanding = outstanding
        self.region = region
        self.first = Latencies()
        """Seconds to the first text of streams."""
        self.whole = Latencies()
        """Seconds to the end of replies that were not streamed."""
        self._clock = clock
        self._peak_s = 0.0
        self._at = 0.0

    @property
    def latency_s(self) -> float:
        """Moving average of the seconds to an answer, fading while nobody asks."""
        if not self._peak_s:
            return 0.0
        return self._peak_s * math.exp(-(self._clock() - self._at) / _FADES_S)

    def measured(self, seconds: float) -> None:
        """Take note of the seconds to an answer: a peak counts at once, less only by and by."""
        now = self._clock()
        if seconds >= self._peak_s:
            self._peak_s = seconds
        else:
            kept = math.exp(-(now - self._at) / _FADES_S)
            self._peak_s = self._peak_s * kept + seconds * (1 - kept)
        self._at = now
