"""One after the other."""

from bisect import bisect_right
from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["RoundRobin"]


class RoundRobin:
    """Ask the instances in turn, whatever their weights.

    Examples
    --------
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> turns = RoundRobin()
    >>> [turns.choose((), (0, 1, 2), Call("m"), Request.of("?")) for _ in range(4)]
    [0, 1, 2, 0]
    """

    def __init__(self) -> None:
        self._last = -1

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the next place after the one that was chosen last."""
        place = bisect_right(among, self._last)
        self._last = among[place if place < len(among) else 0]
        return self._last
