"""When an instance is fit to be asked: one state machine for each.

The one decision here: an instance that is out comes back by one trial, and not by the clock alone.
So what is still broken costs one call, which is sent again elsewhere, and not a burst of them.

```
closed ── too many errors ──▶ open ── open_s over, or a probe went well ──▶ half_open
   ▲                           ▲                                            │    │
   │                           └──────────────── the trial failed ──────────┘    │
   └──────────────────────────────────────────── the trial went well ────────────┘
closed ── HTTP 429 ──▶ cooling ── Retry-After over ──▶ closed
closed ── much worse than the others ──▶ ejected ── eject_s over ──▶ closed
```
"""

import math
from dataclasses import dataclass
from typing import Literal

from polyroute.errors import ConfigError

__all__ = ["Fitness", "Health", "State", "Tally"]

State = Literal["closed", "open", "half_open", "cooling", "ejected"]
"""``closed`` (a closed circuit carries) is fit; all others are not."""

_SLICES = 10
"""Parts of a window; the oldest is forgotten as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When an instance is taken out, and for how long.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    window_s: float = 30.0
    """Seconds that errors and latencies are counted over."""
    least_calls: int = 10
    """Calls in the window before its rates say anything."""
    error_rate: float = 0.5
    """Share of failed calls, over 0 to 1, at which the circuit opens."""
    in_a_row: int = 5
    """Failed calls in a row at which it opens, however few there were."""
    slow_s: float | None = None
    """A call counts as failed when its answer begins later than this, in seconds."""
    open_s: float = 5.0
    """Seconds until a trial."""
    cooldown_s: float = 1.0
    """Seconds of rest after a 429 without a ``Retry-After``."""
    longest_cooldown_s: float = 60.0
    """Most seconds of rest that a ``Retry-After`` is believed."""
    worse_by: float = 0.3
    """How much its share of failed calls may exceed that of the others, 0 to 1, before an
    instance is ejected; 1: never."""
    slower_by: float | None = None
    """How many times the mean latency of the others its own may be; `None`: not looked at."""
    eject_s: float = 30.0
    """Seconds of an ejection."""
    most_ejected: float = 0.5
    """Share of the instances that may be out when one more is ejected, 0 to 1. It does not bind
    the circuit: what is down is not asked."""
    probe_s: float | None = None
    """Seconds between active probes (``GET {url}/models``) while a server runs; `None`: none."""
    probe_failures: int = 2
    """Failed probes in a row at which the circuit opens."""

    def __post_init__(self) -> None:
        positive = ("window_s", "open_s", "cooldown_s", "longest_cooldown_s", "eject_s")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"health.{name} must be more than 0, got {getattr(self, name)!r}")
        for name in ("slow_s", "slower_by", "probe_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"health.{name} must be more than 0, got {value!r}")
        for name in ("least_calls", "in_a_row", "probe_failures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"health.{name} must be 1 or more, got {getattr(self, name)!r}")
        for name in ("error_rate", "worse_by", "most_ejected"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"health.{name} must be 0 to 1, got {getattr(self, name)!r}")


class Tally:
    """Calls, failed calls and seconds of the last `window_s` seconds, in ten slices."""

    __slots__ = ("_calls", "_failed", "_number", "_seconds", "_slice_s")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / _SLICES
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._calls = [0] * _SLICES
        self._failed = [0] * _SLICES
        self._seconds = [0.0] * _SLICES
        self._number = 0

    def add(self, now: float, *, failed: bool, seconds: float = 0.0) -> None:
        """Count a call."""
        place = self._slide(now)
        self._calls[place] += 1
        self._failed[place] += failed
        self._seconds[place] += seconds

    def calls(self, now: float) -> int:
        """Return how many calls there were."""
        self._slide(now)
        return sum(self._calls)

    def failed(self, now: float) -> int:
        """Return how many of them failed."""
        self._slide(now)
        return sum(self._failed)

    def error_rate(self, now: float) -> float:
        """Return the share of failed calls; 0 of none."""
        calls = self.calls(now)
        return sum(self._failed) / calls if calls else 0.0

    def mean_s(self, now: float) -> float:
        """Return the mean seconds of the calls that did not fail; 0 of none."""
        good = self.calls(now) - sum(self._failed)
        return sum(self._seconds) / good if good else 0.0

    def _slide(self, now: float) -> int:
        """Forget the slices that are over, and return the one that runs."""
        number = math.floor(now / self._slice_s)
        if number == self._number:
            return number % _SLICES
        for over in range(max(self._number + 1, number - _SLICES + 1), number + 1):
            place = over % _SLICES
            self._calls[place] = self._failed[place] = 0
            self._seconds[place] = 0.0
        self._number = max(self._number, number)
        return self._number % _SLICES


class Fitness:
    """The state of one instance. Times are seconds of any clock that never goes back.

    Parameters
    ----------
    health : Health
        When it changes.
    """

    __slots__ = ("_health", "_in_a_row", "_probes_failed", "on_trial", "state", "tally", "until",
                 "why")  # fmt: skip

    def __init__(self, health: Health) -> None:
        self._health = health
        self.state: State = "closed"
        self.until = 0.0
        """When it is looked at again; means nothing while it is fit, or half open."""
        self.why = ""
        """Why it is out, for a person; never a prompt, never a key."""
        self.on_trial = False
        """Whether it is half open and has its one call."""
        self.tally = Tally(health.window_s)
        self._in_a_row = 0
        self._probes_failed = 0

    @property
    def fit(self) -> bool:
        """Whether it may be asked."""
        return self.state == "closed"

    def look(self, now: float) -> None:
        """Take note of the time."""
        if self.state in ("closed", "half_open") or now < self.until:
            return
        if self.state == "open":
            self.state, self.on_trial = "half_open", False
        else:
            self._close()

    def went_well(self, now: float, seconds: float) -> None:
        """Count a call whose answer began after `seconds`."""
        if self._health.slow_s is not None and seconds > self._health.slow_s:
            self.went_wrong(now, f"its answer began after {seconds:.1f} s")
            return
        self.tally.add(now, failed=False, seconds=seconds)
        self._in_a_row = 0
        if self.state == "half_open":
            self._close()

    def went_wrong(self, now: float, why: str) -> None:
        """Count a call that failed, and open the circuit where it is one too many."""
        self.tally.add(now, failed=True)
        self._in_a_row += 1
        on_trial = self.state == "half_open"
        if on_trial or (self.state != "open" and self._is_too_much(now)):
            self._open(now, why)

    def came_to_nothing(self) -> None:
        """Take note that a call ended without saying anything about the instance."""
        self.on_trial = False

    def cool(self, now: float, seconds: float | None) -> None:
        """Let it rest after a 429, `seconds` as it asked."""
        rest = self._health.cooldown_s if seconds is None else seconds
        until = now + min(rest, self._health.longest_cooldown_s)
        if self.state == "open" or (self.state == "cooling" and until <= self.until):
            return
        self.state, self.until, self.on_trial = "cooling", until, False
        self.why = "it has had too many calls (429)"

    def eject(self, now: float, why: str) -> None:
        """Take it out because the others are better."""
        self.state, self.until, self.why = "ejected", now + self._health.eject_s, why

    def probed(self, now: float, *, ok: bool, why: str = "") -> None:
        """Take note of an active probe."""
        if not ok:
            self._probes_failed += 1
            enough = self._probes_failed >= self._health.probe_failures
            if (enough and self.state == "closed") or self.state == "open":
                self._open(now, why)
            return
        self._probes_failed = 0
        if self.state == "open":
            self.until = now

    def _is_too_much(self, now: float) -> bool:
        health = self._health
        if self._in_a_row >= health.in_a_row:
            return True
        enough = self.tally.calls(now) >= health.least_calls
        return enough and self.tally.error_rate(now) >= health.error_rate

    def _open(self, now: float, why: str) -> None:
        self.state, self.until, self.why = "open", now + self._health.open_s, why
        self.on_trial = False

    def _close(self) -> None:
        self.state, self.why, self.on_trial = "closed", "", False
        self._in_a_row = 0
        self.tally.clear()
