"""Whoever has least to do."""

from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["LeastOutstanding"]


class LeastOutstanding:
    """Ask the instance with the fewest running calls for its weight.

    Among equals they take turns. A choice looks at every instance of the model once; with more
    than a few dozen of them, `power_of_two` looks at two. It sees the calls of its own process
    only.

    Examples
    --------
    >>> from polyroute.balance.live import Live
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> facts = [Live("a", outstanding=2), Live("b", outstanding=1)]
    >>> LeastOutstanding().choose(facts, (0, 1), Call("m"), Request.of("?"))
    1
    """

    def __init__(self) -> None:
        self._turn = -1

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the instance with least to do."""
        self._turn += 1
        first = self._turn % len(among)
        best, least = among[first], float("inf")
        for place in (*among[first:], *among[:first]):
            one = facts[place]
            load = (one.outstanding + 1) / one.weight
            if load < least:
                best, least = place, load
        return best
