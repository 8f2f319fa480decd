"""Whoever is in one's own region, as long as somebody fit is."""

import os
from collections.abc import Sequence

from polyroute.decision import Call
from polyroute.protocols import Balancer, Facts
from polyroute.types import Request

__all__ = ["Nearby"]

_HERE = "POLYROUTE_REGION"


class Nearby:
    """Ask the instances of this region; those of others when none of them may be asked.

    Parameters
    ----------
    region : str, optional
        Where this process is; what the environment variable ``POLYROUTE_REGION`` says when not
        given, so that one configuration serves everywhere. Without either all are alike.
    then : Balancer, optional
        Chooses among those that are left; they take turns when not given.

    Examples
    --------
    >>> from polyroute.balance.live import Live
    >>> from polyroute.decision import Call
    >>> from polyroute.types import Request
    >>> facts = [Live("a", region="us"), Live("b", region="eu"), Live("c", region="eu")]
    >>> near = Nearby(region="eu")
    >>> [near.choose(facts, (0, 1, 2), Call("m"), Request.of("?")) for _ in range(3)]
    [1, 2, 1]
    >>> near.choose(facts, (0,), Call("m"), Request.of("?"))
    0
    """

    def __init__(self, *, region: str | None = None, then: Balancer | None = None) -> None:
        self._region = os.environ.get(_HERE, "").strip() if region is None else region
        self._then = then
        self._turn = -1

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of an instance of this region, else of any."""
        if self._region:
            among = [place for place in among if facts[place].region == self._region] or among
        if self._then is not None:
            return self._then.choose(facts, among, call, request)
        self._turn += 1
        return among[self._turn % len(among)]
