"""The questions an artifact keeps for measuring a new model, and who did what on them.

The one decision here: a question is kept as a hash of its text. It is enough to find it again in a
table, and an artifact passes nobody's questions on.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.outcomes import normal_question
from polyroute.pool import CardId
from polyroute.protocols import FloatArray, State
from polyroute.train.examples import Examples
from polyroute.train.item_bank import ItemBank

__all__ = ["Items", "key_of"]

_MOST = 1_000
"""Questions kept: with so many the expected mean of a card is known to less than two points."""

_LEAST_CARDS = 3
"""Fewer known cards say nothing about another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items:
    """N calibrated questions, and what the M known cards did on them."""

    keys: tuple[str, ...]
    """Each question, as `key_of` names it."""
    ids: tuple[CardId, ...]
    """The known cards, in column order."""
    bank: ItemBank
    score_NM: FloatArray
    """Scores, 0 to 1; NaN where not observed."""
    log_usd_NM: FloatArray
    """Decimal logarithm of the price of the call in US dollars; NaN where unknown."""

    @classmethod
    def of(cls, examples: Examples, *, most: int = _MOST) -> Self | None:
        """Calibrate questions of `examples`; `None` where fewer than three cards have a score.

        Parameters
        ----------
        examples : Examples
            What the router learned from.
        most : int, default=1000
            Of more questions, those with the smallest keys are taken: as good as at random, and
            the same ones each time.
        """
        scored_M = np.asarray((~np.isnan(examples.quality_NM)).any(axis=0))
        if scored_M.sum() < _LEAST_CARDS:
            return None
        rows = {key_of(request.prompt): n for n, request in enumerate(examples.requests)}
        keys = sorted(rows)[:most]
        taken = [rows[key] for key in keys]
        score_NM = examples.quality_NM[taken]
        known_M = np.asarray((~np.isnan(score_NM)).any(axis=0))
        if known_M.sum() < _LEAST_CARDS:
            return None
        return cls(
            keys=tuple(keys),
            ids=tuple(card.id for card, known in zip(examples.pool, known_M, strict=True) if known),
            bank=ItemBank.fit(score_NM[:, known_M]),
            score_NM=score_NM[:, known_M],
            log_usd_NM=examples.log_usd_NM[taken][:, known_M],
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def level_M(self) -> FloatArray:  # noqa: N802 - shape suffix
        """Mean score of each known card over all N questions; expected, where some are missing."""
        whole_M = ~np.isnan(self.score_NM).any(axis=0)
        level_M = self.bank.level(self.bank.ability_M)
        return np.where(whole_M, np.nan_to_num(self.score_NM).mean(axis=0), level_M)

    @property
    def log_usd_M(self) -> FloatArray:  # noqa: N802 - shape suffix
        """Mean logarithm of what a call of each known card costs; NaN where unknown."""
        seen_NM = ~np.isnan(self.log_usd_NM)
        total_M = np.where(seen_NM, self.log_usd_NM, 0.0).sum(axis=0)
        return np.where(seen_NM.any(axis=0), total_M / np.maximum(seen_NM.sum(axis=0), 1), np.nan)

    def without(self, id: CardId) -> "Items":
        """Return what there would be if the card `id` had never been seen, calibrated anew."""
        keep = [m for m, other in enumerate(self.ids) if other != id]
        return Items(
            keys=self.keys,
            ids=tuple(self.ids[m] for m in keep),
            bank=ItemBank.fit(self.score_NM[:, keep]),
            score_NM=self.score_NM[:, keep],
            log_usd_NM=self.log_usd_NM[:, keep],
        )

    def state(self) -> State:
        """Return all of it as arrays and plain values."""
        arrays = {
            "slope_N": self.bank.slope_N,
            "ease_N": self.bank.ease_N,
            "ability_M": self.bank.ability_M,
            "score_NM": self.score_NM,
            "log_usd_NM": self.log_usd_NM,
        }
        return State(arrays=arrays, values={"keys": list(self.keys), "ids": list(self.ids)})

    @classmethod
    def restored(cls, state: State) -> Self:
        """Return what `state` described.

        Raises
        ------
        ConfigError
            If its parts do not fit together.
        """
        arrays, keys, ids = state.arrays, state.values["keys"], state.values["ids"]
        shape = (len(keys), len(ids))
        bank = ItemBank(arrays["slope_N"], arrays["ease_N"], arrays["ability_M"])
        found = cls(
            keys=tuple(keys),
            ids=tuple(ids),
            bank=bank,
            score_NM=arrays["score_NM"],
            log_usd_NM=arrays["log_usd_NM"],
        )
        sizes = (bank.slope_N.shape, bank.ease_N.shape, bank.ability_M.shape)
        wanted = (shape[:1], shape[:1], shape[1:])
        if sizes != wanted or not found.score_NM.shape == found.log_usd_NM.shape == shape:
            raise ConfigError(f"{shape[0]} questions and {shape[1]} cards do not fit the arrays")
        return found


def key_of(prompt: str) -> str:
    """Return the key of a question: the same for the same words in other case and white space."""
    text = normal_question(prompt).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]
