"""A card that joined a trained router, and the router that knows it.

The one decision here: the policy says whether it can take a card in. One that chooses among all
cards by what is expected of them can; one whose knob or guarantee was set for the cards it was
trained on cannot, and is trained again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from polyroute.errors import ConfigError
from polyroute.pool import CardId, ModelCard, Pool
from polyroute.protocols import Estimator, Policy
from polyroute.train.item_bank import Belief
from polyroute.train.items import Items
from polyroute.train.onboard import Expectation, cost_of_new_card, quality_of_new_card
from polyroute.train.widened import Widened
from polyroute.types import JsonObject

__all__ = ["Added", "grown"]


@runtime_checkable
class _Grows(Protocol):
    """A policy that can take further cards in: it has ``quality``, perhaps ``cost``."""

    quality: Estimator

    def grown(
        self, ids: Sequence[CardId], *, quality: Estimator, cost: Estimator | None
    ) -> Policy: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A card that was not trained on, and what is expected of it."""

    card: ModelCard
    expected: Expectation
    log_usd: float | None
    """Mean decimal logarithm of the price of a call in US dollars; `None`: the card says."""
    report: JsonObject
    """How it was measured, and how wrong such predictions are."""

    def to_json(self) -> JsonObject:
        """Return it as a manifest has it."""
        expected = self.expected
        return {
            "card": self.card.to_json(),
            "expected": {
                "level": expected.level,
                "low": expected.low,
                "high": expected.high,
                "ability": {"mean": expected.ability.mean, "sd": expected.ability.sd},
                "probes": expected.probes,
            },
            "log_usd": self.log_usd,
            "report": self.report,
        }

    @classmethod
    def from_json(cls, wire: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Raises
        ------
        ConfigError
            If a number is none, or out of its range.
        """
        said, log_usd = wire["expected"], wire["log_usd"]
        ability = Belief(float(said["ability"]["mean"]), float(said["ability"]["sd"]))
        numbers = [float(said[name]) for name in ("level", "low", "high")]
        if not all(0 <= number <= 1 for number in numbers):
            raise ConfigError(f"expected scores lie between 0 and 1, got {numbers}")
        if log_usd is not None and not math.isfinite(log_usd):
            raise ConfigError(f"log_usd must be a number, got {log_usd!r}")
        return cls(
            card=ModelCard.from_json(wire["card"]),
            expected=Expectation(
                ability=ability,
                level=numbers[0],
                low=numbers[1],
                high=numbers[2],
                probes=int(said["probes"]),
            ),
            log_usd=log_usd,
            report=wire["report"],
        )


def grown(policy: Policy, pool: Pool, items: Items, added: Sequence[Added]) -> Policy:
    """Return `policy` with the cards of `added` to choose from.

    Parameters
    ----------
    policy : Policy
        As it was trained.
    pool : Pool
        The cards that it was trained on.
    items : Items
        Their levels.
    added : sequence of Added

    Raises
    ------
    ConfigError
        If the policy takes no further cards.
    """
    if not isinstance(policy, _Grows):
        raise ConfigError(
            f"{type(policy).__name__} takes no cards after training: what it learned holds for the "
            "cards it was trained on; collect outcomes of the new one and train again"
        )
    known = pool.only(items.ids)
    columns = [items.ids.index(card.id) for card in known]
    quality = Widened(
        inner=policy.quality,
        known=known,
        level_M=items.level_M[columns],
        added={one.card.id: one.expected.level for one in added},
        of_added=quality_of_new_card,
    )
    cost: Estimator | None = getattr(policy, "cost", None)
    prices = {one.card.id: one.log_usd for one in added if one.log_usd is not None}
    if cost is not None and prices:
        cost = Widened(
            inner=cost,
            known=known,
            level_M=items.log_usd_M[columns],
            added=prices,
            of_added=cost_of_new_card,
        )
    return policy.grown([one.card.id for one in added], quality=quality, cost=cost)
