"""What AutoMix believes after each number of votes, from verified and scored replies.

The one decision here: a number of votes that was seen rarely is believed to mean little: its
qualities are drawn towards the overall means by a prior worth `prior` questions.
"""

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.protocols import FloatArray

__all__ = ["fit_beliefs"]

_Beliefs = tuple[tuple[tuple[float, ...], ...], ...]


def fit_beliefs(
    votes: NDArray[np.intp], quality_NM: FloatArray, *, samples: int, prior: float = 5.0
) -> _Beliefs:
    """Return the `beliefs` of a `polyroute.policies.automix.AutoMix`.

    Parameters
    ----------
    votes : ndarray of shape (N, M - 1), of int
        Yes votes, 0 to `samples`, for the reply of every stage but the last.
    quality_NM : ndarray of shape (N, M)
        Quality of the replies of all stages, 0 to 1.
    samples : int
        Verifications per reply.
    prior : float, default=5
        Questions that the overall mean counts for, 0 or more; with 0, a number of votes that was
        never seen has the overall mean.

    Returns
    -------
    tuple of shape (M - 1, samples + 1, M)

    Raises
    ------
    ConfigError
        If the shapes do not fit, a vote is out of range, or a quality is not a number.

    References
    ----------
    Aggarwal, Madaan et al., arXiv:2310.12963, section 3.2: observation probabilities of the POMDP
    by counting, here smoothed; the value of an action under the belief is the conditional mean.

    Examples
    --------
    >>> quality = np.array([[0, 1.0], [0, 0], [1, 1], [1, 1]])
    >>> fit_beliefs(np.array([[0], [0], [1], [1]]), quality, samples=1, prior=0)
    (((0.0, 0.5), (1.0, 1.0)),)
    """
    n, m = quality_NM.shape
    if votes.shape != (n, m - 1) or n == 0:
        raise ConfigError(f"votes has shape {votes.shape}, expected {(n, m - 1)} and a row or more")
    if votes.min() < 0 or votes.max() > samples:
        raise ConfigError(f"votes must be 0 to {samples}, got {votes.min()} to {votes.max()}")
    if not np.isfinite(quality_NM).all() or not prior >= 0:
        raise ConfigError("every quality must be a number, and prior 0 or more")
    overall = quality_NM.mean(axis=0)
    tables = []
    for stage in range(m - 1):
        rows = []
        for count in range(samples + 1):
            seen = quality_NM[votes[:, stage] == count]
            weight = len(seen) + prior
            total = seen.sum(axis=0) + prior * overall
            rows.append(tuple((total / weight if weight else overall).tolist()))
        tables.append(tuple(rows))
    return tuple(tables)
