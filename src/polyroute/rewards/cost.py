"""How dear an episode was, as a number that a reward can subtract: 0 is free.

Three forms. `Linear` is what we use: the bill as a share of what a right answer is worth, the
same for every episode and every moment of training. `Lagrangian` finds the weight that keeps the
mean bill at a target. `Reference` is the normalisation of Router-R1's code, kept to compare with:
it ranks an episode among the last thousand, so that its meaning moves with the policy.
"""

from collections import deque
from decimal import Decimal
from typing import Protocol, Self

import numpy as np

from polyroute.decision import Route
from polyroute.errors import ConfigError
from polyroute.protocols import State
from polyroute.trace import Bill, Reply, Trace

__all__ = ["Cost", "Lagrangian", "Linear", "Reference", "bill", "completion_micro_usd"]

_NEUTRAL = 0.5


class Cost(Protocol):
    """A measure of an episode's cost, which may learn while a policy is trained."""

    def __call__(self, trace: Trace) -> float:
        """Return how dear the episode was, 0 or more; learns nothing."""
        ...

    def observe(self, trace: Trace) -> None:
        """Take note of an episode of training."""
        ...

    def step(self) -> None:
        """Learn from what was observed since the last step of training."""
        ...

    def state(self) -> State:
        """Return what was learned, so that training can go on exactly where it stopped."""
        ...

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        ...


class Linear:
    """The bill as a share of what a right answer is worth: ``min(1, C / W)``.

    ``W`` is the request's willingness to pay (`Budget.usd_per_quality`), else `usd_per_quality`;
    without one, or when it is 0, the cost does not count and the share is 0. A bill of which a
    part is unknown (a call that failed after it may have been billed) is a share of 1: unknown
    is not free.

    Parameters
    ----------
    usd_per_quality : float, optional
        Dollars that one right answer is worth, where the request does not say.
    own : bool, default=True
        Whether the calls to the router itself are part of the bill.
    """

    def __init__(self, usd_per_quality: float | None = None, *, own: bool = True) -> None:
        self.usd_per_quality = usd_per_quality
        self.own = own

    def __call__(self, trace: Trace) -> float:
        """Return the share, 0 to 1."""
        said = trace.request.budget.usd_per_quality
        worth = self.usd_per_quality if said is None else said
        if not worth:
            return 0.0
        usd = bill(trace, own=self.own).total
        return 1.0 if usd is None else min(1.0, float(usd) / worth)

    def observe(self, trace: Trace) -> None:
        """Do nothing: the share is the same at any time."""

    def step(self) -> None:
        """Do nothing."""

    def state(self) -> State:
        """Return nothing."""
        return State()

    def restore(self, state: State) -> Self:
        """Return self."""
        return self


class Lagrangian:
    """A multiplier times the bill in units of a target, the multiplier found by dual ascent.

    The policy maximises the outcome under the constraint that the mean bill is at most
    `target_usd`. After every step of training the multiplier moves by `rate` times the relative
    excess of the mean bill over the target, and never below 0.

    Parameters
    ----------
    target_usd : float
        Dollars an episode may cost in the mean.
    rate : float, default=0.05
        Step of the ascent.
    multiplier : float, default=0.0
        Where it starts.
    most : float, default=10.0
        Largest multiplier, and largest bill that is counted, in targets; a bill of which a part
        is unknown counts as the largest.
    own : bool, default=True
        Whether the calls to the router itself are part of the bill.

    Raises
    ------
    ConfigError
        If `target_usd` or `rate` is not above 0, or the multiplier not from 0 to `most`.

    References
    ----------
    Altman, Constrained Markov Decision Processes (1999), chapter 3: the Lagrangian of a budget.
    """

    def __init__(
        self,
        target_usd: float,
        *,
        rate: float = 0.05,
        multiplier: float = 0.0,
        most: float = 10.0,
        own: bool = True,
    ) -> None:
        if not (target_usd > 0 and rate > 0 and 0 <= multiplier <= most):
            raise ConfigError(
                "lagrangian: target_usd and rate must be above 0, and multiplier from 0 to most; "
                f"got {target_usd!r}, {rate!r}, {multiplier!r} of {most!r}"
            )
        self.target_usd = target_usd
        self.rate = rate
        self.multiplier = multiplier
        self.most = most
        self.own = own
        self._seen: list[float] = []

    def __call__(self, trace: Trace) -> float:
        """Return the multiplier times the bill over the target."""
        return self.multiplier * self._targets(trace)

    def observe(self, trace: Trace) -> None:
        """Keep the bill for the next step."""
        self._seen.append(self._targets(trace))

    def step(self) -> None:
        """Move the multiplier by the mean excess of what was observed, and forget it."""
        if self._seen:
            excess = sum(self._seen) / len(self._seen) - 1
            self.multiplier = min(self.most, max(0.0, self.multiplier + self.rate * excess))
            self._seen.clear()

    def state(self) -> State:
        """Return the multiplier, and what was observed since the last step."""
        return State(arrays={"seen": np.array(self._seen)}, values={"multiplier": self.multiplier})

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self.multiplier = float(state.values["multiplier"])
        self._seen = [float(targets) for targets in state.arrays["seen"]]
        return self

    def _targets(self, trace: Trace) -> float:
        usd = bill(trace, own=self.own).total
        return self.most if usd is None else min(self.most, float(usd) / self.target_usd)


class Reference:
    """Where an episode's completion price lies between the cheap and the dear of the last ones.

    The square root of the micro-dollars of the candidates' completion tokens goes into a window
    of the last `window` episodes; the share is its place between the 5th and 95th percentile of
    the window, cut to 0 and 1, and 0.5 while these are equal. The reference's cost *reward* is
    one less this share.

    Kept exactly, with what is wrong with it: prompts, the router and failed calls are free, and
    the same episode has another share tomorrow. Only `observe` changes the window: the reference
    also lets its validation do so.

    Parameters
    ----------
    window : int, default=1000

    References
    ----------
    Router-R1, arXiv:2506.09033, appendix A.1.3; code at revision 801a240, ``normalize_reward``.
    """

    def __init__(self, window: int = 1000) -> None:
        self._roots: deque[float] = deque(maxlen=window)

    def __call__(self, trace: Trace) -> float:
        """Return the share, 0 to 1, by the window as it is."""
        return self.share(completion_micro_usd(trace))

    def observe(self, trace: Trace) -> None:
        """Put the episode into the window."""
        self.add(completion_micro_usd(trace))

    def step(self) -> None:
        """Do nothing: the window moves with every episode."""

    def add(self, micro_usd: float) -> None:
        """Put an episode of this completion price into the window."""
        self._roots.append(float(np.sqrt(micro_usd)))

    def share(self, micro_usd: float) -> float:
        """Return the place of a completion price in the window.

        Examples
        --------
        >>> cost = Reference()
        >>> for price in (0, 25, 100):
        ...     cost.add(price)
        >>> cost.share(25), Reference().share(25)
        (0.5, 0.5)
        """
        if len(self._roots) < 2:
            return _NEUTRAL
        low, high = np.percentile(np.array(self._roots), (5, 95))
        if high - low < 1e-8:
            return _NEUTRAL
        place = (np.sqrt(micro_usd) - low) / (high - low)
        return float(np.clip(place, 0.0, 1.0))

    def state(self) -> State:
        """Return the window."""
        return State(arrays={"roots": np.array(self._roots)})

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._roots.clear()
        self._roots.extend(float(root) for root in state.arrays["roots"])
        return self


def bill(trace: Trace, *, own: bool = True) -> Bill:
    """Return the sum of the prices of an episode, with or without the policy's own calls.

    Parameters
    ----------
    trace : Trace
    own : bool, default=True
        Whether the replies to the policy's own routes (the router's turns) count.
    """
    if own:
        return trace.bill
    prices = [reply.usd for reply in _candidates_replies(trace)]
    known = [usd for usd in prices if usd is not None]
    return Bill(sum(known, Decimal(0)), len(prices) - len(known))


def completion_micro_usd(trace: Trace) -> float:
    """Return the price of the candidates' completion tokens, in millionths of a dollar.

    As the reference counts: every completion token at the card's price of a visible one; nothing
    for prompts, flat prices, the router itself, or a reply without usage. A card whose price is
    unknown is charged as the dearest of the pool.

    Raises
    ------
    ConfigError
        If no card of the pool has a price.
    """
    total = 0.0
    for reply in _candidates_replies(trace):
        if reply.usage is not None and reply.ok:
            total += reply.usage.completion * _output_rate(trace, reply)
    return total


def _output_rate(trace: Trace, reply: Reply) -> float:
    """Return dollars per million completion tokens, which is micro-dollars per token."""
    price = trace.pool.card(reply.model).price
    if price is not None:
        return float(price.output)
    rates = [card.price.output for card in trace.pool if card.price is not None]
    if not rates:
        raise ConfigError("the reference's cost needs prices, and no card of the pool has one")
    return float(max(rates))


def _candidates_replies(trace: Trace) -> list[Reply]:
    return [
        reply
        for step in trace.steps
        if isinstance(step.decision, Route) and not step.decision.own
        for reply in step.replies
    ]
