"""In turn, the heavier the oftener, and never many times in a row without need."""

from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Facts
from polyroute.types import Request

__all__ = ["Weighted"]


class Weighted:
    """Smooth weighted round robin: each gets its share, spread as evenly as it can be.

    Every instance collects its weight at each choice; the one that holds most is chosen and pays
    what all have collected. A choice looks at every instance of the model once.

    References
    ----------
    The rule of nginx's upstream module (round robin with weights).

    Examples
    --------
    >>> from polyroute.balance.live import Live
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> facts = [Live("a", weight=3), Live("b")]
    >>> turns = Weighted()
    >>> [turns.choose(facts, (0, 1), Call("m"), Request.of("?")) for _ in range(8)]
    [0, 0, 1, 0, 0, 0, 1, 0]
    """

    def __init__(self) -> None:
        self._held: list[float] = []

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the instance that holds most."""
        held = self._held
        if len(held) != len(facts):
            held[:] = [0.0] * len(facts)
        best, total = among[0], 0.0
        for place in among:
            weight = facts[place].weight
            total += weight
            held[place] += weight
            if held[place] > held[best]:
                best = place
        held[best] -= total
        return best
