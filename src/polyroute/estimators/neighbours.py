"""Nearest neighbours: what the candidates scored on the most similar questions seen so far.

The one decision here: similar is the cosine of the features. Sparse features are compared through
an inverted index (a question touches only the rows that share a term with it), dense ones by one
matrix-vector product, or by a faiss index when the configuration asks for it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import (
    check,
    fitted,
    inner,
    nested,
    observed_means,
    place,
    shrunk_means,
)
from polyroute.estimators._text import Text
from polyroute.pool import Pool
from polyroute.protocols import Encoder, Features, FloatArray, Method, State
from polyroute.sparse import Sparse
from polyroute.types import Request

__all__ = ["Neighbours"]

_PROBED, _COMPARED, _BREADTH = 64, 200, 128
"""Lists an "ivf" index looks into and rows there that it compares in full; nodes an "hnsw" index
keeps. What they find, and how fast: docs/benchmarks/decision_time.md."""
_FEW = 1_000
"""Below so many rows there are too few to learn codes from, and lists hold the rows themselves."""


class Neighbours:
    """Average each card over the `k` most similar questions, weighted by similarity.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    k : int, default=50
        Neighbours to look at.
    strength : float, default=1
        The card's mean counts as that many neighbours of similarity 1: a question like none seen
        before gets the mean. 0 leaves it out, except where no neighbour was observed.
    dimensions : int, optional
        Reduce the features to that many columns first (needed for an index over sparse ones).
    index : {"exact", "ivf", "hnsw"}, default="exact"
        How to find the neighbours. "exact" needs numpy only, and is the right choice below about
        10,000 rows; the others are faiss indices, approximate, for more: lists of four-bit codes,
        the best of which are compared in full, and a graph.
    seed : int, default=0
        Of the reduction to `dimensions`.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    A card is averaged over those of the k neighbours on which it was observed. RouterBench
    finds its kNN router level with interpolating between single models; Li finds that a tuned
    one matches or beats learned routers. Measured: docs/benchmarks/routers.md.

    References
    ----------
    Hu et al., "RouterBench", arXiv:2403.12031. Li, "Rethinking Predictive Modeling
    for LLM Routing: When Simple kNN Beats Complex Learned Routers", arXiv:2505.12601.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Hu et al., RouterBench, arXiv:2403.12031; Li, arXiv:2505.12601",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        k: int = 50,
        strength: float = 1.0,
        dimensions: int | None = None,
        index: Literal["exact", "ivf", "hnsw"] = "exact",
        seed: int = 0,
    ) -> None:
        if k < 1:
            raise ConfigError(f"k must be 1 or more, got {k!r}")
        if strength < 0:
            raise ConfigError(f"strength must be 0 or more, got {strength!r}")
        if index not in {"exact", "ivf", "hnsw"}:
            raise ConfigError(f"index must be 'exact', 'ivf' or 'hnsw', got {index!r}")
        self._text = Text(encoder, dimensions=dimensions, seed=seed)
        self._k = k
        self._strength = strength
        self._kind = index
        self._ids: tuple[str, ...] | None = None
        self._target_NM: FloatArray = np.empty((0, 0))
        self._mean_M: FloatArray = np.empty(0)
        self._whole = False
        self._rows: _Rows = _Dense(np.empty((0, 0), np.float32))

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Keep the features and outcomes of every request on which a card was observed."""
        target_NM = check(requests, target_NM, pool)
        x_ND = _unit(self._text.fit(requests))
        seen_N = np.flatnonzero(~np.isnan(target_NM).all(axis=1))
        kept_ND = x_ND.rows(seen_N) if isinstance(x_ND, Sparse) else x_ND[seen_N]
        self._target_NM = target_NM[seen_N]
        self._whole = not np.isnan(self._target_NM).any()
        self._mean_M = observed_means(target_NM)
        self._rows = _indexed(kept_ND, self._kind)
        self._ids = pool.ids
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the weighted means, shape (N, len(pool))."""
        ids = fitted(self._ids, self)
        x_ND = _unit(self._text.encode(requests))
        predicted = [self._one(x_ND, n) for n in range(len(requests))]
        return place(np.array(predicted).reshape(len(requests), len(ids)), ids, pool)

    def _one(self, x_ND: Features, n: int) -> FloatArray:
        near, similarity = self._rows.nearest(x_ND, n, min(self._k, len(self._target_NM)))
        target_KM = self._target_NM[near]
        if self._whole:  # every card on every question: one weight for all cards
            weight_K = np.maximum(similarity, 0.0)
            mass_M = np.full(target_KM.shape[1], weight_K.sum())
            return shrunk_means(weight_K @ target_KM, mass_M, self._mean_M, self._strength)
        weight_KM = np.where(np.isnan(target_KM), 0.0, np.maximum(similarity, 0.0)[:, None])
        total_M = (weight_KM * np.nan_to_num(target_KM)).sum(axis=0)
        return shrunk_means(total_M, weight_KM.sum(axis=0), self._mean_M, self._strength)

    def state(self) -> State:
        """Return the encoder's state, the rows and their outcomes."""
        ids = fitted(self._ids, self)
        text = self._text.state()
        arrays = {"target_NM": self._target_NM, "mean_M": self._mean_M}
        return State(
            arrays={**arrays, **self._rows.arrays(), **nested("text", text)},
            values={"cards": list(ids), "text": text.values, "width": self._rows.width},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._text.restore(inner("text", state, state.values["text"]))
        self._target_NM = state.arrays["target_NM"]
        self._whole = not np.isnan(self._target_NM).any()
        self._mean_M = state.arrays["mean_M"]
        self._rows = _rows_of(state)
        self._ids = tuple(state.values["cards"])
        return self


def _unit(x_ND: Features) -> Features:
    """Return rows of length 1; rows of zeros stay."""
    if isinstance(x_ND, Sparse):
        row = np.repeat(np.arange(len(x_ND)), np.diff(x_ND.starts))
        square_N = np.bincount(
            row, weights=x_ND.values.astype(np.float64) ** 2, minlength=len(x_ND)
        )
        values = x_ND.values / np.sqrt(np.where(square_N > 0, square_N, 1.0))[row]
        return Sparse(
            starts=x_ND.starts,
            columns=x_ND.columns,
            values=values.astype(np.float32),
            width=x_ND.width,
        )
    length_N = np.sqrt((x_ND.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (x_ND / np.where(length_N > 0, length_N, 1.0)).astype(np.float32)


def _largest(similarity_N: NDArray[Any], k: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the k rows of largest similarity and their similarities; among equals the first."""
    if k < len(similarity_N):
        least = np.partition(similarity_N, len(similarity_N) - k)[len(similarity_N) - k]
        candidates = np.flatnonzero(similarity_N >= least)
    else:
        candidates = np.arange(len(similarity_N))
    near = candidates[np.argsort(-similarity_N[candidates], kind="stable")[:k]]
    return near, similarity_N[near].astype(np.float64)


class _Dense:
    """Rows of a dense matrix."""

    def __init__(self, x_ND: NDArray[np.float32]) -> None:
        self._x_ND = x_ND
        self.width = x_ND.shape[1]

    def nearest(self, x_ND: Features, n: int, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        return _largest(self._x_ND @ np.asarray(x_ND)[n], k)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"rows_ND": self._x_ND}


class _Inverted:
    """For every term, the rows that hold it and its value there."""

    def __init__(
        self,
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        values: NDArray[np.float32],
        length: int,
    ) -> None:
        self._starts, self._rows, self._values, self._length = starts, rows, values, length
        self.width = len(starts) - 1

    @classmethod
    def of(cls, x_ND: Sparse) -> "_Inverted":
        order = np.argsort(x_ND.columns, kind="stable")
        row = np.repeat(np.arange(len(x_ND), dtype=np.int32), np.diff(x_ND.starts))
        count_D = np.bincount(x_ND.columns, minlength=x_ND.width)
        starts = np.concatenate([[0], np.cumsum(count_D)]).astype(np.int64)
        return cls(starts, row[order], x_ND.values[order], len(x_ND))

    def nearest(self, x_ND: Features, n: int, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        if not isinstance(x_ND, Sparse):
            raise ConfigError("the encoder gives dense rows, but the state is of sparse ones")
        own = slice(x_ND.starts[n], x_ND.starts[n + 1])
        terms, weights = x_ND.columns[own], x_ND.values[own]
        first, size = self._starts[terms], self._starts[terms + 1] - self._starts[terms]
        ends = np.cumsum(size)
        take = np.repeat(first - (ends - size), size) + np.arange(ends[-1] if len(ends) else 0)
        products = self._values[take] * np.repeat(weights, size)
        similarity_N = np.bincount(self._rows[take], weights=products, minlength=self._length)
        return _largest(similarity_N, k)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "posting_starts": self._starts,
            "posting_rows": self._rows,
            "posting_values": self._values,
            "length": np.array(self._length),
        }


class _Faiss:
    """A faiss index, stored as the bytes faiss itself writes."""

    def __init__(self, serialized: NDArray[np.uint8]) -> None:
        self._serialized = serialized
        self._index = _faiss().deserialize_index(serialized)
        self._compares = hasattr(self._index, "k_factor")
        self.width = int(self._index.d)

    @classmethod
    def of(cls, x_ND: NDArray[np.float32], kind: str) -> "_Faiss":
        faiss, length, width = _faiss(), len(x_ND), x_ND.shape[1]
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, 16, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = _BREADTH
        else:
            lists = max(1, min(int(1.6 * np.sqrt(length)), length // 39))
            parts = width if width % 2 else width // 2  # each a code of four bits
            codes = "Flat" if length < _FEW else f"PQ{parts}x4fsr,RFlat"
            index = faiss.index_factory(width, f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)
            index.train(x_ND)
            faiss.extract_index_ivf(index).nprobe = min(_PROBED, lists)  # more finds wrong rows
        index.add(x_ND)
        return cls(faiss.serialize_index(index))

    def nearest(self, x_ND: Features, n: int, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        if self._compares:
            self._index.k_factor = max(4.0, _COMPARED / k)
        similarity, near = self._index.search(np.asarray(x_ND)[n : n + 1], k)
        found = near[0] >= 0
        return near[0][found], similarity[0][found].astype(np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"faiss": self._serialized}


_Rows = _Dense | _Inverted | _Faiss


def _indexed(x_ND: Features, kind: str) -> _Rows:
    if kind == "exact":
        return _Inverted.of(x_ND) if isinstance(x_ND, Sparse) else _Dense(x_ND)
    if isinstance(x_ND, Sparse):
        raise ConfigError(
            f"index {kind!r} needs dense features, and the encoder gives sparse ones: set "
            "'dimensions' (256, say) below the encoder's number of terms, or index to 'exact'"
        )
    return _Faiss.of(x_ND, kind)


def _rows_of(state: State) -> _Rows:
    arrays = state.arrays
    if "faiss" in arrays:
        return _Faiss(arrays["faiss"])
    if "rows_ND" in arrays:
        return _Dense(arrays["rows_ND"])
    return _Inverted(
        arrays["posting_starts"],
        arrays["posting_rows"],
        arrays["posting_values"],
        int(arrays["length"]),
    )


def _faiss() -> Any:  # noqa: ANN401 - faiss publishes no annotations
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "a faiss index needs faiss-cpu; run: pip install 'polyroute[learn]'"
        ) from error
    return faiss
