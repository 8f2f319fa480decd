"""Every request alike: each card's mean. The baseline that reading the prompt has to beat."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.estimators._columns import check, fitted, observed_means, place
from polyroute.pool import Pool
from polyroute.protocols import FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Mean"]


class Mean:
    """Predict each card's mean over what was observed of it, whatever the request.

    Routing by it is "always the best model of the training set", the constant that LLMRouterBench
    (arXiv:2601.07206) and RouterBench (arXiv:2403.12031) compare every router with.

    Examples
    --------
    >>> from polyroute.pool import ModelCard
    >>> pool = Pool([ModelCard(id="small"), ModelCard(id="large")])
    >>> asked = [Request.of("a"), Request.of("b")]
    >>> mean = Mean().fit(asked, np.array([[0.0, 1.0], [1.0, np.nan]]), pool)
    >>> mean.predict([Request.of("c")], pool)
    array([[0.5, 1. ]])
    """

    method: ClassVar[Method] = Method(when="pre-generation", what=(), how="supervised")

    def __init__(self) -> None:
        self._ids: tuple[str, ...] | None = None
        self._mean_M: FloatArray = np.empty(0)

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Average every column over its observed rows."""
        self._mean_M = observed_means(check(requests, target_NM, pool))
        self._ids = pool.ids
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the same row for every request, shape (N, len(pool))."""
        ids = fitted(self._ids, self)
        return place(np.tile(self._mean_M, (len(requests), 1)), ids, pool)

    def state(self) -> State:
        """Return the cards and their means."""
        return State(
            arrays={"mean_M": self._mean_M}, values={"cards": list(fitted(self._ids, self))}
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._ids = tuple(state.values["cards"])
        self._mean_M = np.asarray(state.arrays["mean_M"])
        return self
