"""Requests as features: what an encoder says of the prompts, reduced to a few dense columns or not.

The one decision here: an estimator owns its encoder. It fits it, stores what it learned inside its
own state, and reads the prompt (the last user message) and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import inner, nested
from polyroute.protocols import Encoder, Features, FloatArray, State
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.sparse import Sparse
from polyroute.types import Request

__all__ = ["Lines", "Text", "default_encoder", "dense", "product"]

_SLICE = 256
"""Rows that are multiplied at a time."""


def default_encoder() -> Encoder:
    """Return TF-IDF over words and pairs of words that two texts hold, counts as 1 + ln n."""
    return TfIdf(of_words=(1, 2), min_df=2, sublinear=True)


class Text:
    """An encoder, and optionally the truncated singular value decomposition of what it says.

    Parameters
    ----------
    encoder : Encoder or None
        `None`: `default_encoder`.
    dimensions : int or None, default=None
        Project onto that many leading singular vectors of the training features, not centred
        (latent semantic analysis). `None`, or not fewer than the encoder has: leave them alone.
    seed : int, default=0
        Of the randomised decomposition.
    """

    def __init__(
        self, encoder: Encoder | None, *, dimensions: int | None = None, seed: int = 0
    ) -> None:
        if dimensions is not None and dimensions < 1:
            raise ConfigError(f"dimensions must be 1 or more, or null; got {dimensions!r}")
        self._encoder = default_encoder() if encoder is None else encoder
        self._dimensions = dimensions
        self._seed = seed
        self._projection_DK: NDArray[np.float32] | None = None

    def fit(self, requests: Sequence[Request]) -> Features:
        """Fit the encoder and the projection; return the features of `requests`."""
        texts = [request.prompt for request in requests]
        raw = self._encoder.fit(texts).encode(texts)
        wide = self._dimensions is not None and raw.shape[1] > self._dimensions
        if wide and self._dimensions is not None:
            self._projection_DK = _leading_vectors(raw, self._dimensions, self._seed)
        else:
            self._projection_DK = None
        return self._projected(raw)

    def encode(self, requests: Sequence[Request]) -> Features:
        """Return the features of `requests`, shape (N, D) or (N, dimensions)."""
        return self._projected(self._raw(requests))

    def lines(self, weights_KL: FloatArray, bias_L: FloatArray) -> "Lines":
        """Return L linear functions of what `encode` returns, to be served as one product."""
        if self._projection_DK is not None:
            weights_KL = self._projection_DK @ weights_KL
        return Lines(self._raw, weights_KL.astype(np.float32), bias_L)

    def state(self) -> State:
        """Return the encoder's state and the projection."""
        encoder = self._encoder.state()
        arrays = nested("encoder", encoder)
        if self._projection_DK is not None:
            arrays["projection_DK"] = self._projection_DK
        return State(arrays=arrays, values={"encoder": encoder.values})

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._encoder.restore(inner("encoder", state, state.values["encoder"]))
        self._projection_DK = state.arrays.get("projection_DK")
        return self

    def _raw(self, requests: Sequence[Request]) -> Features:
        return self._encoder.encode([request.prompt for request in requests])

    def _projected(self, raw: Features) -> Features:
        if self._projection_DK is None:
            return raw
        return product(raw, self._projection_DK).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Linear functions of projected features, on the features before the projection."""

    features: Callable[[Sequence[Request]], Features]
    weights: NDArray[np.float32]
    """Shape (D, L)."""
    bias: FloatArray
    """Shape (L,)."""

    def __call__(self, requests: Sequence[Request]) -> FloatArray:
        """Return the values, shape (N, L)."""
        value_NL: FloatArray = product(self.features(requests), self.weights) + self.bias
        return value_NL


def product(x_ND: Features, weights_DM: NDArray[np.float32]) -> NDArray[Any]:
    """Return features times weights, shape (N, M).

    Many rows are taken in slices: a sparse product needs memory for every value.
    """
    bounds = range(0, len(x_ND), _SLICE)
    if isinstance(x_ND, Sparse):
        if len(bounds) <= 1:
            return x_ND @ weights_DM
        parts = [x_ND.rows(np.arange(k, min(k + _SLICE, len(x_ND)))) for k in bounds]
        return np.concatenate([part @ weights_DM for part in parts])
    if len(bounds) <= 1:
        return np.asarray(x_ND.dot(weights_DM))  # of one row in half the time of `@`
    return np.concatenate([x_ND[k : k + _SLICE] @ weights_DM for k in bounds])


def dense(x_ND: Features) -> FloatArray:
    """Return features as a dense matrix in double precision."""
    if not isinstance(x_ND, Sparse):
        return x_ND.astype(np.float64)
    dense_ND = np.zeros(x_ND.shape)
    dense_ND[np.repeat(np.arange(len(x_ND)), np.diff(x_ND.starts)), x_ND.columns] = x_ND.values
    return dense_ND


def _leading_vectors(x_ND: Features, dimensions: int, seed: int) -> NDArray[np.float32]:
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError as error:
        raise MissingExtraError(
            "the projection needs scikit-learn; run: pip install 'polyroute[learn]'"
        ) from error
    matrix = x_ND.to_scipy() if isinstance(x_ND, Sparse) else x_ND
    _, _, vectors_KD = randomized_svd(
        matrix, min(dimensions, *matrix.shape), n_iter=4, random_state=seed
    )
    return np.ascontiguousarray(vectors_KD.T, np.float32)
