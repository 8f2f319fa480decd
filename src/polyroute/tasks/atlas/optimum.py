"""The best that can be done with the cards as they are: what a learned policy is measured by.

The one decision here: the optimum is over policies that believe the first answer they get. It
asks, for one hop after the other, one candidate at a time, goes to the next when one does not know,
and may give up at any point; of all these it has the highest expected reward, by exhaustion.
"""

from dataclasses import dataclass

from polyroute.pool import ModelCard
from polyroute.tasks.atlas.progress import Progress
from polyroute.tasks.atlas.specialists import ADMITS, quality
from polyroute.tasks.problem import Problem
from polyroute.types import Usage

__all__ = ["Optimum"]


@dataclass(frozen=True, slots=True)
class _Option:
    """A candidate for one hop."""

    usd: float
    replies: float
    """How likely it answers at all."""
    right: float
    """How likely its answer, once given, is right."""


_State = tuple[int, frozenset[str], float, float, int]
"""Hop, who has been tried for it, dollars spent, how likely all is right so far, rounds left."""


class Optimum:
    """Whom to ask next, for the highest expected reward.

    Parameters
    ----------
    problem : Problem
        With its hops.
    weight : float, default=1.0
        Weight of the cost in the reward: an episode is worth its outcome (0 or 1) less
        ``weight * min(1, C / W)``, C being its bill and W what a right answer is worth to the
        request. Without a W, cost does not count.
    call_usage : Usage, default=Usage(20, 10)
        The tokens of one call, for candidates that charge by the token.
    """

    def __init__(
        self, problem: Problem, weight: float = 1.0, *, call_usage: Usage | None = None
    ) -> None:
        self.problem = problem
        self.weight = weight
        usage = call_usage or Usage(20, 10)
        self._options = [
            {card.id: _option(card, hop.skill, usage) for card in problem.pool}
            for hop in problem.hops
        ]
        self._values: dict[_State, tuple[float, str | None]] = {}

    @property
    def value(self) -> float:
        """The expected reward from the start."""
        return self._best((0, frozenset(), 0.0, 1.0, self.problem.request.budget.rounds))[0]

    def choose(self, now: Progress, rounds: int) -> str | None:
        """Return whom to ask next, with `rounds` left; `None` to give up, or after the last hop."""
        right = 1.0
        for options, said_by in zip(self._options, now.said_by, strict=False):
            right *= options[said_by].right
        tried = frozenset(() if now.ask is None else now.ask.tried)
        return self._best((len(now.answers), tried, now.usd, right, rounds))[1]

    def _best(self, state: _State) -> tuple[float, str | None]:
        if state not in self._values:
            self._values[state] = self._search(state)
        return self._values[state]

    def _search(self, state: _State) -> tuple[float, str | None]:
        hop, tried, spent, right, rounds = state
        if hop == len(self.problem.hops):
            return right - self._cost(spent), None
        best: tuple[float, str | None] = (-self._cost(spent), None)
        if rounds == 0:
            return best
        for id, option in self._options[hop].items():
            if id in tried or not option.replies:
                continue
            paid = round(spent + option.usd, 12)  # so that ways of one price are one state
            sure = round(right * option.right, 12)
            known = (hop + 1, frozenset[str](), paid, sure, rounds - 1)
            value = option.replies * self._best(known)[0]
            if option.replies < 1:
                unknown = (hop, tried | {id}, paid, right, rounds - 1)
                value += (1 - option.replies) * self._best(unknown)[0]
            if value > best[0] + 1e-12:
                best = (value, id)
        return best

    def _cost(self, usd: float) -> float:
        worth = self.problem.request.budget.usd_per_quality
        if worth is None or usd == 0:
            return 0.0
        return self.weight * (1.0 if worth == 0 else min(1.0, usd / worth))


def _option(card: ModelCard, skill: str, usage: Usage) -> _Option:
    right = quality(card, skill)
    replies = right + (1 - right) * (1 - ADMITS) if right else 0.0
    usd = 0.0 if card.price is None else float(card.price.cost(usage))
    return _Option(usd, replies, right / replies if replies else 0.0)
