"""Decision-aware ranking: learn who should be asked, not how good each one is.

The one decision here: of two cards that are equally right, the cheaper must come first by a margin.
A regression of quality cannot say that: where all are right it predicts a near tie, and the tie
goes to the card that is best on average, which is mostly the dearest.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Parameters, Projection, minimise, sigmoid, softplus
from polyroute.estimators._text import Lines
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request, Usage

__all__ = ["Ranking"]

_TYPICAL = Usage(input=500, output=300)
"""By what a call of these tokens costs, cards are ordered from cheap to dear."""


class Ranking:
    """A linear score per card, trained on pairs of cards that answered the same question.

    A pair with different outcomes costs |difference| * softplus(score of the worse - score of the
    better). A pair with equal outcomes and different prices costs tie * softplus(margin + score of
    the dearer - score of the cheaper).

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    margin : float, default=1.0
        By how much the cheaper of two equals should lead, in units of the score.
    tie : float, default=0.1
        Weight of a pair of equals; 0 learns from differences only.
    penalty : float, default=0.001
        Weight of the squared parameters, per pair.
    dims : int, default=128
        Dimensions of the question space.
    seed : int, default=0
        Of the projection.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    What it predicts is on the scale of the target but ordered by the score: one straight line, of
    positive slope, from the score to the outcome, by least squares over all training cells. So the
    largest prediction is the card to ask, price included, and a policy that subtracts a price again
    counts it twice. Where the outcomes are not quality, set ``tie=0``. Cards without a price take
    no part in ties.

    The paper trains a network on the orders of cost-quality utilities; the pairwise loss with a
    margin for cheaper equals is this module's form of it.

    References
    ----------
    EquiRouter ("When Routing Collapses", arXiv:2602.03478): scalar regression against the ranking
    that the decision needs.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "model metadata"),
        how="supervised",
        paper="EquiRouter, When Routing Collapses, arXiv:2602.03478",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        margin: float = 1.0,
        tie: float = 0.1,
        penalty: float = 0.001,
        dims: int = 128,
        seed: int = 0,
    ) -> None:
        if min(margin, tie) < 0 or penalty <= 0:
            raise ConfigError(
                "margin and tie must be 0 or more and penalty above 0, got "
                f"{margin!r}, {tie!r} and {penalty!r}"
            )
        self._projection = Projection(encoder, dims, seed)
        self._margin = margin
        self._tie = tie
        self._penalty = penalty
        self._ids: tuple[str, ...] | None = None
        self._learned: dict[str, FloatArray] = {}
        self._lines: Lines | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Learn the order of the cards from every pair that answered a question; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        rows_ND = self._projection.fit(requests)
        target_NM = target_NM[:, seen_M]
        pairs = _pairs(target_NM, [_usd(pool[int(m)]) for m in seen_M], self._tie, self._margin)
        start = {
            "text": np.zeros((rows_ND.shape[1], len(seen_M))),
            "bias": np.zeros(len(seen_M)),
        }
        ridge = self._penalty * max(1.0, sum(float(np.sum(pair[2])) for pair in pairs))

        def objective(p: Parameters) -> tuple[float, Parameters]:
            return _loss(p, rows_ND, pairs, ridge)

        self._learned = minimise(objective, start, steps=300)
        score_NM = rows_ND @ self._learned["text"] + self._learned["bias"]
        self._learned["line"] = _line(score_NM, target_NM)
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        self._lines = self._served()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the calibrated score, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        return place(fitted(self._lines, self)(requests), ids, pool)

    def state(self) -> State:
        """Return the weights, the line to the target and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={**nested("projection", projection), **self._learned},
            values={"projection": dict(projection.values), "ids": list(ids)},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._learned = {name: state.arrays[name] for name in ("text", "bias", "line")}
        self._ids = tuple(state.values["ids"])
        self._lines = self._served()
        return self

    def _served(self) -> Lines:
        """Return the calibrated scores of the cards."""
        p = self._learned
        intercept, slope = p["line"]
        return self._projection.lines(slope * p["text"], intercept + slope * p["bias"])


_Pair = tuple[int, int, FloatArray, FloatArray, float]
"""Two columns; per question the weight of 'the first leads' and of 'the second leads'; margin."""


def _pairs(target_NM: FloatArray, usd_M: Sequence[float], tie: float, margin: float) -> list[_Pair]:
    pairs: list[_Pair] = []
    for j in range(len(usd_M)):
        for k in range(j):
            gap_N = np.nan_to_num(target_NM[:, j] - target_NM[:, k])
            pairs.append((j, k, np.maximum(gap_N, 0), np.maximum(-gap_N, 0), 0.0))
            cheap, dear = (j, k) if usd_M[j] < usd_M[k] else (k, j)
            if tie and usd_M[cheap] < usd_M[dear]:  # false when a price is NaN
                equal_N = tie * (target_NM[:, j] == target_NM[:, k])
                pairs.append((cheap, dear, equal_N, np.zeros_like(equal_N), margin))
    return pairs


def _loss(
    p: Parameters, rows_ND: FloatArray, pairs: Sequence[_Pair], ridge: float
) -> tuple[float, Parameters]:
    """Return the penalised pairwise loss and its gradient."""
    score_NM = rows_ND @ p["text"] + p["bias"]
    slope_NM = np.zeros_like(score_NM)
    value = 0.5 * ridge * (np.sum(p["text"] ** 2) + _BIAS * np.sum(p["bias"] ** 2))
    for first, second, leads_N, trails_N, margin in pairs:
        gap_N = score_NM[:, first] - score_NM[:, second] - margin
        value += np.sum(leads_N * softplus(-gap_N) + trails_N * softplus(gap_N))
        pull_N = trails_N * sigmoid(gap_N) - leads_N * sigmoid(-gap_N)
        slope_NM[:, first] += pull_N
        slope_NM[:, second] -= pull_N
    return float(value), {
        "text": rows_ND.T @ slope_NM + ridge * p["text"],
        "bias": slope_NM.sum(axis=0) + ridge * _BIAS * p["bias"],
    }


_BIAS = 0.01
"""Pairs leave the sum of all scores open; a slight pull to zero closes it."""


def _line(score_NM: FloatArray, target_NM: FloatArray) -> FloatArray:
    """Return intercept and slope from score to target; a slope of 0 would lose the order."""
    known_NM = ~np.isnan(target_NM)
    score, target = score_NM[known_NM], target_NM[known_NM]
    away = score - score.mean()
    slope = max(float(away @ target) / max(float(away @ away), 1e-12), 0.01)
    if not away.any():
        slope = 1.0
    return np.array([target.mean() - slope * score.mean(), slope])


def _usd(card: ModelCard) -> float:
    return float("nan") if card.price is None else float(card.price.cost(_TYPICAL))
