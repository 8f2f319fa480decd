"""Clusters of questions, and how well every card does on each.

The one decision here: a card's quality on a cluster is a mean shrunk toward what the card and the
cluster promise apart (the card's mean plus how much easier or harder the cluster is for everybody),
so that a cluster of five questions does not decide, and a new card needs only a few probes.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

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
from polyroute.estimators._text import Lines, Text, dense
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Clusters"]


class Clusters:
    """Group the questions by k-means, and predict each card's shrunk mean in the nearest groups.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    clusters : int, default=64
        Most clusters; there is at least one question to each.
    nearest : int, default=3
        Average over that many clusters, those whose centres are nearest to the question.
    strength : float, default=10
        A cluster's mean is pulled toward its prior as if that had been seen so many times.
    dimensions : int, optional, default=64
        Reduce the features to that many columns first; null leaves them as they are.
    seed : int, default=0
        Of the reduction and of k-means.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Avengers-Pro has 60 clusters of a 4,096-dimensional embedding, and reports an average accuracy
    of 66.7 % over six benchmarks, 7 % above its strongest single model; UniRoute represents an
    unseen model by its errors on each cluster. Neither embedding is used here.
    Measured: docs/benchmarks/routers.md.

    References
    ----------
    Zhang et al., "Beyond GPT-5: Making LLMs Cheaper and Better via Performance-Efficiency
    Optimized Routing" (Avengers-Pro), arXiv:2508.12631. Jitkrittum et al., "Universal
    Model Routing for Efficient LLM Inference" (UniRoute), arXiv:2502.08773.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Zhang et al., Avengers-Pro, arXiv:2508.12631; Jitkrittum et al., arXiv:2502.08773",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        clusters: int = 64,
        nearest: int = 3,
        strength: float = 10.0,
        dimensions: int | None = 64,
        seed: int = 0,
    ) -> None:
        if clusters < 1 or nearest < 1:
            raise ConfigError(
                f"clusters and nearest must be 1 or more, got {clusters!r} and {nearest!r}"
            )
        if not strength > 0:
            raise ConfigError(f"strength must be positive, got {strength!r}")
        self._text = Text(encoder, dimensions=dimensions, seed=seed)
        self._clusters = clusters
        self._nearest = nearest
        self._strength = strength
        self._seed = seed
        self._map: _Map | None = None
        self._distance: Lines | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Find the clusters, and every card's mean in each."""
        target_NM = check(requests, target_NM, pool)
        x_ND = dense(self._text.fit(requests))
        centres_CD = _centres(x_ND, self._clusters, self._seed)
        cluster_N = _distances(x_ND, centres_CD).argmin(axis=1)
        surplus_NM = target_NM - observed_means(target_NM)
        effect_C = _means_by(cluster_N, surplus_NM, len(centres_CD), self._strength)
        bare = _Map(centres=centres_CD, effects=effect_C)
        self._map = bare.with_cards(cluster_N, target_NM, pool.ids, self._strength)
        self._distance = _lines(self._text, centres_CD)
        return self

    def onboard(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Return an estimator that knows the cards of `pool` from probes, besides the old ones.

        Parameters
        ----------
        requests : sequence of Request, length N
            The probes: any questions, a handful or more.
        target_NM : ndarray of shape (N, M)
            What the cards of `pool` scored on them; NaN where not observed.
        pool : Pool
            The new cards. One that was fitted before is replaced.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        NotFittedError
            Before `fit` or `restore`.
        """
        known = fitted(self._map, self)
        target_NM = check(requests, target_NM, pool)
        cluster_N = fitted(self._distance, self)(requests).argmin(axis=1)
        wider = copy(self)
        wider._map = known.with_cards(cluster_N, target_NM, pool.ids, self._strength)
        return wider

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the means of the nearest clusters, shape (N, len(pool))."""
        known = fitted(self._map, self)
        distance_NC = fitted(self._distance, self)(requests)
        near_NK = distance_NC.argsort(axis=1, kind="stable")[:, : self._nearest]
        return place(known.means[near_NK].sum(axis=1) / near_NK.shape[1], known.ids, pool)

    def state(self) -> State:
        """Return the encoder's state, the centres and the means."""
        known = fitted(self._map, self)
        text = self._text.state()
        arrays = {
            "centres_CD": known.centres, "effects_C": known.effects, "means_CM": known.means
        }  # fmt: skip
        return State(
            arrays={**arrays, **nested("text", text)},
            values={"cards": list(known.ids), "text": text.values},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._text.restore(inner("text", state, state.values["text"]))
        self._map = _Map(
            centres=state.arrays["centres_CD"],
            effects=state.arrays["effects_C"],
            means=state.arrays["means_CM"],
            ids=tuple(state.values["cards"]),
        )
        self._distance = _lines(self._text, self._map.centres)
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Map:
    """C clusters, and the cards known on them."""

    centres: FloatArray
    """Shape (C, D)."""
    effects: FloatArray
    """How much above a card's mean its scores lie on a cluster, over all fitted cards: (C,)."""
    means: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    """Shape (C, M)."""
    ids: tuple[str, ...] = ()

    def with_cards(
        self,
        cluster_N: NDArray[np.int64],
        target_NM: FloatArray,
        ids: tuple[str, ...],
        strength: float,
    ) -> "_Map":
        """Return the map that also knows the cards `ids`, from their scores."""
        count = len(self.effects)
        level_M = observed_means(target_NM - self.effects[cluster_N][:, None])
        prior_CM = level_M + self.effects[:, None]
        seen_NM = ~np.isnan(target_NM)
        weight_CM, total_CM = (np.zeros((count, len(ids))) for _ in range(2))
        np.add.at(weight_CM, cluster_N, seen_NM)
        np.add.at(total_CM, cluster_N, np.where(seen_NM, target_NM, 0.0))
        means_CM = shrunk_means(total_CM, weight_CM, prior_CM, strength)
        old = [j for j, card_id in enumerate(self.ids) if card_id not in ids]
        old_CM = self.means[:, old] if old else np.empty((count, 0))
        return replace(
            self,
            means=np.hstack([old_CM, means_CM]),
            ids=(*(self.ids[j] for j in old), *ids),
        )


def _distances(x_ND: FloatArray, centres_CD: FloatArray) -> FloatArray:
    """Return squared distances less the length of x, which is the same for every centre."""
    distance_NC: FloatArray = (centres_CD**2).sum(axis=1) - 2 * x_ND @ centres_CD.T
    return distance_NC


def _lines(text: Text, centres_CD: FloatArray) -> Lines:
    """Return the same `_distances` as functions of what the encoder says."""
    return text.lines(-2 * centres_CD.T, (centres_CD**2).sum(axis=1))


def _means_by(
    cluster_N: NDArray[np.int64], value_NM: FloatArray, clusters: int, strength: float
) -> FloatArray:
    """Return the mean of all observed values of each cluster, pulled toward zero."""
    seen_NM = ~np.isnan(value_NM)
    total_C, weight_C = np.zeros(clusters), np.zeros(clusters)
    np.add.at(total_C, cluster_N, np.where(seen_NM, value_NM, 0.0).sum(axis=1))
    np.add.at(weight_C, cluster_N, seen_NM.sum(axis=1))
    return shrunk_means(total_C, weight_C, np.zeros(clusters), strength)


def _centres(x_ND: FloatArray, clusters: int, seed: int) -> FloatArray:
    distinct = len(np.unique(x_ND, axis=0))
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise MissingExtraError(
            "k-means needs scikit-learn; run: pip install 'polyroute[learn]'"
        ) from error
    model = KMeans(min(clusters, distinct), n_init=4, random_state=seed).fit(x_ND)
    return np.asarray(model.cluster_centers_, np.float64)
