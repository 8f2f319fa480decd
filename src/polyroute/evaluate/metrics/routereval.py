"""RouterEval's measures: accuracy, accuracy over the best single model's, and diversity."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["mean_score", "predicted_entropy", "value_over_best"]


def mean_score(score_N: ArrayLike) -> float:
    """Return the router's accuracy, the mean of its scores.

    References
    ----------
    RouterEval, arXiv:2503.10657, section 3, where it is called mu.
    """
    return float(np.asarray(score_N, np.float64).mean())


def value_over_best(score_N: ArrayLike, *, best_single: float) -> float:
    r"""Return accuracy over that of the best single model: above 1 the router beats all of them.

    .. math:: V_b = \mu / \mu_{best}

    References
    ----------
    RouterEval, arXiv:2503.10657, section 3.

    Examples
    --------
    >>> value_over_best([1, 1, 0, 1], best_single=0.5)
    1.5
    """
    return mean_score(score_N) / best_single


def predicted_entropy(predicted_NM: ArrayLike) -> float:
    r"""Return the mean entropy, in bits, of the softmax of a router's predicted scores.

    .. math:: E_p = -\frac{1}{N} \sum_n \sum_m p_{nm} \log_2 p_{nm}, \quad
        p_{nm} = \frac{e^{s_{nm}}}{\sum_k e^{s_{nk}}}

    Near 0 the router is sure of one model for each question; log2 M is indifference. It depends on
    the scale of the scores, so it compares routers whose scores mean the same. A card without a
    prediction (NaN) has no part in its row.

    Parameters
    ----------
    predicted_NM : array-like of shape (N, M)

    References
    ----------
    RouterEval, arXiv:2503.10657, section 3.

    Examples
    --------
    >>> predicted_entropy([[0.3, 0.3], [0.7, 0.7]])
    1.0
    """
    scores = np.asarray(predicted_NM, np.float64)
    shifted = np.exp(scores - np.nanmax(scores, axis=1, keepdims=True))
    share = np.nan_to_num(shifted) / np.nansum(shifted, axis=1, keepdims=True)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return float(-(share * logs).sum(axis=1).mean())
