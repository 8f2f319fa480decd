"""Watches a training run for collapse: one model for everything, broken grammar, a runaway policy.

The one decision here: an alarm compares means over a window of steps with the start of the run and
with the scripted optimum, never with one noisy batch; where the optimum itself asks one candidate
most of the time, that is no collapse.

Candidates are told apart by their place in the order of prices, dearest first, because a task may
draw the names anew in every episode: "always the dearest" then hides behind as many names as there
are questions.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from polyroute.decision import Route
from polyroute.pool import ModelCard, Pool
from polyroute.trace import Trace

__all__ = ["Alarm", "Monitor", "Vitals", "place_of", "shares"]

_Sign = Literal["share", "calls", "format", "kl", "outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What one batch of rollouts says of the policy."""

    step: int
    reward: float
    outcome: float
    """Mean quality of the answers, 0 to 1."""
    format_rate: float
    """Share of the episodes in which every turn of the policy's own was well-formed."""
    calls: float
    """Calls to candidates per question."""
    share: Mapping[str, float] = field(default_factory=dict)
    """Share of all calls by place in the order of prices, as `shares` returns it."""
    kl: float | None = None
    """Mean divergence from the start per own token, in nats, where it is measured."""

    @property
    def top_share(self) -> float:
        """Share of the place that is called most."""
        return max(self.share.values(), default=0.0)

    @property
    def entropy(self) -> float:
        """Entropy over places, in nats; 0 when all calls go to one."""
        return -sum(p * math.log(p) for p in self.share.values() if p > 0)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a healthy run does not show."""

    step: int
    sign: _Sign
    message: str


class Monitor:
    """Raise an alarm when the last `window` steps do not look like learning.

    Parameters
    ----------
    optimum_share : float, default=0.0
        Share of the most used place when the scripted optimum routes. The alarm is half-way from
        there to 1, and at .7 or above.
    window : int, default=5
        Steps whose mean is judged.
    format_floor : float, default=0.7
        Least rate of well-formed episodes; a start that is below it may fall by .1.
    calls_floor : float, default=0.5
        Least calls per question, as a part of those of the optimum (or of the first window).
    outcome_drop : float, default=0.2
        Most that the quality may fall below that of the first window.
    kl_limit : float, default=1.0
        Most mean divergence from the start per token, in nats.
    optimum_calls : float, optional
        Calls per question of the scripted optimum.
    """

    def __init__(  # noqa: PLR0913 - one limit per sign
        self,
        *,
        optimum_share: float = 0.0,
        window: int = 5,
        format_floor: float = 0.7,
        calls_floor: float = 0.5,
        outcome_drop: float = 0.2,
        kl_limit: float = 1.0,
        optimum_calls: float | None = None,
    ) -> None:
        self.share_limit = max(0.7, (1 + optimum_share) / 2)
        self.window = window
        self.format_floor = format_floor
        self.calls_floor = calls_floor
        self.outcome_drop = outcome_drop
        self.kl_limit = kl_limit
        self.optimum_calls = optimum_calls
        self._seen: deque[Vitals] = deque(maxlen=window)
        self._first: tuple[Vitals, ...] = ()

    def watch(self, vitals: Vitals) -> tuple[Alarm, ...]:
        """Take note of one step, and return what is alarming now; nothing in the first window."""
        self._seen.append(vitals)
        if len(self._seen) < self.window:
            return ()
        if not self._first:
            self._first = tuple(self._seen)
        return tuple(
            Alarm(vitals.step, sign, f"over {self.window} steps: {message}")
            for sign, message in self._signs()
        )

    def _signs(self) -> Iterable[tuple[_Sign, str]]:
        share = _mean_share(self._seen)
        top, most = max(share.items(), key=lambda item: item[1], default=("", 0.0))
        if most > self.share_limit:
            yield "share", f"{most:.0%} of the calls go to {top}, more than {self.share_limit:.0%}"
        calls = _mean(self._seen, "calls")
        usual = self.optimum_calls or _mean(self._first, "calls")
        if calls < self.calls_floor * usual:
            yield "calls", f"{calls:.2f} calls per question, where {usual:.2f} are usual"
        well_formed = _mean(self._seen, "format_rate")
        least = min(self.format_floor, _mean(self._first, "format_rate") - 0.1)
        if well_formed < least:
            yield "format", f"{well_formed:.0%} of the episodes are well-formed"
        outcome, start = _mean(self._seen, "outcome"), _mean(self._first, "outcome")
        if outcome < start - self.outcome_drop:
            yield "outcome", f"quality fell from {start:.2f} to {outcome:.2f}"
        divergence = [each.kl for each in self._seen if each.kl is not None]
        if divergence and sum(divergence) / len(divergence) > self.kl_limit:
            yield "kl", f"{sum(divergence) / len(divergence):.2f} nats per token from the start"


def place_of(card: ModelCard, pool: Pool) -> str:
    """Return where `card` stands in the order of prices of `pool`, as ``1st`` or ``2nd``.

    Price per call is compared first, then price per token; an unknown price counts as the highest.

    Examples
    --------
    >>> from polyroute.pool import Price
    >>> dear = ModelCard(id="big", price=Price.per_million(3, 9))
    >>> cheap = ModelCard(id="small", price=Price.per_million(1, 2))
    >>> place_of(cheap, Pool([cheap, dear]))
    '2nd'
    """
    ranked = sorted(pool, key=_dearness, reverse=True)
    place = 1 + next(k for k, each in enumerate(ranked) if each.id == card.id)
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th")


def shares(traces: Iterable[Trace]) -> dict[str, float]:
    """Return the share of all calls to candidates by place in the order of prices.

    The router itself is no candidate, and a call that was refused is none.
    """
    counts: Counter[str] = Counter()
    for trace in traces:
        routers = {
            reply.model
            for step in trace.steps
            if isinstance(step.decision, Route) and step.decision.own
            for reply in step.replies
        }
        candidates = Pool(card for card in trace.pool if card.id not in routers)
        for step in trace.steps:
            if step.is_round:
                made = [
                    r.model for r in step.replies if r.failure is None or r.failure.kind != "budget"
                ]
                counts.update(place_of(candidates.card(model), candidates) for model in made)
    total = counts.total()
    return {place: count / total for place, count in sorted(counts.items())}


def _dearness(card: ModelCard) -> tuple[float, float]:
    if card.price is None:
        return (math.inf, math.inf)
    return (
        float(card.price.call),
        float(card.price.highest_prompt + card.price.highest_completion),
    )


def _mean(seen: Iterable[Vitals], name: Literal["calls", "format_rate", "outcome"]) -> float:
    values = [float(getattr(each, name)) for each in seen]
    return sum(values) / len(values)


def _mean_share(seen: Iterable[Vitals]) -> dict[str, float]:
    steps = list(seen)
    places = {place for each in steps for place in each.share}
    return {p: sum(each.share.get(p, 0.0) for each in steps) / len(steps) for p in sorted(places)}
