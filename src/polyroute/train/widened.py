"""An estimator that also speaks of cards that were added after training.

The one decision here: a new card gets the shape of the known ones. What is easy for them on a
request is easy for it; only how good it is, or how dear, is its own, as one number. Nothing that
was learned of a known card changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from polyroute.errors import ConfigError
from polyroute.pool import CardId, Pool
from polyroute.protocols import Estimator, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Widened"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Widened:
    """A fitted estimator, and cards that it was not fitted on."""

    method: ClassVar[Method] = Method(
        when="pre-generation", what=("query", "model metadata"), how="supervised"
    )

    inner: Estimator
    known: Pool
    """The cards whose levels are known: the shape is theirs."""
    level_M: FloatArray
    """Their levels: mean scores, or mean logarithms of prices."""
    added: Mapping[CardId, float]
    """Level of each new card."""
    of_added: Callable[[FloatArray, FloatArray, float], FloatArray]
    """From predictions of the known cards (N, M), their levels and that of a new card to what is
    expected of it, shape (N,): see `polyroute.train.onboard`."""

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the prediction for every card of `pool`, the added ones included."""
        if not any(card.id in self.added for card in pool):
            return self.inner.predict(requests, pool)
        # the known cards give the shape, also where a request leaves some of them out
        more = [card for card in pool if card.id not in self.known.ids]
        wide = Pool([*self.known, *more])
        predicted_NM = self.inner.predict(requests, wide).copy()
        known_NM = predicted_NM[:, : len(self.known)].copy()
        for card in more:
            if card.id in self.added:
                column = self.of_added(known_NM, self.level_M, self.added[card.id])
                predicted_NM[:, wide.index_of(card.id)] = column
        return predicted_NM[:, [wide.index_of(card.id) for card in pool]]

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Refuse: what was added would be lost.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError("a router with added cards is not fitted again; train on a new table")

    def state(self) -> State:
        """Return what the estimator inside learned."""
        return self.inner.state()

    def restore(self, state: State) -> Self:
        """Give the estimator inside what it learned, and return self."""
        self.inner.restore(state)
        return self
