"""What has happened since the server started, as plain numbers.

The one decision here: a request costs additions only. Nothing is locked, formatted or looked up by
more than a name; what reads the numbers does the rest, in the same event loop.
"""

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from math import log

from polyroute.gateway.watch.account import Account, Called, Ending

__all__ = ["OTHER", "Histogram", "OfCard", "OfPolicy", "Share", "Tally"]

OTHER = "other"
"""Stands for every policy that the configuration does not name."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_ROUNDS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)

_WINDOW = 500
"""Calls that the share of each card is taken over."""


class Histogram:
    """Counts of values up to each of some bounds.

    Parameters
    ----------
    bounds : tuple of float
        Ascending; larger values are counted apart.

    Examples
    --------
    >>> counts = Histogram((1.0, 5.0))
    >>> for value in (0.5, 1.0, 7.0):
    ...     counts.add(value)
    >>> counts.counts, counts.sum
    ([2, 0, 1], 8.5)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return how many values were at most each bound, as Prometheus wants it."""
        total, buckets = 0, []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else str(bound), float(total)))
        return buckets


def _seconds() -> Histogram:
    return Histogram(_SECONDS)


@dataclass(slots=True)
class OfPolicy:
    """Requests that one policy answered."""

    endings: Counter[Ending] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=_seconds)
    rounds: Histogram = field(default_factory=lambda: Histogram(_ROUNDS))
    usd: Decimal = Decimal(0)
    remembered: int = 0
    saved: Decimal = Decimal(0)
    fell_back: int = 0


@dataclass(slots=True)
class OfCard:
    """Calls to one card."""

    calls: int = 0
    """Of rounds: those that may become the answer."""
    own: int = 0
    """Of policies' own thinking."""
    refused: int = 0
    """Not made, since the budget did not allow it."""
    failures: Counter[str] = field(default_factory=Counter)
    """By kind, refused ones among them."""
    seconds: Histogram = field(default_factory=_seconds)
    first_token: Histogram = field(default_factory=_seconds)
    usd: Decimal = Decimal(0)
    unknown: int = 0
    """Replies whose price nobody knows."""
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    def add(self, called: Called) -> None:
        """Count one call."""
        reply = called.reply
        if reply.failure is not None:
            self.failures[reply.failure.kind] += 1
            if called.refused:
                self.refused += 1
                return
        if called.own:
            self.own += 1
        else:
            self.calls += 1
        self.seconds.add(reply.seconds)
        if reply.first_token_s is not None:
            self.first_token.add(reply.first_token_s)
        if reply.usd is None:
            self.unknown += 1
        else:
            self.usd += reply.usd
        if (usage := reply.usage) is not None:
            self.input += usage.input
            self.output += usage.output
            self.cached += usage.cached
            self.reasoning += usage.reasoning


class Share:
    """How the newest calls of policies are spread over the cards.

    Parameters
    ----------
    cards : tuple of str
        All that could be asked.
    window : int, default=500
        Calls to look back over.

    Examples
    --------
    >>> share = Share(("a", "b"))
    >>> for card in "aaab":
    ...     share.add(card)
    >>> share.of("a"), share.largest, round(share.entropy, 3)
    (0.75, ('a', 0.75), 0.811)
    """

    def __init__(self, cards: tuple[str, ...], window: int = _WINDOW) -> None:
        self._newest: deque[str] = deque(maxlen=window)
        self._counts = dict.fromkeys(cards, 0)

    def add(self, card: str) -> None:
        """Take note of a call."""
        if len(self._newest) == self._newest.maxlen:
            self._counts[self._newest[0]] -= 1
        self._newest.append(card)
        self._counts[card] = self._counts.get(card, 0) + 1

    def among(self, cards: tuple[str, ...]) -> "Share":
        """Return how the newest calls are spread over other cards, the rest forgotten."""
        other = Share(cards, self._newest.maxlen or _WINDOW)
        for card in self._newest:
            if card in other._counts:
                other.add(card)
        return other

    @property
    def calls(self) -> int:
        """Calls that are looked at."""
        return len(self._newest)

    def of(self, card: str) -> float:
        """Share of `card`, 0 to 1."""
        return self._counts.get(card, 0) / len(self._newest) if self._newest else 0.0

    @property
    def largest(self) -> tuple[str, float] | None:
        """The card that is asked most, and its share; `None` before any call."""
        if not self._newest:
            return None
        card = max(self._counts, key=self._counts.__getitem__)
        return card, self.of(card)

    @property
    def entropy(self) -> float:
        """Entropy of the shares over that of equal ones: 0 is one card only, 1 is all alike."""
        if len(self._counts) < 2 or not self._newest:
            return 0.0
        shares = [self.of(card) for card in self._counts]
        total = -sum(share * log(share) for share in shares if share > 0)
        return max(0.0, total / log(len(self._counts)))


class Tally:
    """The numbers of one server.

    Parameters
    ----------
    cards : tuple of str
        Ids of the pool, in its order.
    policies : iterable of str
        Names of the configuration.
    apart : tuple of str, optional
        Ids of the cards that no policy chooses: embedding models.
    """

    def __init__(
        self, cards: tuple[str, ...], policies: tuple[str, ...], apart: tuple[str, ...] = ()
    ) -> None:
        names = dict.fromkeys((*policies, "fixed", OTHER))
        self.policies = {name: OfPolicy() for name in names}
        self.cards = {card: OfCard() for card in (*cards, *apart)}
        self.share = Share(cards)
        self.running = 0
        """Requests that are being answered."""
        self.refused: Counter[int] = Counter()
        """Requests that were not let in, by status."""

    def renew(
        self, cards: tuple[str, ...], policies: tuple[str, ...], apart: tuple[str, ...] = ()
    ) -> None:
        """Go on with the names of another configuration; what was counted stays."""
        for name in policies:
            self.policies.setdefault(name, OfPolicy())
        for card in (*cards, *apart):
            self.cards.setdefault(card, OfCard())
        self.share = self.share.among(cards)

    def ended(self, account: Account) -> None:
        """Count a request."""
        policies = self.policies
        one = policies.get(account.policy) or policies[OTHER]
        one.endings[account.ending] += 1
        one.seconds.add(account.seconds)
        if account.remembered:
            one.remembered += 1
            one.saved += account.saved
            return
        one.rounds.add(account.rounds)
        one.usd += account.usd
        if account.outcome is not None and account.outcome.fallback is not None:
            one.fell_back += 1
        for called in account.called:
            self.cards[called.card].add(called)
            if account.routed and not called.own and not called.refused:
                self.share.add(called.card)
