"""Cost and quality by the minute, for the last day.

The one decision here: it is bounded whatever happens. A minute is a few numbers, a day is 1,440
minutes, and what is older is in the records.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from polyroute.gateway.watch.account import Account
from polyroute.gateway.watch.counterfactual import rivals, tokens_of
from polyroute.pool import Pool
from polyroute.records.feedback import Feedback
from polyroute.types import Json, JsonObject

__all__ = ["Minute", "Timeline"]

_MOST = 1_440
_POINTS = 120
"""Most points of a curve: more than that cannot be told apart on a screen."""


@dataclass(slots=True)
class Minute:
    """What happened in one stretch of time."""

    requests: int = 0
    failed: int = 0
    usd: Decimal = Decimal(0)
    compared: int = 0
    """Requests that were answered, so that others can be compared with them."""
    compared_usd: Decimal = Decimal(0)
    """What those cost, as far as it is known."""
    best: Decimal = Decimal(0)
    """Estimate: what they would have cost with the best model for everything."""
    cheapest: Decimal = Decimal(0)
    """Estimate: the same with the cheapest."""
    seconds: float = 0.0
    rounds: int = 0
    rewards: int = 0
    reward: float = 0.0
    """Sum of the feedback."""
    cards: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "Minute") -> None:
        """Add what happened in another one."""
        for name in self.__slots__:
            if name != "cards":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cards.update(other.cards)

    def to_json(self, at: int) -> dict[str, Json]:
        """Return the JSON form; dollars as strings."""
        return {
            "at": at,
            "requests": self.requests,
            "failed": self.failed,
            "usd": f"{self.usd:f}",
            "compared": self.compared,
            "compared_usd": f"{self.compared_usd:f}",
            "best_usd": f"{self.best:f}",
            "cheapest_usd": f"{self.cheapest:f}",
            "seconds": self.seconds / self.requests if self.requests else None,
            "rounds": self.rounds / self.requests if self.requests else None,
            "quality": self.reward / self.rewards if self.rewards else None,
            "rewards": self.rewards,
            "cards": dict(self.cards),
        }


class Timeline:
    """The minutes of the last day.

    Parameters
    ----------
    pool : Pool
        Says what the best and the cheapest model are.
    clock : callable, optional
        Seconds since 1970.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rivals = rivals(pool)
        self._minutes: dict[int, Minute] = {}

    def ended(self, account: Account) -> None:
        """Take note of a request."""
        minute = self._at(account.began + account.seconds)
        minute.requests += 1
        minute.failed += account.ending != "answered"
        minute.usd += account.usd
        minute.seconds += account.seconds
        minute.rounds += account.rounds
        for called in account.called:
            if not called.own and not called.refused:
                minute.cards[called.card] += 1
        if self._rivals is None or not account.routed or account.remembered:
            return
        usage = tokens_of(account)
        if usage is not None:
            best, cheapest = self._rivals
            minute.compared += 1
            minute.compared_usd += account.usd
            usd = best.usd(usage)
            minute.best += usd
            minute.cheapest += usd if cheapest.card is best.card else cheapest.usd(usage)

    def renew(self, pool: Pool) -> None:
        """Go on with another pool: what is compared from now on is compared with its models."""
        self._rivals = rivals(pool)

    def rated(self, feedback: Iterable[Feedback]) -> None:
        """Take note of what answers were worth, at the time it was said."""
        oldest = self._now() - _MOST
        for one in feedback:
            try:
                said = datetime.fromisoformat(one.created_at).timestamp()
            except ValueError:
                continue
            if said // 60 > oldest:
                minute = self._at(said)
                minute.rewards += 1
                minute.reward += one.reward

    def points(self, minutes: int) -> list[JsonObject]:
        """Return the newest `minutes`, oldest first, in at most 120 steps of equal length."""
        step = -(-minutes // _POINTS)
        last = self._now() // step
        merged = {at: Minute() for at in range(last - -(-minutes // step) + 1, last + 1)}
        for at, minute in self._minutes.items():
            if at // step in merged:
                merged[at // step].merge(minute)
        return [minute.to_json(at * step * 60) for at, minute in merged.items()]

    def rivals(self) -> JsonObject | None:
        """Return who the best and the cheapest are, and why."""
        if self._rivals is None:
            return None
        best, cheapest = self._rivals
        return {
            "best": {"card": best.card.id, "why": best.why},
            "cheapest": {"card": cheapest.card.id, "why": cheapest.why},
        }

    def _now(self) -> int:
        return int(self._clock() // 60)

    def _at(self, moment: float) -> Minute:
        at = int(moment // 60)
        if (minute := self._minutes.get(at)) is None:
            oldest = self._now() - _MOST
            for old in [each for each in self._minutes if each <= oldest]:
                del self._minutes[old]
            minute = self._minutes[at] = Minute()
        return minute
