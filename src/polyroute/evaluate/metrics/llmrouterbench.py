"""LLMRouterBench's measures: gain at any price, saving at equal quality, distance to the front."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError

__all__ = ["cost_save", "pareto_dist", "pareto_front", "perf_gain"]


def perf_gain(quality_K: ArrayLike, *, best_single: float) -> float:
    r"""Return how much better than the best single model the router's best setting is.

    .. math:: PerfGain = \max_\theta \frac{Acc(\theta)}{Acc_{BS}} - 1

    Parameters
    ----------
    quality_K : array-like of shape (K,)
        Quality of each setting of the router.
    best_single : float
        Quality of the best single model, above 0.

    References
    ----------
    LLMRouterBench, arXiv:2601.07206. Its code for this is not public; the formula is derived from
    its text and agrees with its figures.

    Examples
    --------
    >>> round(perf_gain([0.61, 0.677], best_single=0.66), 3)
    0.026
    """
    return float(np.max(quality_K)) / best_single - 1


def cost_save(
    quality_K: ArrayLike, cost_K: ArrayLike, *, best_single: float, best_single_cost: float
) -> float:
    r"""Return what the router saves at the best single model's quality, or above.

    .. math:: CostSave = 1 - \frac{\min \{Cost(\theta): Acc(\theta) \ge Acc_{BS}\}}{Cost_{BS}}

    Returns
    -------
    float
        1 is all, 0 nothing, negative dearer; NaN when no setting is as good.

    References
    ----------
    LLMRouterBench, arXiv:2601.07206; see `perf_gain`.

    Examples
    --------
    >>> round(cost_save([0.67, 0.6], [111.5, 9], best_single=0.66, best_single_cost=126), 3)
    0.115
    """
    quality, cost = np.asarray(quality_K, np.float64), np.asarray(cost_K, np.float64)
    enough = quality >= best_single - 1e-12  # a mean of the same scores in another order
    if not enough.any():
        return math.nan
    return 1 - float(cost[enough].min()) / best_single_cost


def pareto_front(cost_K: ArrayLike, quality_K: ArrayLike) -> NDArray[np.intp]:
    """Return the places of the points that no other point beats, by ascending cost.

    A point is beaten by one that is no dearer, no worse, and better in one of the two. Of equal
    points the first stays.
    """
    cost, quality = np.asarray(cost_K, np.float64), np.asarray(quality_K, np.float64)
    front: list[int] = []
    for k in np.lexsort((np.arange(len(cost)), -quality, cost)):
        if not front or quality[k] > quality[front[-1]]:
            front.append(int(k))
    return np.array(front, np.intp)


def pareto_dist(
    cost_K: ArrayLike, quality_K: ArrayLike, *, all_cost: ArrayLike, all_quality: ArrayLike
) -> float:
    """Return the mean distance of a router's settings to the joint Pareto front.

    Cost and quality are scaled to 0 … 1 over all points of all routers; the distance is Euclidean,
    to the nearest point of the front.

    Parameters
    ----------
    cost_K, quality_K : array-like of shape (K,)
        The settings of this router.
    all_cost, all_quality : array-like
        The settings of all routers and single models, this one's included.

    Returns
    -------
    float
        0 (every setting is on the front) to the square root of 2.

    Raises
    ------
    ConfigError
        If there is no point at all.

    References
    ----------
    LLMRouterBench, arXiv:2601.07206. Its code for this is not public, and its text leaves open how
    costs are scaled and how the front is drawn: here linearly, and as its points.

    Examples
    --------
    >>> pareto_dist([1.0], [0.0], all_cost=[0, 1, 1], all_quality=[0, 1, 0])
    1.0
    """
    everything = np.stack([np.ravel(all_cost), np.ravel(all_quality)], axis=1).astype(np.float64)
    mine = np.stack([np.ravel(cost_K), np.ravel(quality_K)], axis=1).astype(np.float64)
    if not len(everything) or not len(mine):
        raise ConfigError("a distance to the front needs one point or more")
    low = everything.min(axis=0)
    span = everything.max(axis=0) - low
    span[span == 0] = 1.0
    front = ((everything - low) / span)[pareto_front(everything[:, 0], everything[:, 1])]
    gaps = ((mine - low) / span)[:, None, :] - front[None, :, :]
    return float(np.sqrt((gaps**2).sum(axis=2)).min(axis=1).mean())
