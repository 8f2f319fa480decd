"""What kind of question a prompt is, and how well every card does on questions of that kind.

The one decision here: tables know more of a question than its text, namely which data set and task
it was taken from. That is told for the questions fitted on and predicted for new ones, so that a
card's quality is a mean over hundreds of questions and not a weight for every word.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.estimators._columns import (
    check,
    fitted,
    inner,
    nested,
    observed_means,
    place,
    shrunk_means,
)
from polyroute.estimators._linear import Matrix, weighted_ridge
from polyroute.estimators._text import Text, product
from polyroute.pool import Pool
from polyroute.protocols import Encoder, Features, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Kinds"]


class Kinds:
    """Predict the kind of a question, then the mean that each card has on that kind.

    A question that may be of several kinds gets the mean over them, weighted by the fourth power of
    their ridge scores. Without kinds, or with one, there is nothing to predict: the estimator is
    then a plain ridge on the outcomes, the same as `polyroute.estimators.ridge.Ridge`.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    alpha : float, default=10
        Penalty on the squared weights of the ridge; the intercept is free. For rows of length 1.
    strength : float, default=20
        A card's mean on a kind is pulled toward its mean over all questions as if that had been
        seen so many times.
    least : int, default=30
        Kinds of fewer questions are taken for one kind: a mean over six is no surer than a word.

    Raises
    ------
    ConfigError
        If `alpha` is not positive, `strength` is below 0, or `least` below 1.

    Notes
    -----
    Measured: docs/benchmarks/routers.md.

    References
    ----------
    The best model by data set is "Max Expert" of LLMRouterBench, arXiv:2601.07206, which is told
    what it routes; this one has to guess it. Indicators as targets of a linear
    regression: Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*,
    section 4.2.

    Examples
    --------
    >>> from polyroute.pool import ModelCard
    >>> pool = Pool([ModelCard(id="poet"), ModelCard(id="clerk")])
    >>> told = ["rhyme", "sum"] * 8
    >>> asked = [Request.of(f"a {kind} please") for kind in told]
    >>> right = np.array([[1.0, 0.0], [0.0, 1.0]] * 8)
    >>> kinds = Kinds(alpha=0.1, strength=0, least=5).tell(told).fit(asked, right, pool)
    >>> kinds.predict([Request.of("one sum, please")], pool).round(1)
    array([[0., 1.]])
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 4.2",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        alpha: float = 10.0,
        strength: float = 20.0,
        least: int = 30,
    ) -> None:
        if not alpha > 0:
            raise ConfigError(f"alpha must be positive, got {alpha!r}")
        if not strength >= 0:
            raise ConfigError(f"strength must be 0 or more, got {strength!r}")
        if least < 1:
            raise ConfigError(f"least must be 1 or more, got {least!r}")
        self._text = Text(encoder)
        self._least = least
        self._alpha = alpha
        self._strength = strength
        self._told: tuple[str, ...] = ()
        self._learned: _Learned | None = None

    def tell(self, kinds: Sequence[str]) -> Self:
        """Say of what kind each question is that `fit` will get; return self."""
        self._told = tuple(kinds)
        return self

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the ridge, to indicators of the kinds or to the outcomes, and the means by kind.

        Raises
        ------
        ConfigError
            If the shapes do not fit, nothing was observed at all, or other questions were told of.
        """
        target_NM = check(requests, target_NM, pool)
        if self._told and len(self._told) != len(requests):
            raise ConfigError(
                f"the kinds of {len(self._told)} questions were told, and {len(requests)} are to "
                "be fitted; tell the kind of each"
            )
        count = Counter(self._told)
        kinds = ["" if count[kind] < self._least else f"+{kind}" for kind in self._told]
        names, kind_N = np.unique(np.array(kinds, np.str_), return_inverse=True)
        means_KM: FloatArray | None = None
        aim_NK = target_NM
        if len(names) > 1:
            aim_NK = np.eye(len(names))[kind_N]
            seen_NM = ~np.isnan(target_NM)
            means_KM = shrunk_means(
                aim_NK.T @ np.where(seen_NM, target_NM, 0.0),
                aim_NK.T @ seen_NM,
                observed_means(target_NM),
                self._strength,
            )
        x_ND = Matrix(self._text.fit(requests))
        seen_NK = (~np.isnan(aim_NK)).astype(np.float64)
        found = weighted_ridge(x_ND, aim_NK, seen_NK, self._alpha)
        bias_K = np.where(np.isnan(aim_NK).all(axis=0), np.nan, found.intercepts)
        self._learned = _Learned(pool.ids, found.weights.astype(np.float32), bias_K, means_KM)
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the predictions, shape (N, len(pool)); not clipped where no kinds were told."""
        learned = fitted(self._learned, self)
        return place(learned.scores(self._text.encode(requests)), learned.ids, pool)

    def state(self) -> State:
        """Return the encoder's state, the ridge, and the means by kind where there are kinds."""
        learned, text = fitted(self._learned, self), self._text.state()
        own: dict[str, NDArray[Any]] = {
            "weights_DK": learned.weights_DK,
            "intercepts_K": learned.intercepts_K,
        }
        if learned.means_KM is not None:
            own["means_KM"] = learned.means_KM
        return State(
            arrays={**own, **nested("text", text)},
            values={"cards": list(learned.ids), "text": text.values},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._text.restore(inner("text", state, state.values["text"]))
        means_KM = state.arrays.get("means_KM")
        self._learned = _Learned(
            tuple(state.values["cards"]),
            np.asarray(state.arrays["weights_DK"]),
            np.asarray(state.arrays["intercepts_K"]),
            None if means_KM is None else np.asarray(means_KM),
        )
        return self


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    """A linear head, and what its outputs stand for: kinds with means, or the cards themselves."""

    ids: tuple[str, ...]
    weights_DK: NDArray[np.float32]
    intercepts_K: FloatArray
    means_KM: FloatArray | None

    def scores(self, x_ND: Features) -> FloatArray:
        """Return the value of every card, shape (N, M)."""
        score_NK = product(x_ND, self.weights_DK) + self.intercepts_K
        if self.means_KM is None:
            return np.asarray(score_NK, np.float64)
        chance_NK = np.maximum(score_NK, 1e-6)  # a question is of some kind
        chance_NK *= chance_NK
        chance_NK *= chance_NK
        chance_NK /= np.add.reduce(chance_NK, axis=1, keepdims=True)
        return np.asarray(chance_NK.dot(self.means_KM))
