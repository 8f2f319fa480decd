"""Logistic regression on text features: the chance that a card answers well.

The one decision here: binary relevance. Every card has its own regression, on the rows where it
was observed, and a score between 0 and 1 is taken as the chance it states. Newton's steps are
weighted ridge regressions, which all columns make together (`polyroute.estimators._linear`).
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted
from polyroute.estimators._latent import sigmoid
from polyroute.estimators._linear import Fit, LinearHead, Matrix, weighted_ridge
from polyroute.estimators._text import Text
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Logistic"]

_CERTAIN = 1e-6
"""Scores are held that far from 0 and 1, so that a card that never fails has a finite fit."""
_MOST_STEPS = 50
_STILL = 1e-9
"""Relative decrease of the objective below which a fit is finished."""


class Logistic:
    """Predict the chance of a good answer by one regularised logistic regression per card.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    alpha : float, default=1
        Penalty: the objective is the cross-entropy plus alpha / 2 times the squared weights.
        scikit-learn's ``C`` is its inverse.

    Raises
    ------
    ConfigError
        If `alpha` is not positive, or a score to fit is not between 0 and 1.

    Notes
    -----
    Agrees with ``sklearn.linear_model.LogisticRegression(C=1 / alpha)`` on scores of 0 and 1.
    Measured: docs/benchmarks/routers.md.

    References
    ----------
    Cox, "The regression analysis of binary sequences", JRSS B 20(2), 1958. As a router: the
    per-model success predictor of Hybrid LLM (arXiv:2404.14618) and FORC (arXiv:2308.06077) with
    a linear model in the place of their encoders.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Cox, JRSS B 20(2), 1958; Sakota et al., FORC, arXiv:2308.06077",
    )

    def __init__(self, *, encoder: Encoder | None = None, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ConfigError(f"alpha must be positive, got {alpha!r}")
        self._text = Text(encoder)
        self._alpha = alpha
        self._head: LinearHead | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the encoder on the prompts and every column on its observed rows."""
        target_NM = check(requests, target_NM, pool)
        if np.nanmin(target_NM) < 0 or np.nanmax(target_NM) > 1:
            raise ConfigError(
                f"a logistic regression needs scores from 0 to 1, got {np.nanmin(target_NM):g} to "
                f"{np.nanmax(target_NM):g}; for other targets use 'ridge'"
            )
        x_ND = self._text.fit(requests)
        self._head = _newton(Matrix(x_ND), target_NM, self._alpha).head(target_NM, pool)
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the chances, between 0 and 1, shape (N, len(pool))."""
        head = fitted(self._head, self)
        return sigmoid(head.scores(self._text.encode(requests), pool))

    def state(self) -> State:
        """Return the encoder's state, the weights and the intercepts."""
        return fitted(self._head, self).state(self._text)

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._head = LinearHead.restored(state, self._text)
        return self


def _newton(x_ND: Matrix, target_NM: FloatArray, alpha: float) -> Fit:
    """Minimise the penalised cross-entropy of every column by damped Newton steps."""
    seen_NM = (~np.isnan(target_NM)).astype(np.float64)
    aim_NM = np.clip(np.nan_to_num(target_NM), _CERTAIN, 1 - _CERTAIN)
    mean_M = (seen_NM * aim_NM).sum(axis=0) / np.maximum(seen_NM.sum(axis=0), 1)
    mean_M = np.clip(mean_M, _CERTAIN, 1 - _CERTAIN)
    now = Fit(np.zeros((x_ND.shape[1], len(mean_M))), np.log(mean_M / (1 - mean_M)))

    def loss(fit: Fit, logit_NM: FloatArray) -> FloatArray:
        entropy_NM = np.logaddexp(0, logit_NM) - aim_NM * logit_NM
        penalty_M: FloatArray = alpha / 2 * (fit.weights**2).sum(axis=0)
        loss_M: FloatArray = (seen_NM * entropy_NM).sum(axis=0) + penalty_M
        return loss_M

    logit_NM = x_ND.times(now.weights) + now.intercepts
    least_M = loss(now, logit_NM)
    for _ in range(_MOST_STEPS):
        chance_NM = sigmoid(logit_NM)
        slope_NM = np.maximum(chance_NM * (1 - chance_NM), _CERTAIN / 10)
        working_NM = logit_NM + (aim_NM - chance_NM) / slope_NM
        aimed = weighted_ridge(x_ND, working_NM, seen_NM * slope_NM, alpha, start_DM=now.weights)
        share_M = np.ones(len(mean_M))
        for _ in range(30):
            tried = _between(now, aimed, share_M)
            logit_NM = x_ND.times(tried.weights) + tried.intercepts
            tried_loss_M = loss(tried, logit_NM)
            worse_M = tried_loss_M > least_M
            if not worse_M.any():
                break
            share_M = np.where(worse_M, share_M / 2, share_M)
        gain_M = least_M - tried_loss_M
        if (gain_M <= _STILL * np.abs(least_M)).all():
            break
        now, least_M = tried, tried_loss_M
    return now


def _between(start: Fit, end: Fit, share_M: FloatArray) -> Fit:
    return Fit(
        start.weights + share_M * (end.weights - start.weights),
        start.intercepts + share_M * (end.intercepts - start.intercepts),
    )
