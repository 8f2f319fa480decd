"""Routing collapse: a router that has stopped routing.

A router whose calls nearly all go to one model may still look good on average; these measures say
so, and against the best single model they say what it is worth.
"""

import numpy as np
from numpy.typing import ArrayLike

from polyroute.errors import ConfigError

__all__ = ["call_entropy", "most_used_share", "regret_to_constant"]


def most_used_share(calls_M: ArrayLike) -> float:
    """Return the share of all calls that go to the most used model, 1/M to 1.

    Raises
    ------
    ConfigError
        If there is no call.

    Examples
    --------
    >>> most_used_share([8, 1, 1])
    0.8
    """
    calls = _counts(calls_M)
    return float(calls.max() / calls.sum())


def call_entropy(calls_M: ArrayLike) -> float:
    """Return the entropy of the calls over models, in bits: 0 (one model) to log2 M (even).

    Raises
    ------
    ConfigError
        If there is no call.

    Examples
    --------
    >>> call_entropy([5, 5, 0]), call_entropy([7, 0, 0])
    (1.0, 0.0)
    """
    calls = _counts(calls_M)
    share = calls[calls > 0] / calls.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def regret_to_constant(score_N: ArrayLike, constant_N: ArrayLike) -> float:
    """Return how much worse than one fixed model the router is; negative where it is better.

    References
    ----------
    EquiRouter, arXiv:2602.03478: a router that defaults to one model is worth no more than it.

    Examples
    --------
    >>> regret_to_constant([0, 1], [1, 1])
    0.5
    """
    return float(np.mean(np.asarray(constant_N, np.float64) - np.asarray(score_N, np.float64)))


def _counts(calls_M: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    calls = np.asarray(calls_M, np.float64)
    if not calls.sum() > 0:
        raise ConfigError("there is no call to count")
    return calls
