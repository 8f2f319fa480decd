"""Gradient-boosted trees on reduced text features, one ensemble per card.

The one decision here: scikit-learn grows the trees, numpy walks them. The nodes are exported as
arrays, and a prediction adds the leaves in the same order, so that the numbers are the same to the
last bit and serving needs no scikit-learn.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._text import Text, dense
from polyroute.pool import Pool
from polyroute.protocols import Encoder, Features, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Boosting"]

_NODES = ("feature", "threshold", "left", "right", "value", "root", "card", "baseline")
"""Arrays of the trees: five per node (a leaf has itself as both children), two per tree, one per
card."""


class Boosting:
    """Predict each card by boosted regression trees (histogram gradient boosting).

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    dimensions : int, optional, default=32
        Reduce the features to that many columns first; null leaves them as they are, for encoders
        that are dense and narrow.
    trees : int, default=60
        Trees per card.
    leaves : int, default=8
        Most leaves of a tree.
    learning_rate : float, default=0.05
        What share of a tree is added.
    smallest_leaf : int, default=20
        Fewest questions in a leaf.
    seed : int, default=0
        Of the reduction, and of the sample that histograms are made from.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    The length of the prompt (logarithm of its characters) is one more feature: trees use what is
    neither linear nor in the words. Measured: docs/benchmarks/routers.md.

    References
    ----------
    Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics
    29(5), 2001. Ke et al., "LightGBM", NeurIPS 2017, whose histograms scikit-learn's follow.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Friedman, Annals of Statistics 29(5), 2001; Ke et al., NeurIPS 2017",
    )

    def __init__(  # noqa: PLR0913 - an ensemble has its hyper-parameters
        self,
        *,
        encoder: Encoder | None = None,
        dimensions: int | None = 32,
        trees: int = 60,
        leaves: int = 8,
        learning_rate: float = 0.05,
        smallest_leaf: int = 20,
        seed: int = 0,
    ) -> None:
        if min(trees, smallest_leaf) < 1 or leaves < 2:
            raise ConfigError(
                "trees and smallest_leaf must be 1 or more and leaves 2 or more, got "
                f"{trees!r}, {smallest_leaf!r} and {leaves!r}"
            )
        if not learning_rate > 0:
            raise ConfigError(f"learning_rate must be positive, got {learning_rate!r}")
        self._text = Text(encoder, dimensions=dimensions, seed=seed)
        self._trees = trees
        self._leaves = leaves
        self._learning_rate = learning_rate
        self._smallest_leaf = smallest_leaf
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._nodes: dict[str, NDArray[Any]] = {}

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the encoder on the prompts, and every card's trees on its observed rows."""
        target_NM = check(requests, target_NM, pool)
        x_ND = _columns(self._text.fit(requests), requests)
        forest = _Forest(len(pool))
        for j in range(len(pool)):
            seen = np.flatnonzero(~np.isnan(target_NM[:, j]))
            if len(seen) > 1 and np.ptp(target_NM[seen, j]) > 0:
                forest.add(j, self._grown(x_ND[seen], target_NM[seen, j]))
            elif len(seen):
                forest.baseline_M[j] = target_NM[seen[0], j]
        self._nodes = forest.arrays()
        self._ids = pool.ids
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the sums over the trees, shape (N, len(pool)); not clipped."""
        ids = fitted(self._ids, self)
        x_ND = _columns(self._text.encode(requests), requests)
        rows = [_walk(self._nodes, x_ND[k : k + 64]) for k in range(0, len(x_ND), 64)]
        return place(np.concatenate([np.empty((0, len(ids))), *rows]), ids, pool)

    def state(self) -> State:
        """Return the encoder's state and the nodes of the trees."""
        ids = fitted(self._ids, self)
        text = self._text.state()
        return State(
            arrays={**self._nodes, **nested("text", text)},
            values={"cards": list(ids), "text": text.values},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._text.restore(inner("text", state, state.values["text"]))
        self._nodes = {name: state.arrays[name] for name in _NODES}
        self._ids = tuple(state.values["cards"])
        return self

    def _grown(self, x_ND: FloatArray, target_N: FloatArray) -> Any:  # noqa: ANN401
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ImportError as error:
            raise MissingExtraError(
                "boosting needs scikit-learn; run: pip install 'polyroute[learn]'"
            ) from error
        return HistGradientBoostingRegressor(
            max_iter=self._trees,
            max_leaf_nodes=self._leaves,
            learning_rate=self._learning_rate,
            min_samples_leaf=self._smallest_leaf,
            early_stopping=False,
            random_state=self._seed,
        ).fit(x_ND, target_N)


class _Forest:
    """Collects the nodes of all trees of all cards."""

    def __init__(self, cards: int) -> None:
        self.baseline_M = np.full(cards, np.nan)
        self._trees: list[Any] = []
        self._cards: list[int] = []

    def add(self, card: int, model: Any) -> None:  # noqa: ANN401
        self.baseline_M[card] = float(model._baseline_prediction.item())
        for (tree,) in model._predictors:
            self._trees.append(tree.nodes)
            self._cards.append(card)

    def arrays(self) -> dict[str, NDArray[Any]]:
        sizes = np.array([len(nodes) for nodes in self._trees], np.int64)
        root = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        offset = np.repeat(root[:-1], sizes)
        leaf = self._all("is_leaf", np.bool_)
        itself = np.arange(root[-1])
        return {
            "feature": np.where(leaf, 0, self._all("feature_idx", np.int64)),
            "threshold": np.where(leaf, 0.0, self._all("num_threshold", np.float64)),
            "left": np.where(leaf, itself, self._all("left", np.int64) + offset),
            "right": np.where(leaf, itself, self._all("right", np.int64) + offset),
            "value": self._all("value", np.float64),
            "root": root[:-1],
            "card": np.array(self._cards, np.int64),
            "baseline": self.baseline_M,
        }

    def _all(self, name: str, dtype: Any) -> NDArray[Any]:  # noqa: ANN401
        parts = [np.asarray(nodes[name], dtype) for nodes in self._trees]
        return np.concatenate([np.empty(0, dtype), *parts])


def _columns(x_ND: Features, requests: Sequence[Request]) -> FloatArray:
    """Return the features, and the logarithm of each prompt's length."""
    length_N = np.log1p([len(request.prompt) for request in requests])
    return np.column_stack([dense(x_ND), length_N])


def _walk(nodes: dict[str, NDArray[Any]], x_ND: FloatArray) -> FloatArray:
    """Return each card's baseline plus its trees' leaves, added in the order they were grown."""
    at_NT = np.tile(nodes["root"], (len(x_ND), 1))
    row = np.arange(len(x_ND))[:, None]
    while True:
        below_NT = x_ND[row, nodes["feature"][at_NT]] <= nodes["threshold"][at_NT]
        next_NT = np.where(below_NT, nodes["left"][at_NT], nodes["right"][at_NT])
        if np.array_equal(next_NT, at_NT):
            break
        at_NT = next_NT
    value_NT = nodes["value"][at_NT]
    sum_NM = np.tile(nodes["baseline"], (len(x_ND), 1))
    for card in np.unique(nodes["card"]):
        own_NT = value_NT[:, nodes["card"] == card]
        # a running sum adds strictly in order; a plain one may add in pairs
        sum_NM[:, card] = np.cumsum(np.column_stack([sum_NM[:, card], own_NT]), axis=1)[:, -1]
    return sum_NM
