"""Any candidate, with equal chances: the baseline that shows what choosing is worth."""

import random
from dataclasses import dataclass
from typing import ClassVar

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.pool import CardId
from polyroute.protocols import Method
from polyroute.signals.modality import modalities, takes
from polyroute.trace import Trace

__all__ = ["Random"]

_MOST_TRIES = 8
"""Candidates tried before giving up: refused calls are no rounds, so rounds do not bound them."""


@dataclass(frozen=True, slots=True)
class Random:
    """Send each request to a candidate drawn uniformly; after a failure, draw another.

    The draw depends on ``request.seed`` and nothing else, so a caller who wants different draws
    gives different seeds.

    Parameters
    ----------
    models : tuple of str, optional
        Ids to draw from; all models and agents of the pool when `None` (tools answer questions of
        their own field only, so they are drawn only when named). Candidates that cannot take the
        request's input (an image, say) are left out.
    """

    method: ClassVar[Method] = Method(when="pre-generation", what=(), how="heuristic")

    models: tuple[CardId, ...] | None = None

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call, with the probability of having been drawn.

        Raises
        ------
        UnknownModelError
            If a named model is not in the pool.
        """
        cards = trace.pool.only(self.models) if self.models is not None else trace.pool.answering
        names = [card.id for card in cards if takes(card, trace.request)]
        if not names:
            wanted = ", ".join(sorted(modalities(trace.request)))
            why = f"no candidate to draw from takes this input ({wanted})"
            return Answer(reason=why, failure=Failure("bad_request", why))
        tries = len(trace.steps)
        if tries == min(len(names), _MOST_TRIES) or trace.left.rounds == 0:
            return trace.give_up()
        drawn = random.Random(trace.request.seed).sample(names, len(names))
        return Route(
            calls=(Call(drawn[tries]),),
            final=True,
            reason=f"drawn from {len(names) - tries}" + (f" after {tries} failed" if tries else ""),
            propensity=1 / (len(names) - tries),
        )
