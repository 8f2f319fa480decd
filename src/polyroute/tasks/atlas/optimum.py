"""The best that can be done with the cards as they are: what a learned policy is measured by.

The one decision here: the optimum is over policies that believe the first answer they get. It
asks, for one hop after the other, one candidate at a time, goes to the next when one does not know,
and may give up at any point; of all these it has the highest expected reward, by exhaustion.
"""

from dataclasses import dataclass

from polyroute.errors import ConfigError
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
        return self._best(self._state(now, rounds))[1]

    def at(self, now: Progress, rounds: int) -> float:
        """Return the reward to expect of an episode that has come to `now`, with `rounds` left."""
        return self._best(self._state(now, rounds))[0]

    def after(self, id: str, now: Progress, rounds: int) -> float:
        """Return the reward to expect when `id` is asked next, and the best is done from there on.

        Parameters
        ----------
        id : str
            A candidate that knows what is to be asked, and has not been asked it yet.
        now : Progress
            With something left to ask.
        rounds : int
            Rounds left, this one included.

        Raises
        ------
        ConfigError
            If it cannot know, has been asked, or nothing is left to ask.
        """
        state = self._state(now, rounds)
        option = None if now.ask is None or id in state[1] else self._options[state[0]].get(id)
        if option is None or not option.replies:
            raise ConfigError(f"{id!r} cannot be asked now: it does not know, or was asked before")
        return self._asking(id, state)

    def sure(self, now: Progress) -> float:
        """Return how likely all that was said so far is right."""
        right = 1.0
        for options, said_by in zip(self._options, now.said_by, strict=False):
            right *= options[said_by].right
        return right

    def _state(self, now: Progress, rounds: int) -> _State:
        tried = frozenset(() if now.ask is None else now.ask.tried)
        return len(now.answers), tried, now.usd, self.sure(now), rounds

    def _best(self, state: _State) -> tuple[float, str | None]:
        if state not in self._values:
            self._values[state] = self._search(state)
        return self._values[state]

    def _search(self, state: _State) -> tuple[float, str | None]:
        hop, tried, spent, right, rounds = state
        if hop == len(self.problem.hops):
            return right - self.cost(spent), None
        best: tuple[float, str | None] = (-self.cost(spent), None)
        if rounds == 0:
            return best
        for id, option in self._options[hop].items():
            if id in tried or not option.replies:
                continue
            value = self._asking(id, state)
            if value > best[0] + 1e-12:
                best = (value, id)
        return best

    def _asking(self, id: str, state: _State) -> float:
        hop, tried, spent, right, rounds = state
        option = self._options[hop][id]
        paid = round(spent + option.usd, 12)  # so that ways of one price are one state
        sure = round(right * option.right, 12)
        value = option.replies * self._best((hop + 1, frozenset(), paid, sure, rounds - 1))[0]
        if option.replies < 1:
            unknown = (hop, tried | {id}, paid, right, rounds - 1)
            value += (1 - option.replies) * self._best(unknown)[0]
        return value

    def cost(self, usd: float) -> float:
        """Return what a bill of `usd` US dollars takes from the reward, from 0 to the weight."""
        worth = self.problem.request.budget.usd_per_quality
        if worth is None or usd == 0:
            return 0.0
        return self.weight * (1.0 if worth == 0 else min(1.0, usd / worth))


def _option(card: ModelCard, skill: str, usage: Usage) -> _Option:
    right = quality(card, skill)
    replies = right + (1 - right) * (1 - ADMITS) if right else 0.0
    usd = 0.0 if card.price is None else float(card.price.cost(usage))
    return _Option(usd, replies, right / replies if replies else 0.0)
