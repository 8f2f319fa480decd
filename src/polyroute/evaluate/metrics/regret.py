"""Distance to a router that knows every outcome, the oracle."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cheapest_correct", "gap_closed", "oracle", "oracle_regret"]


def oracle(score_NM: ArrayLike, usd_NM: ArrayLike | None = None) -> NDArray[np.intp]:
    """Return for each question the column of the best score, the cheapest of equal ones.

    Parameters
    ----------
    score_NM : array-like of shape (N, M)
        NaN where not observed: never chosen, unless a row has nothing else.
    usd_NM : array-like of shape (N, M), optional
        NaN is dearer than any price.

    Examples
    --------
    >>> oracle([[0, 1, 1]], [[1, 3, 2]])
    array([2])
    """
    scores = np.nan_to_num(np.asarray(score_NM, np.float64), nan=-np.inf)
    prices = _prices(usd_NM, scores)
    best = scores >= scores.max(axis=1, keepdims=True)
    return np.asarray(np.where(best, prices, np.inf).argmin(axis=1), np.intp)


def cheapest_correct(score_NM: ArrayLike, usd_NM: ArrayLike | None = None) -> NDArray[np.intp]:
    """Return for each question the cheapest column with a score of 1; without one, the cheapest.

    It shows how little the right answers cost: where no model is right, it wastes no money.

    Examples
    --------
    >>> cheapest_correct([[0, 1, 1], [0, 0.5, 0]], [[1, 3, 2], [2, 3, 1]])
    array([2, 2])
    """
    scores = np.asarray(score_NM, np.float64)
    prices = _prices(usd_NM, scores)
    prices = np.where(np.isnan(scores), _NEVER, prices)
    right = scores >= 1
    among = np.where(right.any(axis=1, keepdims=True), right, True)
    return np.asarray(np.where(among, prices, np.inf).argmin(axis=1), np.intp)


def oracle_regret(score_N: ArrayLike, score_NM: ArrayLike) -> float:
    """Return the mean score that a router leaves on the table, 0 to 1.

    Examples
    --------
    >>> oracle_regret([0, 1], [[0, 1], [1, 0]])
    0.5
    """
    best = np.nanmax(np.asarray(score_NM, np.float64), axis=1)
    return float(np.mean(best - np.asarray(score_N, np.float64)))


def gap_closed(quality: float, *, best_single: float, oracle: float) -> float:
    r"""Return the share of the way from the best single model to the oracle.

    .. math:: \frac{q - q_{BS}}{q_{oracle} - q_{BS}}

    Returns
    -------
    float
        1 is the oracle, 0 the best single model, negative worse than it; NaN without a gap.

    Examples
    --------
    >>> round(gap_closed(0.647, best_single=0.605, oracle=0.8), 3)
    0.215
    """
    gap = oracle - best_single
    return (quality - best_single) / gap if gap > 0 else math.nan


_NEVER = 1e300
"""Dearer than any price, and still a number: a row of nothing else has a choice."""


def _prices(usd_NM: ArrayLike | None, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if usd_NM is None:
        return np.zeros_like(scores)
    return np.nan_to_num(np.asarray(usd_NM, np.float64), nan=_NEVER / 2)
