"""Support vector regression on text features, one linear machine per card.

The one decision here: regression, not classification of the best card. A score between 0 and 1 is
what the other estimators predict, ties between cards carry no information to classify, and a
policy needs numbers that it can weigh against a price.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import check, fitted
from polyroute.estimators._linear import Fit, LinearHead
from polyroute.estimators._text import Text
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.sparse import Sparse
from polyroute.types import Request

__all__ = ["SupportVectors"]


class SupportVectors:
    """Predict each card by a linear support vector machine on the rows where it was observed.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    c : float, default=0.05
        Weight of the errors against the squared weights; smaller is smoother.
    epsilon : float, default=0
        Errors up to that size cost nothing.
    loss : {"squared", "absolute"}, default="squared"
        How an error beyond `epsilon` counts. "absolute" is the classic machine; on scores of 0
        and 1 it predicts a median, so it answers "which is likelier" rather than "how likely".
    seed : int, default=0
        Of the order in which the solver visits the rows.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Scores are centred on the card's mean first, since the solver also penalises the intercept.
    LLMRouter's and RouterBench's SVM baselines classify or regress with a kernel on a sentence
    embedding; this one is linear so that serving is one product. Measured:
    docs/benchmarks/routers.md.

    References
    ----------
    Ho and Lin, "Large-scale linear support vector regression", JMLR 13, 2012. As a router: Hu et
    al., "RouterBench", arXiv:2403.12031.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Ho and Lin, JMLR 13, 2012; Hu et al., RouterBench, arXiv:2403.12031",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        c: float = 0.05,
        epsilon: float = 0.0,
        loss: Literal["squared", "absolute"] = "squared",
        seed: int = 0,
    ) -> None:
        if not c > 0 or epsilon < 0:
            raise ConfigError(
                f"c must be positive and epsilon 0 or more, got {c!r} and {epsilon!r}"
            )
        if loss not in {"squared", "absolute"}:
            raise ConfigError(f"loss must be 'squared' or 'absolute', got {loss!r}")
        self._text = Text(encoder)
        self._c = c
        self._epsilon = epsilon
        self._loss = loss
        self._seed = seed
        self._head: LinearHead | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the encoder on the prompts and every column on its observed rows."""
        target_NM = check(requests, target_NM, pool)
        x_ND = self._text.fit(requests)
        matrix = x_ND.to_scipy() if isinstance(x_ND, Sparse) else x_ND
        weights_DM = np.zeros((x_ND.shape[1], len(pool)))
        intercepts_M = np.zeros(len(pool))
        for j in range(len(pool)):
            seen = np.flatnonzero(~np.isnan(target_NM[:, j]))
            if len(seen):
                mean = target_NM[seen, j].mean()
                machine = self._machine().fit(matrix[seen], target_NM[seen, j] - mean)
                weights_DM[:, j] = machine.coef_
                intercepts_M[j] = mean + machine.intercept_[0]
        self._head = Fit(weights_DM, intercepts_M).head(target_NM, pool)
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

    def _machine(self) -> Any:  # noqa: ANN401 - scikit-learn publishes no annotations
        try:
            from sklearn.svm import LinearSVR
        except ImportError as error:
            raise MissingExtraError(
                "support vector machines need scikit-learn; run: pip install 'polyroute[learn]'"
            ) from error
        squared = self._loss == "squared"
        return LinearSVR(
            C=self._c,
            epsilon=self._epsilon,
            loss="squared_epsilon_insensitive" if squared else "epsilon_insensitive",
            dual=True,
            tol=1e-3,
            max_iter=20_000,
            random_state=self._seed,
        )
