"""Two at random, and of them the one that will answer sooner."""

import random
from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["LatencyAware"]

_UNKNOWN_S = 1e-6
"""Seconds of an instance that was never measured, or not for long: it is tried."""


class LatencyAware:
    """Draw two instances, and ask the one with the lower latency times running calls.

    The latency is a moving average that takes over every peak at once and forgets it slowly, so
    that an instance that turns slow is left alone after one slow answer, and tried again when its
    average has faded.

    Parameters
    ----------
    seed : int, optional
        Of the draws; different in every process when not given.

    References
    ----------
    The peak EWMA balancer of Twitter's Finagle, over two random choices (Mitzenmacher 2001).

    Examples
    --------
    >>> from polyroute.balance.live import Live
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> facts = [Live("slow"), Live("quick")]
    >>> facts[0].measured(2.0)
    >>> facts[1].measured(0.1)
    >>> LatencyAware().choose(facts, (0, 1), Call("m"), Request.of("?"))
    1
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self._draw = random.Random(seed).random

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the one of two that will answer sooner."""
        n = len(among)
        if n == 1:
            return among[0]
        first = int(self._draw() * n)
        second = int(self._draw() * (n - 1))
        one, other = among[first], among[second + (second >= first)]
        return one if _wait(facts[one]) <= _wait(facts[other]) else other


def _wait(one: Facts) -> float:
    return max(one.latency_s, _UNKNOWN_S) * (one.outstanding + 1) / one.weight
