"""Matrix factorisation: a card is a vector, a question is another, quality is how they agree.

The one decision here: the question's vector is a projection of its text, so the factorisation
answers for questions it never saw, and the rank is what the cards have to share.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import (
    Parameters,
    Projection,
    Span,
    minimise,
    sigmoid,
    softplus,
)
from polyroute.estimators._text import Lines
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Factorization"]


class Factorization:
    """Chance of a right answer = sigmoid(card . (W text) + bias of the card), rank K.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    rank : int, default=16
        Length of a card's vector, K.
    penalty : float, default=0.001
        Weight of the squared vectors and projection, per observation.
    dims : int, default=128
        Dimensions of the question space.
    steps : int, default=300
        Most iterations of L-BFGS.
    seed : int, default=0
        Of the start.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    The paper has two cards and learns from preferences, P(strong wins) = sigmoid(s(strong) -
    s(weak)) with a bilinear score s. Here there are M cards and the score itself is fitted to the
    outcomes by cross-entropy, as EmbedLLM does, so that missing outcomes need no pairs. With one
    card and no penalty it is logistic regression.

    References
    ----------
    RouteLLM (Ong et al., arXiv:2406.18665), section 4.2, "Matrix factorization"; EmbedLLM (Zhuang
    et al., arXiv:2410.02223).
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="RouteLLM, Ong et al., arXiv:2406.18665",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        rank: int = 16,
        penalty: float = 0.001,
        dims: int = 128,
        steps: int = 300,
        seed: int = 0,
    ) -> None:
        if rank < 1 or steps < 1:
            raise ConfigError(f"rank and steps must be 1 or more, got {rank!r} and {steps!r}")
        if penalty < 0:
            raise ConfigError(f"penalty must be 0 or more, got {penalty!r}")
        self._projection = Projection(encoder, dims, seed)
        self._rank = rank
        self._penalty = penalty
        self._steps = steps
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._span = Span(0.0, 1.0)
        self._learned: dict[str, FloatArray] = {}
        self._lines: Lines | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Find the vectors of the cards and the projection of the texts; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        rows_ND = self._projection.fit(requests)
        self._span = Span.of(target_NM)
        observed_NM = ~np.isnan(target_NM[:, seen_M])
        truth_NM = np.nan_to_num(self._span.unit(target_NM[:, seen_M]))
        count_M = observed_NM.sum(axis=0)
        rate_M = np.clip((truth_NM.sum(axis=0) + 0.5) / (count_M + 1), 0.01, 0.99)
        rng = np.random.default_rng(self._seed)
        start = {
            "card": 0.3 * rng.standard_normal((len(seen_M), self._rank)),
            "text": 0.3 * rng.standard_normal((rows_ND.shape[1], self._rank)),
            "bias": np.log(rate_M / (1 - rate_M)),
        }
        ridge = self._penalty * float(count_M.sum())

        def objective(p: Parameters) -> tuple[float, Parameters]:
            return _loss(p, rows_ND, truth_NM, observed_NM, ridge)

        self._learned = minimise(objective, start, steps=self._steps)
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        self._lines = self._served()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        chance_NM = sigmoid(fitted(self._lines, self)(requests))
        return place(self._span.target(chance_NM), ids, pool)

    def state(self) -> State:
        """Return the vectors, the projection and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={**nested("projection", projection), **self._learned},
            values={
                "projection": dict(projection.values),
                "ids": list(ids),
                "span": [self._span.low, self._span.high],
            },
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._learned = {name: state.arrays[name] for name in ("card", "text", "bias")}
        self._span = Span(*state.values["span"])
        self._ids = tuple(state.values["ids"])
        self._lines = self._served()
        return self

    def _served(self) -> Lines:
        """Return the log-odds of the cards."""
        p = self._learned
        return self._projection.lines(p["text"] @ p["card"].T, p["bias"])


def _loss(
    p: Parameters,
    rows_ND: FloatArray,
    truth_NM: FloatArray,
    observed_NM: FloatArray,
    ridge: float,
) -> tuple[float, Parameters]:
    """Return the penalised cross-entropy and its gradient."""
    text_NK = rows_ND @ p["text"]
    logit_NM = text_NK @ p["card"].T + p["bias"]
    error_NM = observed_NM * (sigmoid(logit_NM) - truth_NM)
    value = np.sum(observed_NM * (softplus(logit_NM) - truth_NM * logit_NM))
    value += 0.5 * ridge * (np.sum(p["card"] ** 2) + np.sum(p["text"] ** 2))
    value += 0.5 * _BIAS_RIDGE * np.sum(p["bias"] ** 2)
    return float(value), {
        "card": error_NM.T @ text_NK + ridge * p["card"],
        "text": rows_ND.T @ (error_NM @ p["card"]) + ridge * p["text"],
        "bias": error_NM.sum(axis=0) + _BIAS_RIDGE * p["bias"],
    }


_BIAS_RIDGE = 0.01
"""A card that was always right would otherwise have an infinite bias."""
