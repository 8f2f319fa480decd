"""RouterArena's measures: one score of quality and cost, optimality, robustness."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from polyroute.errors import ConfigError

__all__ = ["Optimality", "arena_score", "optimality", "robustness"]

_CHEAPEST, _DEAREST = 0.0044, 200.0
"""Dollars per thousand questions between which cost is measured; the board's constants."""


def arena_score(accuracy: float, usd_per_1000: float, *, beta: float = 0.1) -> float:
    r"""Return RouterArena's score: a weighted harmonic mean of accuracy and cheapness.

    .. math::
        C = \frac{\log_2 200 - \log_2 c}{\log_2 200 - \log_2 0.0044}, \qquad
        S = \frac{(1 + \beta)\, A\, C}{\beta A + C}

    Parameters
    ----------
    accuracy : float
        A, the mean score, 0 to 1.
    usd_per_1000 : float
        c, dollars per thousand questions; clamped to 0.0044 … 200.
    beta : float, default=0.1
        Weight of cheapness against accuracy.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ConfigError
        If `accuracy` is not from 0 to 1, or the cost is negative.

    References
    ----------
    RouterArena, arXiv:2510.00202, section 4 and the board's code.

    Examples
    --------
    >>> round(100 * arena_score(0.6688, 0.15), 2)
    66.9
    """
    if not (0 <= accuracy <= 1 and usd_per_1000 >= 0):
        raise ConfigError(
            f"accuracy is from 0 to 1 and cost 0 or more, got {accuracy!r} and {usd_per_1000!r}"
        )
    cost = min(max(usd_per_1000, _CHEAPEST), _DEAREST)
    cheapness = math.log2(_DEAREST / cost) / math.log2(_DEAREST / _CHEAPEST)
    below = beta * accuracy + cheapness
    return (1 + beta) * accuracy * cheapness / below if below else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimality:
    """How near a router is to the cheapest right choice; NaN where nothing can be counted."""

    selection: float
    """Share of counted questions answered right at the lowest price."""
    cost: float
    """What the cheapest right answers cost, over what the router paid: 1 is optimal, 0 is waste."""
    accuracy: float
    """The router's score, over that of the best possible choice."""
    counted: int
    """Questions that some model gets right."""


def optimality(
    score_N: ArrayLike, usd_N: ArrayLike, *, score_NM: ArrayLike, usd_NM: ArrayLike
) -> Optimality:
    """Compare a router with the cheapest right model of each question.

    Counted are the questions that some model gets right (a score of 1). Those that the router gets
    wrong count too: leaving them out would make every router's accuracy optimal.

    Parameters
    ----------
    score_N, usd_N : array-like of shape (N,)
        What the router got, and paid.
    score_NM, usd_NM : array-like of shape (N, M)
        What each model gets, and costs; NaN where unknown.

    References
    ----------
    RouterArena, arXiv:2510.00202, section 4. Its first code skipped the rows on which the router
    was wrong.

    Examples
    --------
    >>> found = optimality([1, 0], [2, 1], score_NM=[[1, 1], [0, 1]], usd_NM=[[1, 2], [1, 3]])
    >>> found.selection, round(found.cost, 3), found.accuracy, found.counted
    (0.0, 1.333, 0.5, 2)
    """
    score, usd = np.asarray(score_N, np.float64), np.asarray(usd_N, np.float64)
    scores, prices = np.asarray(score_NM, np.float64), np.asarray(usd_NM, np.float64)
    right = (scores >= 1) & ~np.isnan(prices)
    counted = right.any(axis=1) & ~np.isnan(score) & ~np.isnan(usd)
    n = int(counted.sum())
    if not n:
        return Optimality(selection=math.nan, cost=math.nan, accuracy=math.nan, counted=0)
    least = np.where(right, prices, np.inf).min(axis=1)[counted]
    is_best = (score[counted] >= 1) & (usd[counted] <= least * (1 + 1e-9))
    paid = float(usd[counted].sum())
    return Optimality(
        selection=float(is_best.mean()),
        cost=float(least.sum()) / paid if paid else math.nan,
        accuracy=float(score[counted].sum()) / n,
        counted=n,
    )


def robustness(original_N: ArrayLike, perturbed_N: ArrayLike) -> float:
    """Return the share of questions for which the router's choice survives a perturbed prompt.

    One minus flips / N. A choice may be anything that can be compared: a column, a model's name.

    Raises
    ------
    ConfigError
        If there is not one choice for each question.

    References
    ----------
    RouterArena, arXiv:2510.00202, section 4: 420 perturbed prompts.

    Examples
    --------
    >>> robustness(["a", "b", "a", "a"], ["a", "a", "a", "a"])
    0.75
    """
    before, after = np.asarray(original_N), np.asarray(perturbed_N)
    if before.shape != after.shape or not before.size:
        raise ConfigError(
            f"one choice for each question is needed, got {before.shape}, {after.shape}"
        )
    return float((before == after).mean())
