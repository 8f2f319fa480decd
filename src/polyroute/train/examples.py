"""What a router learns from: requests, and what every card did on them, as matrices.

The one decision here: what was not observed is NaN, and a price that nobody recorded is not zero.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, side_of
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import FloatArray
from polyroute.types import Message, Request

__all__ = ["Examples"]

_LEAST_USD = 1e-9
"""A free call is this in the logarithm of prices, in US dollars."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Recorded outcomes, ready to learn from or to be judged by."""

    requests: tuple[Request, ...]
    """N questions that somebody answered."""
    quality_NM: FloatArray
    """Score from 0 to 1, the mean over samples; NaN where nobody judged."""
    usd_NM: FloatArray
    """US dollars of the call; NaN where unknown."""
    pool: Pool
    """The M cards, in column order."""
    kinds: tuple[str, ...] = ()
    """Data set and task of each question, where the table has any; for estimators that are told."""

    @classmethod
    def of(
        cls,
        table: OutcomeTable,
        *,
        splits: Sequence[str] = (),
        pool: Pool | None = None,
    ) -> Self:
        """Return the examples in a table.

        Parameters
        ----------
        table : OutcomeTable
        splits : sequence of str, optional
            Splits to take; all when empty.
        pool : Pool, optional
            The cards, with their prices; a model of the table is the card that has its name as id
            or alias. Models without a card are left out, and so are cards without an outcome.
            Without a pool, each model of the table is a card of unknown price.

        Raises
        ------
        ConfigError
            If there is no such split, or no question that a card of the pool has answered.
        """
        there = sorted({question.split for question in table.queries})
        for split in splits:
            if split not in there:
                known = ", ".join(map(repr, there))
                raise ConfigError(f"the table has no split {split!r}, only {known}")
        cards, columns = _cards(table, pool)
        quality_NM, usd_NM = table.scores_NM()[:, columns], table.costs_NM()[:, columns]
        answered_N = np.asarray((~np.isnan(quality_NM)).any(axis=1))
        taken = [
            n
            for n, question in enumerate(table.queries)
            if answered_N[n] and (not splits or question.split in splits)
        ]
        if not taken:
            raise ConfigError("no question has a score; there is nothing to learn from")
        questions = [table.queries[n] for n in taken]
        return cls(
            requests=tuple(
                Request(id=question.query_id, messages=(Message("user", question.prompt),))
                for question in questions
            ),
            quality_NM=quality_NM[taken],
            usd_NM=usd_NM[taken],
            pool=Pool(cards),
            kinds=tuple(f"{question.dataset}/{question.task}" for question in questions),
        )

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def log_usd_NM(self) -> FloatArray:  # noqa: N802 - shape suffix
        """Decimal logarithm of the prices: what a cost estimator learns."""
        return np.log10(np.maximum(self.usd_NM, _LEAST_USD))

    @property
    def digest(self) -> str:
        """SHA-256 over questions, scores and prices: the hash of training data."""
        found = hashlib.sha256()
        for request in self.requests:
            found.update(f"{request.id}\x00{request.prompt}\x00".encode("utf-8", "surrogatepass"))
        found.update("\x00".join(self.pool.ids).encode("utf-8", "surrogatepass"))
        for matrix in (self.quality_NM, self.usd_NM):
            found.update(np.ascontiguousarray(matrix, "<f8").tobytes())
        return found.hexdigest()

    def rows(self, index: NDArray[Any]) -> "Examples":
        """Return the questions of a boolean mask, or an array of numbers."""
        chosen = np.arange(len(self))[index]
        return Examples(
            requests=tuple(self.requests[n] for n in chosen),
            quality_NM=self.quality_NM[chosen],
            usd_NM=self.usd_NM[chosen],
            pool=self.pool,
            kinds=tuple(self.kinds[n] for n in chosen) if self.kinds else (),
        )

    def only(self, ids: Sequence[str]) -> "Examples":
        """Return the examples of the named cards, in pool order.

        Raises
        ------
        UnknownModelError
            If a name is not in the pool.
        """
        pool = self.pool.only(ids)
        columns = [self.pool.index_of(card.id) for card in pool]
        return Examples(
            requests=self.requests,
            quality_NM=self.quality_NM[:, columns],
            usd_NM=self.usd_NM[:, columns],
            pool=pool,
            kinds=self.kinds,
        )

    def held_out(self, share: float, *, seed: int = 0) -> tuple["Examples", "Examples"]:
        """Return the examples to fit on, and about `share` of them to choose by.

        The side of a question depends on its text and the seed only, so the same question in
        other words of case and space is on the same side.

        Raises
        ------
        ConfigError
            If there are too few questions to divide.
        """
        sides = {"fit": 1 - share, "held": share}
        held_N = np.array(
            [side_of(request.prompt, sides, seed=seed) == "held" for request in self.requests]
        )
        if held_N.all() or not held_N.any():
            raise ConfigError(f"{len(self)} questions are too few to hold {share:.0%} of them out")
        return self.rows(~held_N), self.rows(held_N)


def _cards(table: OutcomeTable, pool: Pool | None) -> tuple[list[ModelCard], list[int]]:
    """Return the cards that the table knows, and the column of each."""
    if pool is None:
        return [ModelCard(id=name) for name in table.models], list(range(len(table.models)))
    cards, columns = [], []
    for card in pool:
        names = [name for name in (card.id, *card.aliases) if name in table.models]
        if names:
            cards.append(card)
            columns.append(table.models.index(names[0]))
    if not cards:
        raise ConfigError(
            f"the table knows none of the cards {', '.join(pool.ids)}; it has "
            f"{', '.join(table.models)}. Give a card the table's name as an alias"
        )
    return cards, columns
