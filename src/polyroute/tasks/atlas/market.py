"""Who can be asked in an episode, at what price: drawn anew for every question.

The one decision here: a name says nothing. Whether "Birk" is the specialist, the dear generalist or
the cheap one that is often wrong is drawn with the episode, so only the card tells.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, TypeAlias

from polyroute.pool import ModelCard, Pool, Price
from polyroute.tasks.atlas.specialists import ANYTHING

__all__ = ["Market", "Variant", "failing", "vary"]

Variant: TypeAlias = Literal[
    "plain",
    "unseen_entities",  # questions about what training never speaks of
    "unseen_relation",  # a relation, or a pair of them, that training never asks for
    "unseen_specialists",  # names that no specialist has in training
    "swapped_descriptors",  # the same names, each with the card of another
    "changed_prices",  # what was cheap is dear
    "failing_specialist",  # the specialist of the first hop no longer knows anything
]
"""How the world differs from the one of training."""

_MILLIONTH = Decimal("0.000001")
_COVERED = 0.85
"""How likely a skill that the question needs has a specialist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What the candidates of an episode may be like. Prices are millionths of a dollar a call."""

    skills: Sequence[str]
    """What specialists may know."""
    specialists: int
    """How many there are, at least."""
    breadth: Sequence[int] = (1,)
    """Of how many skills a specialist may be."""
    prices: Sequence[int]
    """Of specialists."""
    percents: Sequence[int]
    """How often, in a hundred, specialists are right."""
    dear_prices: Sequence[int]
    """Of the generalist that is nearly always right."""
    dear_percent: int = 95
    cheap_price: int = 1
    """Of the generalist that is often wrong."""
    cheap_percents: Sequence[int] = (40, 50, 60)
    latencies_s: Sequence[float] = ()
    """Of all; none when empty."""
    upset: float = 0.0
    """How likely the prices of all candidates are dealt out among them at random."""

    def draw(self, draw: random.Random, names: Sequence[str], needed: Sequence[str]) -> Pool:
        """Draw a dear generalist, a cheap unreliable one, and specialists.

        Parameters
        ----------
        draw : random.Random
            The episode's.
        names : sequence of str
            What candidates may be called.
        needed : sequence of str
            Skills that the question needs; most of them find a specialist.
        """
        known = [[skill] for skill in dict.fromkeys(needed) if draw.random() < _COVERED]
        while len(known) < self.specialists:
            known.append([draw.choice(self.skills)])
        for skills in known:
            broad = draw.choice(self.breadth) if len(self.breadth) > 1 else 1
            skills += draw.sample([s for s in self.skills if s not in skills], broad - 1)
        called = iter(draw.sample(names, len(known) + 2))
        cards = [
            self._card(draw, next(called), skills, draw.choice(self.prices), self.percents)
            for skills in known
        ]
        dear = draw.choice(self.dear_prices)
        cards.append(self._card(draw, next(called), [ANYTHING], dear, (self.dear_percent,)))
        cheap = self.cheap_percents
        cards.append(self._card(draw, next(called), [ANYTHING], self.cheap_price, cheap))
        draw.shuffle(cards)
        if draw.random() < self.upset:
            prices = draw.sample([card.price for card in cards], len(cards))
            cards = [replace(c, price=price) for c, price in zip(cards, prices, strict=True)]
        return Pool(cards)

    def _card(
        self,
        draw: random.Random,
        name: str,
        skills: Sequence[str],
        millionths: int,
        percents: Sequence[int],
    ) -> ModelCard:
        percent = draw.choice(percents)
        field = "anything" if ANYTHING in skills else " and ".join(skills)
        return ModelCard(
            id=name,
            kind="model" if ANYTHING in skills else "tool",
            description=f"Knows {field}: right {percent} times in a hundred.",
            price=Price(call=millionths * _MILLIONTH),
            skills=dict.fromkeys(skills, percent / 100),
            latency_s=draw.choice(self.latencies_s) if self.latencies_s else None,
        )


def vary(pool: Pool, variant: Variant) -> Pool:
    """Return the pool as it is in `variant`; the cards stay true.

    With ``swapped_descriptors`` each name has what another had; with ``changed_prices`` the prices
    are mirrored, so that the dearest is the cheapest.
    """
    if variant == "swapped_descriptors":
        others = [*pool[1:], pool[0]]
        return Pool(replace(other, id=card.id) for card, other in zip(pool, others, strict=True))
    if variant == "changed_prices":
        bounds = min(map(_call, pool)) + max(map(_call, pool))
        return Pool(replace(card, price=Price(call=bounds - _call(card))) for card in pool)
    return pool


def failing(pool: Pool, skill: str) -> frozenset[str]:
    """Return who fails: the cheapest specialist of `skill`; the dearest generalist without one.

    Nobody, where there is neither.
    """
    knowing = sorted((card for card in pool if skill in card.skills), key=_call)
    generalists = sorted((card for card in pool if ANYTHING in card.skills), key=_call)
    return frozenset(card.id for card in knowing[:1] or generalists[-1:])


def _call(card: ModelCard) -> Decimal:
    return Decimal(0) if card.price is None else card.price.call
