"""What is only luck: intervals over questions, paired tests, and many routers at once.

The one decision here: the unit is the question. Two routers are compared on the same questions,
difference by difference, because how hard a question is moves both of them more than anything
that tells them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError, MissingExtraError

__all__ = [
    # intervals
    "Interval", "mean_interval", "paired_interval", "ratio_interval",
    # tests
    "holm", "sign_flip_p",
]  # fmt: skip

_CHUNK = 4_000_000
"""Most random numbers in memory at a time."""

_EXACT = 14
"""Up to this many differences that are not zero, all signs are tried."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the ends of its interval."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values_N: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Return the mean of N values with its bootstrap interval.

    Parameters
    ----------
    values_N : array-like of shape (N,)
        One value for each question; NaN is left out.
    level : float, default=0.95
        Confidence, over 0 and under 1.
    resamples : int, default=2000
        How many times N questions are drawn with replacement.
    seed : int, default=0
        The same seed gives the same interval.
    method : {"percentile", "bca"}
        The percentiles of the resampled means, or bias-corrected and accelerated ones, which
        need scipy.

    Raises
    ------
    ConfigError
        If there is no value, or `level` or `resamples` is out of range.
    MissingExtraError
        If `method` is ``"bca"`` and scipy is not installed.

    References
    ----------
    Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, sections 13.3 and 14.3.

    Examples
    --------
    >>> mean_interval([0.0, 1.0] * 50)
    Interval(estimate=0.5, low=0.4, high=0.6)
    """
    values = np.asarray(values_N, np.float64)
    values = values[~np.isnan(values)]
    _check(len(values), level, resamples)
    if method == "bca":
        return _bca(values, level, resamples, seed)
    means = _resampled_means(values[:, None], resamples, seed)[:, 0]
    return _interval(float(values.mean()), means, level)


def paired_interval(
    values_N: ArrayLike,
    others_N: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Return the mean difference over the same questions, with its interval.

    Parameters and errors are those of `mean_interval`; a question that either side lacks (NaN) is
    left out.

    Examples
    --------
    >>> paired_interval([1.0, 1.0, 0.0], [0.0, 0.0, 0.0]).estimate.__round__(3)
    0.667
    """
    difference = np.asarray(values_N, np.float64) - np.asarray(others_N, np.float64)
    return mean_interval(difference, level=level, resamples=resamples, seed=seed, method=method)


def ratio_interval(
    above_N: ArrayLike,
    below_N: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return the ratio of two means over the same questions, with its percentile interval.

    It is for what one router costs as a share of another. Parameters and errors are those of
    `mean_interval`; where the mean below is zero the ratio is NaN.
    """
    pairs = np.stack([np.asarray(above_N, np.float64), np.asarray(below_N, np.float64)], axis=1)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    _check(len(pairs), level, resamples)
    means = _resampled_means(pairs, resamples, seed)
    above, below = pairs.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means[:, 0] / means[:, 1]
        return _interval(float(above / below), ratios, level)


def sign_flip_p(difference_N: ArrayLike, *, resamples: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p-value of a mean paired difference, by flipping signs.

    If two routers were equally good, each question's difference could as well have had the other
    sign. With few differences all signs are tried, else `resamples` random ones; then the observed
    one counts as one of them, so that p is never 0.

    Parameters
    ----------
    difference_N : array-like of shape (N,)
        One difference for each question; NaN is left out.
    resamples : int, default=9999
    seed : int, default=0

    Returns
    -------
    float
        Over 0, at most 1.

    References
    ----------
    Good, *Permutation, Parametric and Bootstrap Tests of Hypotheses*, 2005, section 3.2. Phipson
    and Smyth, *Permutation p-values should never be zero*, 2010, for the added one.

    Examples
    --------
    >>> sign_flip_p([1, 1, 1, 0, 1])  # one of 8 signings, either side: 2 / 16
    0.125
    """
    difference = np.asarray(difference_N, np.float64)
    difference = difference[~np.isnan(difference) & (difference != 0)]
    if not len(difference):
        return 1.0
    observed = abs(difference.sum()) * (1 - 1e-12)
    if len(difference) <= _EXACT:
        numbers = np.arange(2 ** len(difference))[:, None]
        signs = (numbers >> np.arange(len(difference)) & 1) * 2.0 - 1
        return float((np.abs(signs @ difference) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme, left = 0, resamples
    while left:
        rows = min(left, max(1, _CHUNK // len(difference)))
        signs = rng.integers(0, 2, (rows, len(difference)), np.int8) * 2.0 - 1
        extreme += int((np.abs(signs @ difference) >= observed).sum())
        left -= rows
    return (1 + extreme) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number: the chance of any false alarm is bounded.

    Parameters
    ----------
    p_values : sequence of float
        One for each router that is compared.

    References
    ----------
    Holm, *A simple sequentially rejective multiple test procedure*, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[k]))
        corrected[k] = highest
    return corrected


def _check(count: int, level: float, resamples: int) -> None:
    if not count:
        raise ConfigError("an interval needs one value or more")
    if not (0 < level < 1 and resamples >= 1):
        raise ConfigError(
            f"level must be between 0 and 1 and resamples 1 or more, got {level!r}, {resamples!r}"
        )


def _resampled_means(
    values_ND: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the means of rows drawn with replacement, shape (resamples, D)."""
    rng = np.random.default_rng(seed)
    n = len(values_ND)
    rows = max(1, _CHUNK // n)
    parts = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, n, (min(rows, resamples - start), n))
        parts.append(values_ND[drawn].mean(axis=1))
    return np.concatenate(parts)


def _interval(estimate: float, resampled: NDArray[np.float64], level: float) -> Interval:
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def _bca(values: NDArray[np.float64], level: float, resamples: int, seed: int) -> Interval:
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingExtraError("BCa needs scipy; run: pip install 'polyroute[learn]'") from error
    estimate = float(values.mean())
    if (values == values[0]).all():  # nothing varies, and acceleration would be 0 / 0
        return Interval(estimate, estimate, estimate)
    found = bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa",
        batch=max(1, _CHUNK // len(values)), rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(estimate, float(found.low), float(found.high))
