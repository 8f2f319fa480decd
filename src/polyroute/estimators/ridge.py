"""Ridge regression on text features: the ten lines that any cleverer router has to beat.

The one decision here: a column is fitted on the rows where that card was observed, and all columns
are solved together (`polyroute.estimators._linear`).
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted
from polyroute.estimators._linear import LinearHead, Matrix, weighted_ridge
from polyroute.estimators._text import Text
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Ridge"]


class Ridge:
    """Predict each card by its own linear function of the prompt's features.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    alpha : float, default=10
        Penalty on the squared weights; the intercept is free. For rows of length 1.

    Raises
    ------
    ConfigError
        If `alpha` is not positive.

    Notes
    -----
    It agrees with ``sklearn.linear_model.Ridge(alpha)`` wherever that can be fitted; scikit-learn
    refuses missing targets. Measured: docs/benchmarks/routers.md.

    References
    ----------
    Hoerl and Kennard, "Ridge regression", Technometrics 12(1), 1970. As a router:
    predicting every model's quality and cost is CARROT, Somerstep et al., arXiv:2502.03261.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Hoerl and Kennard, Technometrics 12(1), 1970; Somerstep et al., arXiv:2502.03261",
    )

    def __init__(self, *, encoder: Encoder | None = None, alpha: float = 10.0) -> None:
        if not alpha > 0:
            raise ConfigError(f"alpha must be positive, got {alpha!r}")
        self._text = Text(encoder)
        self._alpha = alpha
        self._head: LinearHead | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the encoder on the prompts and every column on its observed rows."""
        target_NM = check(requests, target_NM, pool)
        x_ND = self._text.fit(requests)
        seen_NM = (~np.isnan(target_NM)).astype(np.float64)
        fit = weighted_ridge(Matrix(x_ND), target_NM, seen_NM, self._alpha)
        self._head = fit.head(target_NM, pool)
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the predictions, shape (N, len(pool)); not clipped."""
        head = fitted(self._head, self)
        return head.scores(self._text.encode(requests), pool)

    def state(self) -> State:
        """Return the encoder's state, the weights and the intercepts."""
        return fitted(self._head, self).state(self._text)

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._head = LinearHead.restored(state, self._text)
        return self
