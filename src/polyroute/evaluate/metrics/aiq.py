"""RouterBench's AIQ: the area under a router's cost-quality curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError

__all__ = ["Hull", "aiq", "non_decreasing_hull"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hull:
    """The best that can be had at each cost by mixing a router's settings at random.

    Examples
    --------
    >>> hull = non_decreasing_hull([1.0, 2.0, 3.0], [0.2, 0.3, 0.8])
    >>> hull.at([0.5, 1.0, 2.0, 9.0])
    array([0. , 0.2, 0.5, 0.8])
    """

    cost: NDArray[np.float64]
    """Corners, ascending."""
    quality: NDArray[np.float64]
    """Quality at the corners, ascending."""

    def at(self, cost: ArrayLike) -> NDArray[np.float64]:
        """Return the quality at each `cost`: 0 below the cheapest corner, flat above the last."""
        return np.interp(np.asarray(cost, np.float64), self.cost, self.quality, left=0.0)


def non_decreasing_hull(cost: ArrayLike, quality: ArrayLike) -> Hull:
    """Return the non-decreasing concave hull of K settings.

    A user who draws one of two settings at random for each question gets every point between them,
    and nobody has to pay more for less: so the curve is concave and never falls.

    Parameters
    ----------
    cost, quality : array-like of shape (K,)
        One point for each setting; cost in any unit, 0 or more.

    Raises
    ------
    ConfigError
        If there is no point, or a value is not finite.

    References
    ----------
    Hu et al., *RouterBench*, arXiv:2403.12031, section 3.2, which calls it the non-decreasing
    convex hull.
    """
    points = np.stack([np.ravel(cost), np.ravel(quality)], axis=1).astype(np.float64)
    if not len(points) or not np.isfinite(points).all():
        raise ConfigError(f"a hull needs one finite point or more, got {points.tolist()!r:.120}")
    corners: list[NDArray[np.float64]] = []
    for point in points[np.lexsort((-points[:, 1], points[:, 0]))]:
        if corners and point[1] <= corners[-1][1]:
            continue  # dearer, and no better
        while len(corners) >= 2 and _is_below(corners[-1], corners[-2], point):
            corners.pop()
        corners.append(point)
    hull = np.array(corners)
    return Hull(cost=hull[:, 0], quality=hull[:, 1])


def aiq(hull: Hull, *, cost_min: float, cost_max: float) -> float:
    r"""Return the average improvement in quality: the mean height of `hull` over a cost range.

    .. math:: AIQ = \frac{1}{c_{max} - c_{min}} \int_{c_{min}}^{c_{max}} \tilde R(c)\, dc

    The range must be the same for all routers that are compared: from the cost of the cheapest
    model to that of the dearest, say. Below its cheapest setting a router has nothing to offer,
    which counts as quality 0; above its dearest, it stays as good as it was.

    Parameters
    ----------
    hull : Hull
        From `non_decreasing_hull`.
    cost_min, cost_max : float
        The common range, in the hull's unit.

    Returns
    -------
    float
        In the unit of quality, 0 to 1.

    Raises
    ------
    ConfigError
        If the range is empty.

    References
    ----------
    Hu et al., *RouterBench*, arXiv:2403.12031, section 3.2. The published code divides by
    :math:`c_{max}` and integrates from each router's own cheapest point, so its value depends on
    where the range starts, and two routers are measured over different ranges; here the
    paper's formula is used, over one range.

    Examples
    --------
    >>> hull = non_decreasing_hull([1.0, 3.0], [0.4, 0.8])
    >>> round(aiq(hull, cost_min=1.0, cost_max=5.0), 10)
    0.7
    """
    if not cost_max > cost_min:
        raise ConfigError(f"the range of costs is empty: {cost_min!r} to {cost_max!r}")
    start = max(cost_min, float(hull.cost[0]))
    if start >= cost_max:
        return 0.0
    inside = hull.cost[(hull.cost > start) & (hull.cost < cost_max)]
    grid = np.concatenate([[start], inside, [cost_max]])
    height = hull.at(grid)
    area = ((height[1:] + height[:-1]) / 2 * np.diff(grid)).sum()
    return float(area) / (cost_max - cost_min)


def _is_below(
    corner: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> bool:
    """Whether `corner` lies on or below the line from `before` to `after`."""
    run, rise = after - before
    return bool((corner[1] - before[1]) * run <= (corner[0] - before[0]) * rise)
