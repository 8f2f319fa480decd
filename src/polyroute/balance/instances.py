"""The instances of one model: who is fit, who is asked, and how they did.

The one decision here: what is done for every call costs the same however many instances there are;
who is fit is worked out when something has changed, and remembered.
"""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from polyroute.balance.health import Fitness, Health, State
from polyroute.balance.live import Clock, Live
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.protocols import Balancer
from polyroute.types import Request

__all__ = ["InstanceState", "Instances"]

_log = logging.getLogger(__name__)

_ILL = frozenset({"auth", "backend", "invalid_reply", "timeout", "unavailable"})
"""Failures that say something about the instance, and not about the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """What is known of one instance, for people."""

    label: str
    state: State
    why: str = ""
    """Why it is out; empty while it is fit."""
    back_in_s: float | None = None
    """Seconds until it is looked at again; `None` while it is fit or on trial."""
    region: str | None = None
    weight: float = 1.0
    outstanding: int = 0
    """Calls that it is carrying out."""
    calls: int = 0
    """Calls that ended within the window."""
    failed: int = 0
    latency_s: float | None = None
    """Recent seconds to an answer, peaks kept for a while; `None` when nothing is known."""
    p95_s: float | None = None
    """95 % of the last replies that were not streamed took no longer."""
    p95_first_token_s: float | None = None
    """95 % of the last streams began no later."""


class Instances:
    """Keeps the live facts and the fitness of the instances of one model.

    Parameters
    ----------
    balancer : Balancer
        Chooses among the fit ones.
    names : sequence of (str, float, str or None)
        Label, weight and region of each instance.
    health : Health, optional
        When an instance is taken out.
    clock : callable, optional
        Seconds that never go back.
    """

    def __init__(
        self,
        balancer: Balancer,
        names: Sequence[tuple[str, float, str | None]],
        *,
        health: Health | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._health = Health() if health is None else health
        self._balancer = balancer
        self._clock = clock
        self.live = tuple(
            Live(label, weight=weight, region=region, clock=clock)
            for label, weight, region in names
        )
        self._fitness = tuple(Fitness(self._health) for _ in names)
        self._fit: tuple[int, ...] = tuple(range(len(self.live)))
        self._due: tuple[int, ...] = ()
        """Half open, and without a trial yet."""
        self._look_at = float("inf")
        """When somebody's time is over."""

    def choose(self, call: Call, request: Request, but: Collection[int] = ()) -> int | None:
        """Return the place of the instance to ask, and count the call as running there.

        Parameters
        ----------
        call, request
            What is to be sent.
        but : collection of int, optional
            Places that it has been sent to.

        Returns
        -------
        int or None
            `None` when no other instance is fit. Whoever got a place calls `ended` with it.
        """
        if self._clock() >= self._look_at:
            self._look()
        if self._due and (due := [place for place in self._due if place not in but]):
            self._fitness[due[0]].on_trial = True
            self._look()
            return self._began(due[0])
        among = self._fit
        if but:
            among = tuple(place for place in among if place not in but)
        if not among:
            return None
        place = among[0]
        if len(among) > 1:
            place = self._balancer.choose(self.live, among, call, request)
        self.live[place].outstanding += 1
        return place

    def again(self, place: int) -> bool:
        """Count a call as running on an instance it was sent to before; false when it is out.

        One that only rests after a 429 may be asked again by a call that has waited for it.
        """
        if self._clock() >= self._look_at:
            self._look()
        if self._fitness[place].state not in ("closed", "cooling"):
            return False
        self._began(place)
        return True

    def answered(self, place: int, seconds: float) -> None:
        """Take note that an instance on trial has begun to answer: it is fit."""
        if self._fitness[place].state == "half_open":
            self._fitness[place].went_well(self._clock(), seconds)
            self._look()

    def is_on_trial(self, place: int) -> bool:
        """Whether an instance is half open and has its one call."""
        return self._fitness[place].on_trial

    def ended(
        self,
        place: int,
        error: BackendError | None = None,
        *,
        seconds: float | None = None,
        first_token_s: float | None = None,
        at_least_s: float = 0.0,
    ) -> None:
        """Take note of how a call ended: by itself, with `error`, or cut off by us.

        Parameters
        ----------
        place : int
            Where it ran.
        error : BackendError, optional
            What went wrong.
        seconds : float, optional
            From its sending to its end; `None` without an error: it was cut off by us.
        first_token_s : float, optional
            From its sending to its first text, when it was streamed.
        at_least_s : float, optional
            How long it had run without an answer when it was cut off.
        """
        live, fitness = self.live[place], self._fitness[place]
        live.outstanding -= 1
        if error is None and seconds is not None:
            latency = seconds if first_token_s is None else first_token_s
            (live.whole if first_token_s is None else live.first).add(latency)
            live.measured(latency)
            before = fitness.state
            fitness.went_well(self._clock(), latency)
            if fitness.state != before:
                self._look()
            elif self._health.slower_by is not None:
                self._eject(place)
            return
        if error is None:
            fitness.came_to_nothing()
            if at_least_s > live.latency_s > 0:
                live.measured(at_least_s)
            if self._health.slow_s is not None and at_least_s > self._health.slow_s:
                fitness.went_wrong(self._clock(), f"no answer within {at_least_s:.1f} s")
        else:
            self._failed(place, error, seconds or 0.0)
        self._look()

    def probed(self, place: int, *, ok: bool, why: str = "") -> None:
        """Take note of an active probe."""
        self._fitness[place].probed(self._clock(), ok=ok, why=f"probe: {why}")
        self._look()

    def wait_s(self) -> float | None:
        """Seconds until the first instance that rests after a 429 is back; `None`: none does."""
        now = self._clock()
        rests = [one.until - now for one in self._fitness if one.state == "cooling"]
        return max(0.0, min(rests)) if rests else None

    def why_out(self) -> str:
        """Return why no instance is fit, one clause for each."""
        said = [f"{one.label} is {f.state}: {f.why}" for one, f in self._each() if not f.fit]
        return "; ".join(said)

    def snapshot(self) -> tuple[InstanceState, ...]:
        """Return what is known of every instance."""
        now = self._clock()
        self._look()
        return tuple(
            InstanceState(
                label=live.label,
                state=fitness.state,
                why=fitness.why,
                back_in_s=(
                    None
                    if fitness.state in ("closed", "half_open")
                    else round(max(0.0, fitness.until - now), 3)
                ),
                region=live.region,
                weight=live.weight,
                outstanding=live.outstanding,
                calls=fitness.tally.calls(now),
                failed=fitness.tally.failed(now),
                latency_s=live.latency_s or None,
                p95_s=live.whole.quantile(0.95),
                p95_first_token_s=live.first.quantile(0.95),
            )
            for live, fitness in self._each()
        )

    def _each(self) -> Sequence[tuple[Live, Fitness]]:
        return tuple(zip(self.live, self._fitness, strict=True))

    def _began(self, place: int) -> int:
        self.live[place].outstanding += 1
        return place

    def _failed(self, place: int, error: BackendError, seconds: float) -> None:
        fitness, now = self._fitness[place], self._clock()
        if error.failure_kind == "rate_limit":
            fitness.cool(now, error.retry_after_s)
        elif error.failure_kind in _ILL:
            # not its message: an upstream may quote the prompt
            status = "" if error.status is None else f", HTTP {error.status}"
            fitness.went_wrong(now, f"{error.failure_kind}{status}")
            self._eject(place)
        else:
            fitness.went_well(now, seconds)  # it answered: what is wrong is the call

    def _eject(self, place: int) -> None:
        """Take an instance out that does much worse than the others, if enough are left."""
        fitness, now, health = self._fitness[place], self._clock(), self._health
        mine = fitness.tally
        if not fitness.fit or mine.calls(now) < health.least_calls:
            return
        out = sum(not one.fit for one in self._fitness)
        if out + 1 > health.most_ejected * len(self._fitness):
            return
        others = [one.tally for one in self._fitness if one is not fitness and one.fit]
        others = [one for one in others if one.calls(now) >= health.least_calls]
        if not others:
            return
        share = sum(one.error_rate(now) for one in others) / len(others)
        if mine.error_rate(now) > share + health.worse_by:
            why = f"{mine.error_rate(now):.0%} of its calls fail, {share:.0%} of the others'"
            fitness.eject(now, why)
        mean_s = sum(one.mean_s(now) for one in others) / len(others)
        if health.slower_by is not None and mine.mean_s(now) > health.slower_by * mean_s:
            why = f"its answers take {mine.mean_s(now):.2f} s, those of the others {mean_s:.2f} s"
            fitness.eject(now, why)
        if not fitness.fit:
            self._look()

    def _look(self) -> None:
        """Work out who is fit."""
        now = self._clock()
        before = self._fit
        for fitness in self._fitness:
            fitness.look(now)
        places = range(len(self._fitness))
        self._fit = tuple(place for place in places if self._fitness[place].fit)
        self._due = tuple(
            place
            for place in places
            if self._fitness[place].state == "half_open" and not self._fitness[place].on_trial
        )
        out = (f.until for f in self._fitness if f.state not in ("closed", "half_open"))
        self._look_at = min(out, default=float("inf"))
        for place in set(before) ^ set(self._fit):
            fitness, label = self._fitness[place], self.live[place].label
            if fitness.fit:
                _log.warning("%s is back", label)
            else:
                _log.warning("%s is out (%s): %s", label, fitness.state, fitness.why)
