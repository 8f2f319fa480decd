"""RouteLLM's measures for a choice between a weak and a strong model: APGR and CPT.

A curve is K points (share of questions sent to the strong model, quality). The corners (0, weak)
and (1, strong) belong to every curve: never and always sending there are settings of every
router.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError

__all__ = ["StrongCurve", "apgr", "cpt", "optimal_curve", "pgr", "strong_curve"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrongCurve:
    """Quality against the share of questions that the strong model answers."""

    share: NDArray[np.float64]
    """0 to 1, ascending, both ends included."""
    quality: NDArray[np.float64]
    weak: float
    """Quality of the weak model alone."""
    strong: float
    """Quality of the strong model alone."""


def strong_curve(
    share: ArrayLike, quality: ArrayLike, *, weak: float, strong: float
) -> StrongCurve:
    """Return the curve through K settings and the two corners.

    Parameters
    ----------
    share : array-like of shape (K,)
        Share of questions sent to the strong model, 0 to 1, in any order.
    quality : array-like of shape (K,)
        Mean score at that share.
    weak, strong : float
        Quality of the two models alone.

    Raises
    ------
    ConfigError
        If a share is not from 0 to 1, or the strong model is not the better one.
    """
    x, y = np.ravel(share).astype(np.float64), np.ravel(quality).astype(np.float64)
    if x.shape != y.shape or not ((x >= 0) & (x <= 1)).all():
        raise ConfigError(f"shares must be from 0 to 1, one for each quality, got {x.tolist()!r}")
    if not strong > weak:
        raise ConfigError(
            f"the strong model must be better than the weak one, got {strong!r} and {weak!r}"
        )
    inner = (x > 0) & (x < 1)
    order = np.argsort(x[inner], kind="stable")
    return StrongCurve(
        share=np.concatenate([[0.0], x[inner][order], [1.0]]),
        quality=np.concatenate([[weak], y[inner][order], [strong]]),
        weak=weak,
        strong=strong,
    )


def pgr(quality: ArrayLike, *, weak: float, strong: float) -> NDArray[np.float64]:
    r"""Return the performance gap recovered: 0 as good as the weak model, 1 as the strong one.

    .. math:: PGR = \frac{r - r_{weak}}{r_{strong} - r_{weak}}

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665, section 2.2.
    """
    return (np.asarray(quality, np.float64) - weak) / (strong - weak)


def apgr(curve: StrongCurve) -> float:
    r"""Return the average performance gap recovered, over all shares of strong calls.

    .. math:: APGR = \int_0^1 PGR(s)\, ds = \frac{AUC - AUC_{weak}}{AUC_{strong} - AUC_{weak}}

    Drawing the model at random gives 0.5.

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665, section 2.2. There the integral is a mean over ten
    thresholds; here it is the trapezoid rule over all settings.

    Examples
    --------
    >>> apgr(strong_curve([0.5], [0.9], weak=0.5, strong=1.0))
    0.65
    """
    recovered = pgr(curve.quality, weak=curve.weak, strong=curve.strong)
    return float(((recovered[1:] + recovered[:-1]) / 2 * np.diff(curve.share)).sum())


def cpt(curve: StrongCurve, recovered: float) -> float:
    r"""Return the call-performance threshold: the least share of strong calls that is enough.

    Enough is a quality of :math:`r_{weak} + x\,(r_{strong} - r_{weak})`.

    Parameters
    ----------
    curve : StrongCurve
    recovered : float
        x, the share of the gap to be recovered: 0.5, 0.8, 0.95.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ConfigError
        If `recovered` is not from 0 to 1.

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665, section 2.2. The published code reads the share off
    by interpolating it as a function of quality, which is right only where quality never falls;
    here it is the first place where the curve reaches the target.

    Examples
    --------
    >>> round(cpt(strong_curve([0.5], [0.9], weak=0.5, strong=1.0), 0.4), 10)
    0.25
    """
    if not 0 <= recovered <= 1:
        raise ConfigError(f"a share of the gap is from 0 to 1, got {recovered!r}")
    target = curve.weak + recovered * (curve.strong - curve.weak)
    k = int(np.argmax(curve.quality >= target))
    if k == 0:
        return 0.0
    (x0, x1), (y0, y1) = curve.share[k - 1 : k + 1], curve.quality[k - 1 : k + 1]
    return float(x0 + (x1 - x0) * (target - y0) / (y1 - y0))


def optimal_curve(weak_N: ArrayLike, strong_N: ArrayLike) -> StrongCurve:
    """Return the curve of a router that knows all outcomes.

    With at most k strong calls it makes those that gain most, and none that loses: the weak
    model's quality plus the k largest positive differences. For right-or-wrong scores that is the
    weak model's right answers plus min(k, questions that only the strong one gets right).

    Parameters
    ----------
    weak_N, strong_N : array-like of shape (N,)
        Scores of the two models.

    Raises
    ------
    ConfigError
        If the two are not columns of one length.

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665, appendix; its code, for right-or-wrong scores.

    Examples
    --------
    >>> optimal_curve([0, 1, 0, 1], [1, 0, 0, 1]).quality
    array([0.5 , 0.75, 0.75, 0.75, 0.75])
    """
    weak, strong = np.asarray(weak_N, np.float64), np.asarray(strong_N, np.float64)
    if weak.shape != strong.shape or weak.ndim != 1 or not weak.size:
        raise ConfigError(f"two columns of one length are needed, got {weak.shape}, {strong.shape}")
    gains = np.sort(np.maximum(strong - weak, 0))[::-1]
    total = weak.sum() + np.concatenate([[0.0], np.cumsum(gains)])
    return StrongCurve(
        share=np.arange(len(weak) + 1) / len(weak),
        quality=total / len(weak),
        weak=float(weak.mean()),
        strong=float(strong.mean()),
    )
