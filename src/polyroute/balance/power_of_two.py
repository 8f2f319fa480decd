"""Two at random, and of them the one with less to do."""

import random
from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["PowerOfTwo"]


class PowerOfTwo:
    """Draw two different instances, and ask the one with fewer running calls for its weight.

    Nearly as even as looking at all, at the price of looking at two; and unlike that, many
    processes that do so at once do not all run to the same instance.

    Parameters
    ----------
    seed : int, optional
        Of the draws; different in every process when not given.

    References
    ----------
    Mitzenmacher, *The power of two choices in randomized load balancing*, IEEE Transactions on
    Parallel and Distributed Systems 12(10), 2001.

    Examples
    --------
    >>> from polyroute.balance.live import Live
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> facts = [Live("a", outstanding=7), Live("b", outstanding=1)]
    >>> PowerOfTwo().choose(facts, (0, 1), Call("m"), Request.of("?"))
    1
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self._draw = random.Random(seed).random

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the less busy of two."""
        n = len(among)
        if n == 1:
            return among[0]
        first = int(self._draw() * n)
        second = int(self._draw() * (n - 1))
        one, other = among[first], among[second + (second >= first)]
        return one if _load(facts[one]) <= _load(facts[other]) else other


def _load(one: Facts) -> float:
    return (one.outstanding + 1) / one.weight
