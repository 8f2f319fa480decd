"""Problems out of a list of questions: which, in what order, with what budget."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from polyroute.outcomes import Question
from polyroute.pool import Pool
from polyroute.protocols import Backend
from polyroute.tasks.problem import Hop, Problem
from polyroute.types import Budget, Message, Request

__all__ = ["Draw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How problems are made of questions.

    Notes
    -----
    The order of a draw depends on the seed alone, so a longer draw begins with a shorter one.
    """

    pool: Pool
    backend: Backend
    metric: str = "exact_match"
    budget: Budget = field(default_factory=Budget)
    worth: tuple[float, ...] = ()
    """What a right answer may be worth (`Budget.usd_per_quality`), in millionths of a US dollar,
    equally likely; the budget's own when there is none."""

    def problems(self, questions: Sequence[Question], n: int, seed: int) -> list[Problem]:
        """Return the first `n` of `questions` in the order of `seed`; all when there are fewer."""
        order = list(range(len(questions)))
        random.Random(seed).shuffle(order)
        return [self._problem(questions[place], seed) for place in order[:n]]

    def _problem(self, question: Question, seed: int) -> Problem:
        draw = random.Random(f"{question.query_id}|{seed}")
        budget = self.budget
        if self.worth:
            budget = replace(budget, usd_per_quality=draw.choice(self.worth) / 1_000_000)
        kind = question.task or question.dataset
        request = Request(
            id=question.query_id,
            messages=(Message("user", question.prompt),),
            budget=budget,
            seed=draw.getrandbits(31),
        )
        return Problem(
            request=request,
            pool=self.pool,
            backend=self.backend,
            golds=question.gold,
            metric=question.metric or self.metric,
            kind=kind,
            hops=_asked_once(question, kind),
        )


def _asked_once(question: Question, skill: str) -> tuple[Hop, ...]:
    """Return the question as its own only hop, so that a teacher can show how it is asked."""
    if not question.gold:
        return ()
    query = question.prompt.replace("{", "{{").replace("}", "}}")
    return (Hop(query=query, skill=skill, answer=question.gold[0]),)
