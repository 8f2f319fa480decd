"""What a request would have cost with one model for everything: an estimate, and called one.

The one decision here: tokens are those of the reply that became the answer, priced by another card.
Another model would have written another number of tokens; nobody knows how many.
"""

from dataclasses import dataclass
from decimal import Decimal

from polyroute.gateway.watch.account import Account
from polyroute.pool import ModelCard, Pool
from polyroute.types import Usage

__all__ = ["Rival", "rivals", "tokens_of"]

_TYPICAL = Usage(input=1_000, output=300)
"""What cards are put in order of price by."""

_CHARACTERS = 4
"""Of a token, where nobody counted: about that many in English."""


@dataclass(frozen=True, slots=True)
class Rival:
    """One model for everything."""

    card: ModelCard
    why: str
    """What makes it the best, or the cheapest."""

    def usd(self, usage: Usage) -> Decimal:
        """Return what `usage` would have cost."""
        assert self.card.price is not None, "a rival has a price"
        return self.card.price.cost(usage)


def rivals(pool: Pool) -> tuple[Rival, Rival] | None:
    """Return the best and the cheapest model; `None` when no model has a known price.

    The best is the one with the highest mean of its measured skills, where every priced model has
    some; the dearest otherwise.
    """
    priced = [(c, c.price.cost(_TYPICAL)) for c in pool if c.kind == "model" and c.price]
    if not priced:
        return None
    models = [card for card, _ in priced]
    cheapest = Rival(min(priced, key=lambda item: item[1])[0], "the lowest price")
    if all(card.skills for card in models):
        best = max(models, key=lambda card: sum(card.skills.values()) / len(card.skills))
        return Rival(best, "the highest mean of its skills"), cheapest
    return Rival(max(priced, key=lambda item: item[1])[0], "the highest price"), cheapest


def tokens_of(account: Account) -> Usage | None:
    """Return the tokens of the answer, counted or guessed by length; `None` without an answer."""
    if account.outcome is None or (text := account.outcome.trace.answer) is None:
        return None
    answer = account.answer
    if answer is not None and answer.usage is not None and answer.usage.total:
        return answer.usage
    asked = sum(len(message.text) for message in account.asked.request.messages)
    return Usage(input=asked // _CHARACTERS + 1, output=len(text) // _CHARACTERS + 1)
