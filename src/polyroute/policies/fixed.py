"""Always the same candidate: the baseline every other policy has to beat."""

from dataclasses import dataclass
from typing import ClassVar

from polyroute.decision import Call, Decision, Route
from polyroute.pool import CardId
from polyroute.protocols import Method
from polyroute.trace import Trace

__all__ = ["Fixed"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Send every request to `model`.

    Parameters
    ----------
    model : str
        An id of the pool.
    """

    method: ClassVar[Method] = Method(when="pre-generation", what=(), how="heuristic")

    model: CardId

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call to `model`; after a failure, give up with its reason."""
        if trace.steps:
            return trace.give_up()
        return Route(calls=(Call(self.model),), final=True, propensity=1.0)
