"""Message passing over a graph of questions and cards.

The one decision here: a new question is one more node. It is joined to the recorded questions it
resembles, hears from the cards through their edges, and its own edges are predicted; nothing is
fitted anew. Training hides a question's own edges, so that it learns under the same conditions.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Projection, Span, sigmoid, unit_rows
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Graph"]


class Graph:
    """Two rounds of messages, questions to cards and cards to a question; then a score per edge.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    hidden : int, default=32
        Length of a node's vector, H.
    neighbours : int, default=48
        Recorded questions a question is joined to.
    epochs : int, default=12
        Passes over all questions.
    rate : float, default=0.003
        Learning rate of Adam.
    penalty : float, default=1.0
        Decoupled weight decay, per step in units of `rate`.
    dims : int, default=128
        Dimensions of the question space.
    seed : int, default=0
        Of the start.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    With e the vector of a card j, g its gradient of outcomes over the text features (the mean over
    its questions of outcome above the card's mean, times features), x the features of a question
    and r_j the mean outcome of card j on the neighbours above j's own mean:

    * card: ``h_j = relu(e_j + B g_j)``;
    * question: ``h = relu(P x + sum over j of r_j (C h_j))``;
    * edge: ``sigmoid(bias_j + h . (U h_j) + u r_j)``.

    Fitting needs torch; predicting is numpy. The paper has a third kind of node, the task, and
    starts a card from the embedding of its description; a question here finds its task by its
    neighbours.

    References
    ----------
    GraphRouter (Feng, Shen and You, arXiv:2410.03834): edge prediction on a heterogeneous graph
    of tasks, queries and models, inductive in queries.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="GraphRouter, Feng et al., arXiv:2410.03834",
    )

    def __init__(  # noqa: PLR0913 - hyper-parameters
        self,
        *,
        encoder: Encoder | None = None,
        hidden: int = 32,
        neighbours: int = 48,
        epochs: int = 12,
        rate: float = 0.003,
        penalty: float = 1.0,
        dims: int = 128,
        seed: int = 0,
    ) -> None:
        if min(hidden, neighbours, epochs) < 1:
            raise ConfigError(
                "hidden, neighbours and epochs must be 1 or more, got "
                f"{hidden!r}, {neighbours!r} and {epochs!r}"
            )
        if rate <= 0 or penalty < 0:
            raise ConfigError(
                f"rate must be above 0 and penalty 0 or more, got {rate!r}, {penalty!r}"
            )
        self._projection = Projection(encoder, dims, seed)
        self._hidden = hidden
        self._neighbours = neighbours
        self._epochs = epochs
        self._rate = rate
        self._penalty = penalty
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._span = Span(0.0, 1.0)
        self._known: dict[str, FloatArray] = {}
        self._learned: dict[str, FloatArray] = {}

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Build the graph and learn what messages say; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        MissingExtraError
            If torch is not installed.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        rows_ND = self._projection.fit(requests)
        self._span = Span.of(target_NM)
        truth_NM = self._span.unit(target_NM[:, seen_M])
        mean_M = np.nanmean(truth_NM, axis=0)
        above_NM = truth_NM - mean_M
        observed_NM = ~np.isnan(truth_NM)
        self._known = {
            "rows": unit_rows(rows_ND),
            "above": above_NM,
            "gradient": np.nan_to_num(above_NM).T @ rows_ND / observed_NM.sum(axis=0)[:, None],
        }
        heard_NM = self._heard(rows_ND, own=True)
        self._learned = _trained(
            self._start(mean_M), self._known["gradient"], rows_ND, heard_NM, truth_NM,
            schedule=(self._epochs, self._rate, self._penalty, self._seed),
        )  # fmt: skip
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        p, rows_ND = self._learned, self._projection(requests)
        heard_NM = self._heard(rows_ND, own=False)
        card_MH = np.maximum(p["card"] + self._known["gradient"] @ p["B"], 0)
        question_NH = np.maximum(rows_ND @ p["P"] + heard_NM @ (card_MH @ p["C"]), 0)
        logit_NM = question_NH @ (card_MH @ p["U"]).T + heard_NM * p["u"] + p["bias"]
        return place(self._span.target(sigmoid(logit_NM)), ids, pool)

    def state(self) -> State:
        """Return the recorded graph, the weights of the messages and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={
                **nested("projection", projection),
                **{f"known.{name}": array for name, array in self._known.items()},
                **{f"learned.{name}": array for name, array in self._learned.items()},
            },
            values={
                "projection": dict(projection.values),
                "ids": list(ids),
                "span": [self._span.low, self._span.high],
            },
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._known = dict(inner("known", state, {}).arrays)
        self._learned = dict(inner("learned", state, {}).arrays)
        self._span = Span(*state.values["span"])
        self._ids = tuple(state.values["ids"])
        return self

    def _start(self, mean_M: FloatArray) -> dict[str, FloatArray]:
        rng = np.random.default_rng(self._seed)
        cards, dims = self._known["gradient"].shape
        rate_M = np.clip(mean_M, 0.02, 0.98)

        def drawn(*shape: int) -> FloatArray:
            return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]))

        return {
            "card": rng.standard_normal((cards, self._hidden)) * 0.3,
            "B": drawn(dims, self._hidden),
            "P": drawn(dims, self._hidden),
            "C": drawn(self._hidden, self._hidden),
            "U": drawn(self._hidden, self._hidden) * 0.3,
            "u": np.ones(1),
            "bias": np.log(rate_M / (1 - rate_M)),
        }

    def _heard(self, rows_QD: FloatArray, *, own: bool) -> FloatArray:
        """Return what the neighbours say of every card, shape (Q, M): outcome above its mean.

        With `own`, row q is recorded question q and must not hear itself.
        """
        unit_ND, unit_QD = self._known["rows"], unit_rows(rows_QD)
        parts = [
            self._heard_part(unit_QD[k : k + _CHUNK] @ unit_ND.T, k if own else None)
            for k in range(0, len(unit_QD), _CHUNK)
        ]
        return np.concatenate([np.zeros((0, self._known["above"].shape[1])), *parts])

    def _heard_part(self, cosine_QN: FloatArray, first: int | None) -> FloatArray:
        here_Q1 = np.arange(len(cosine_QN))[:, np.newaxis]
        if first is not None:
            cosine_QN[here_Q1[:, 0], first + here_Q1[:, 0]] = -np.inf
        count = min(self._neighbours, cosine_QN.shape[1])
        near_QK: NDArray[np.intp] = np.argpartition(-cosine_QN, count - 1, axis=1)[:, :count]
        weight_QK = np.clip(cosine_QN[here_Q1, near_QK], 0, None)
        above_QKM = self._known["above"][near_QK]
        known_QKM = ~np.isnan(above_QKM)
        total_QM = np.einsum("qk,qkm->qm", weight_QK, np.nan_to_num(above_QKM))
        mass_QM = np.einsum("qk,qkm->qm", weight_QK, known_QKM.astype(np.float64))
        # one neighbour's worth of "as always", so that a lone weak resemblance says little
        return np.asarray(total_QM / (mass_QM + 1.0))


_CHUNK = 256
"""Questions whose similarities are held at once."""


def _trained(
    start: dict[str, FloatArray],
    gradient_MD: FloatArray,
    rows_ND: FloatArray,
    heard_NM: FloatArray,
    truth_NM: FloatArray,
    *,
    schedule: tuple[int, float, float, int],
) -> dict[str, FloatArray]:
    """Return the weights that predict the observed edges best, by Adam with decoupled decay."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch is needed; run: pip install 'polyroute[train]'") from error
    epochs, rate, penalty, seed = schedule
    p = {name: torch.tensor(array, requires_grad=True) for name, array in start.items()}
    gradient, rows, heard, truth = (
        torch.tensor(array) for array in (gradient_MD, rows_ND, heard_NM, np.nan_to_num(truth_NM))
    )
    observed = torch.tensor((~np.isnan(truth_NM)).astype(np.float64))
    descent = torch.optim.AdamW(p.values(), lr=rate, weight_decay=penalty)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(rows_ND))
        for k in range(0, len(order), _CHUNK):
            at = torch.tensor(order[k : k + _CHUNK])
            card = torch.relu(p["card"] + gradient @ p["B"])
            question = torch.relu(rows[at] @ p["P"] + heard[at] @ (card @ p["C"]))
            logit = question @ (card @ p["U"]).T + heard[at] * p["u"] + p["bias"]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logit, truth[at], weight=observed[at], reduction="sum"
            ) / observed[at].sum().clamp(min=1.0)
            descent.zero_grad()
            loss.backward()
            descent.step()
    return {name: value.detach().numpy().copy() for name, value in p.items()}
