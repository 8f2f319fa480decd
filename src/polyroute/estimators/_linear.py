"""Linear heads: one weight vector per card, all found in one block of conjugate gradients.

The one decision here: what was not observed has weight zero, and intercepts are not penalised, so
every column solves its own weighted, centred problem; yet the products with the features, which
are the cost, are shared by all columns. The same solver makes the steps of logistic regression.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyroute.estimators._columns import inner, nested, place
from polyroute.estimators._text import Text, product
from polyroute.pool import Pool
from polyroute.protocols import Features, FloatArray, State
from polyroute.sparse import Sparse

__all__ = ["Fit", "LinearHead", "Matrix", "weighted_ridge"]

_TOLERANCE = 1e-10
"""Relative residual at which a column is solved."""
_MOST_STEPS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """A linear function of the features for each of M cards."""

    ids: tuple[str, ...]
    """The cards, in column order."""
    weights: NDArray[np.float32]
    """Shape (D, M)."""
    intercepts: FloatArray
    """Shape (M,); NaN where the card was never observed."""

    def scores(self, x_ND: Features, pool: Pool) -> FloatArray:
        """Return the values for every card of `pool`, shape (N, len(pool)); NaN where unknown."""
        return place(product(x_ND, self.weights) + self.intercepts, self.ids, pool)

    def state(self, text: Text) -> State:
        """Return the head's arrays, and the state of the `text` it reads."""
        inside = text.state()
        own: dict[str, NDArray[Any]] = {
            "weights_DM": self.weights,
            "intercepts_M": self.intercepts,
        }
        return State(
            arrays={**own, **nested("text", inside)},
            values={"cards": list(self.ids), "text": inside.values},
        )

    @classmethod
    def restored(cls, state: State, text: Text) -> "LinearHead":
        """Take back what `state` returned; `text` takes its part."""
        text.restore(inner("text", state, state.values["text"]))
        return cls(
            ids=tuple(state.values["cards"]),
            weights=np.asarray(state.arrays["weights_DM"]),
            intercepts=np.asarray(state.arrays["intercepts_M"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What was found for M columns, in double precision."""

    weights: FloatArray
    """Shape (D, M)."""
    intercepts: FloatArray
    """Shape (M,)."""

    def head(self, target_NM: FloatArray, pool: Pool) -> LinearHead:
        """Return the head to serve; a column never observed in `target_NM` becomes NaN."""
        never_M = np.isnan(target_NM).all(axis=0)
        return LinearHead(
            ids=pool.ids,
            weights=self.weights.astype(np.float32),
            intercepts=np.where(never_M, np.nan, self.intercepts),
        )


class Matrix:
    """Features ready to be multiplied from both sides, in double precision.

    Raises
    ------
    MissingExtraError
        If they are sparse and scipy is not installed.
    """

    def __init__(self, x_ND: Features) -> None:
        matrix: Any = x_ND.to_scipy() if isinstance(x_ND, Sparse) else x_ND
        self._matrix = matrix.astype(np.float64)
        self._transposed = self._matrix.T.tocsr() if isinstance(x_ND, Sparse) else self._matrix.T
        self.shape = x_ND.shape

    def times(self, weights_DM: FloatArray) -> FloatArray:
        """Return the product with weights, shape (N, M)."""
        return np.asarray(self._matrix @ weights_DM)

    def transposed_times(self, rows_NM: FloatArray) -> FloatArray:
        """Return the product of the transpose with one row per request, shape (D, M)."""
        return np.asarray(self._transposed @ rows_NM)


def weighted_ridge(
    x_ND: Matrix,
    target_NM: FloatArray,
    weight_NM: FloatArray,
    penalty: float,
    *,
    start_DM: FloatArray | None = None,
) -> Fit:
    """Minimise ``sum_n weight (target - x w - b)^2 + penalty |w|^2`` for every column.

    Parameters
    ----------
    x_ND : Matrix
    target_NM : ndarray of shape (N, M)
        Read only where the weight is positive.
    weight_NM : ndarray of shape (N, M)
        Zero where nothing was observed.
    penalty : float
        Positive. The intercept is free.
    start_DM : ndarray of shape (D, M), optional
        Where to begin.

    Notes
    -----
    Subtracting the weighted mean of ``x v`` centres the features without making them dense. With
    rows of length 1 the condition number is at most ``1 + N / penalty``.
    """
    mass_M = weight_NM.sum(axis=0)
    share_NM = np.divide(weight_NM, mass_M, out=np.zeros_like(weight_NM), where=mass_M > 0)

    def centred(rows_NM: FloatArray) -> FloatArray:
        centred_NM: FloatArray = rows_NM - (share_NM * rows_NM).sum(axis=0)
        return centred_NM

    def curvature(step_DM: FloatArray) -> FloatArray:
        seen_NM = weight_NM * centred(x_ND.times(step_DM))
        bent_DM: FloatArray = x_ND.transposed_times(seen_NM) + penalty * step_DM
        return bent_DM

    target_NM = np.where(weight_NM > 0, target_NM, 0.0)
    gradient_DM = x_ND.transposed_times(weight_NM * centred(target_NM))
    start_DM = np.zeros_like(gradient_DM) if start_DM is None else start_DM
    weights_DM = _conjugate_gradients(curvature, gradient_DM, start_DM)
    intercepts_M = (share_NM * (target_NM - x_ND.times(weights_DM))).sum(axis=0)
    return Fit(weights_DM, intercepts_M)


def _conjugate_gradients(
    curvature: Callable[[FloatArray], FloatArray], goal_DM: FloatArray, start_DM: FloatArray
) -> FloatArray:
    """Solve ``curvature(w) = goal`` column by column, in one go."""
    weights_DM = start_DM.copy()
    rest_DM = goal_DM - curvature(weights_DM)
    step_DM = rest_DM.copy()
    size_M = (rest_DM * rest_DM).sum(axis=0)
    enough_M = _TOLERANCE**2 * (goal_DM * goal_DM).sum(axis=0)
    for _ in range(_MOST_STEPS):
        going_M = size_M > enough_M
        if not going_M.any():
            break
        bent_DM = curvature(step_DM)
        along_M = (step_DM * bent_DM).sum(axis=0)
        length_M = np.divide(size_M, along_M, out=np.zeros_like(size_M), where=going_M)
        weights_DM += length_M * step_DM
        rest_DM -= length_M * bent_DM
        before_M, size_M = size_M, (rest_DM * rest_DM).sum(axis=0)
        turn_M = np.divide(size_M, before_M, out=np.zeros_like(size_M), where=going_M)
        step_DM = rest_DM + turn_M * step_DM
    return weights_DM
