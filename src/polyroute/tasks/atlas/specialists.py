"""Candidates that know what their card says, and err as often as it says.

The one decision here: a specialist is its card. What it knows and how often it is right are read
from `ModelCard.skills`, so no descriptor can be untrue; and a reply is a function of the world's
seed, the specialist and the query, so that asking twice brings nothing new.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polyroute.decision import Call
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["ADMITS", "ANYTHING", "UNKNOWN", "Fact", "Facts", "Specialists", "quality"]

ANYTHING = "all"
"""The skill of a generalist."""

UNKNOWN = "unknown"
"""What a specialist says that has no answer."""

ADMITS = 0.5
"""Of the answers that a specialist does not get right, the share where it says so."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What there is to know about one query."""

    skill: str
    """What a candidate must know to answer it."""
    answer: str
    others: Sequence[str]
    """Answers of the same kind that are wrong."""


class Facts(Protocol):
    """What is so in a world."""

    def about(self, query: str) -> Fact | None:
        """Return the fact that `query` asks for; `None` if it is not a question of one hop."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Specialists:
    """Answer sub-queries in words, as well as the cards say.

    Parameters
    ----------
    facts : Facts
        The world.
    pool : Pool
        The candidates.
    seed : int
        What decides who errs on which query.
    failing : frozenset of str, default=frozenset()
        Ids that have lost what they knew: they say "unknown" to everything, whatever their card
        says.
    """

    facts: Facts
    pool: Pool
    seed: int
    failing: frozenset[str] = frozenset()

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the answer, a wrong one, or "unknown"; a token is a word."""
        card = self.pool.card(call.model)
        query = call.prompt if call.prompt is not None else trace.request.prompt
        text = self.say(card, query)
        usage = Usage(input=len(query.split()), output=len(text.split()))
        seconds = card.latency_s or 0.0
        return Reply(
            model=call.model, text=text, usage=usage, seconds=seconds, finish_reason="stop"
        )

    def say(self, card: ModelCard, query: str) -> str:
        """Return what the candidate of `card` says to `query`."""
        fact = self.facts.about(query)
        if fact is None or card.id in self.failing:
            return UNKNOWN
        right = quality(card, fact.skill)
        if not right:
            return UNKNOWN
        normal = " ".join(query.split()).casefold()
        draw = random.Random(f"{self.seed}|{card.id}|{normal}")
        if draw.random() < right:
            return fact.answer
        wrong = [other for other in fact.others if other != fact.answer]
        return UNKNOWN if draw.random() < ADMITS or not wrong else draw.choice(wrong)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


def quality(card: ModelCard, skill: str) -> float:
    """Return how often the candidate is right about `skill`, 0 to 1.

    A card without measured skills knows what it is called after, as the tools of the embedded pool.

    Examples
    --------
    >>> quality(ModelCard(id="a", skills={"all": 0.9, "river": 0.5}), "river")
    0.5
    >>> quality(ModelCard(id="calendar"), "calendar"), quality(ModelCard(id="calendar"), "river")
    (1.0, 0.0)
    """
    if not card.skills:
        return float(card.id == skill)
    return card.skills.get(skill, card.skills.get(ANYTHING, 0.0))
