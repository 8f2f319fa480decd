"""Bradley-Terry strengths, fitted anew for every question from the questions that resemble it.

The one decision here: there is nothing to train. A question weighs every recorded comparison of two
cards by how similar its question was, and the ranking under those weights is found in a few steps
when the question arrives.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Projection, sigmoid, unit_rows
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["BradleyTerry", "strengths"]

_CHUNK = 256
"""Questions whose weights are held at once."""


class BradleyTerry:
    """Local strengths under similarity weights, turned into expected quality by a straight line.

    A comparison on a training question has the weight gamma ** (1 + s), s being its cosine with
    the question divided by the largest one.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    gamma : float, default=1000.0
        How much more the most similar question counts than an unrelated one; 10 in the paper.
    prior : float, default=1.0
        Half-won, half-lost comparisons of every card with an average one, so that a card that won
        all its comparisons has a finite strength. In units of the weight of one typical neighbour.
    dims : int, default=128
        Dimensions of the question space.
    seed : int, default=0
        Of the projection.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Equal outcomes are half a win for both. Strengths have no unit: the line from a card's strength
    and the local mean outcome to quality is fitted by least squares on training questions that are
    left out of their own comparisons.

    References
    ----------
    RouteLLM (Ong et al., arXiv:2406.18665), section 4.2, "Similarity-weighted ranking": two cards,
    weights gamma ** (1 + s) with gamma = 10. Bradley and Terry, "Rank analysis of
    incomplete block designs", Biometrika 39, 1952.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="RouteLLM, Ong et al., arXiv:2406.18665",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        gamma: float = 1_000.0,
        prior: float = 1.0,
        dims: int = 128,
        seed: int = 0,
    ) -> None:
        if gamma < 1:
            raise ConfigError(f"gamma must be 1 or more, got {gamma!r}")
        if prior <= 0:
            raise ConfigError(f"prior must be above 0, got {prior!r}")
        self._projection = Projection(encoder, dims, seed)
        self._gamma = gamma
        self._prior = prior
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._rows_ND: FloatArray = np.zeros((0, 0))
        self._target_NM: FloatArray = np.zeros((0, 0))
        self._wins_NP: FloatArray = np.zeros((0, 0))
        self._line_3: FloatArray = np.zeros(3)

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Keep the questions and who won on each; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        self._keep(unit_rows(self._projection.fit(requests)), target_NM[:, seen_M])
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        self._line_3 = self._fitted_line()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        rows_ND = unit_rows(self._projection(requests))
        parts = [
            self._expected(self._weights(rows_ND[k : k + _CHUNK]))
            for k in range(0, len(rows_ND), _CHUNK)
        ]
        return place(np.concatenate([np.zeros((0, len(ids))), *parts]), ids, pool)

    def state(self) -> State:
        """Return the training questions' features and outcomes, and the line to quality."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={
                **nested("projection", projection),
                "rows": self._rows_ND,
                "target": self._target_NM,
                "line": self._line_3,
            },
            values={"projection": dict(projection.values), "ids": list(ids)},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._keep(state.arrays["rows"], state.arrays["target"])
        self._line_3 = state.arrays["line"]
        self._ids = tuple(state.values["ids"])
        return self

    def _keep(self, rows_ND: FloatArray, target_NM: FloatArray) -> None:
        self._rows_ND, self._target_NM = rows_ND, target_NM
        one_NMM = target_NM[:, :, np.newaxis]
        other_NMM = target_NM[:, np.newaxis, :]
        wins_NMM = (one_NMM > other_NMM) + 0.5 * (one_NMM == other_NMM)
        wins_NMM[:, np.arange(target_NM.shape[1]), np.arange(target_NM.shape[1])] = 0
        self._wins_NP = wins_NMM.reshape(len(target_NM), -1)

    def _weights(self, rows_QD: FloatArray) -> FloatArray:
        """Return the weight of every training question, shape (Q, N); the largest is 1."""
        cosine_QN = rows_QD @ self._rows_ND.T
        most_Q1 = np.maximum(cosine_QN.max(axis=1, keepdims=True), 1e-9)
        return np.asarray(self._gamma ** (np.clip(cosine_QN / most_Q1, -1, 1) - 1))

    def _expected(self, weight_QN: FloatArray) -> FloatArray:
        strength_QM, level_Q = self._local(weight_QN)
        a, b, c = self._line_3
        return np.asarray(a + b * level_Q[:, np.newaxis] + c * strength_QM)

    def _local(self, weight_QN: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log strengths of mean 0, shape (Q, M), and the mean outcome nearby, shape (Q,)."""
        cards = self._target_NM.shape[1]
        wins_QMM = (weight_QN @ self._wins_NP).reshape(-1, cards, cards)
        known_NM = ~np.isnan(self._target_NM)
        mass_Q = weight_QN @ known_NM.sum(axis=1)
        total_Q = weight_QN @ np.nansum(self._target_NM, axis=1)
        level_Q = np.divide(total_Q, mass_Q, out=np.zeros_like(total_Q), where=mass_Q > 0)
        return strengths(wins_QMM, self._prior), level_Q

    def _fitted_line(self) -> FloatArray:
        """Return intercept and slopes of quality over (local mean, strength), ridge 1."""
        rng = np.random.default_rng(self._seed)
        count = min(_CHUNK * 2, len(self._rows_ND))
        chosen_Q = np.sort(rng.choice(len(self._rows_ND), count, replace=False))
        weight_QN = self._weights(self._rows_ND[chosen_Q])
        weight_QN[np.arange(count), chosen_Q] = 0
        strength_QM, level_Q = self._local(weight_QN)
        known_QM = ~np.isnan(self._target_NM[chosen_Q])
        level_QM = np.broadcast_to(level_Q[:, np.newaxis], strength_QM.shape)
        table = np.stack([np.ones(known_QM.sum()), level_QM[known_QM], strength_QM[known_QM]], 1)
        # pulled toward "the local mean, whatever the strength", which is right when all are equal
        guess = np.array([0.0, 1.0, 0.0])
        residual = self._target_NM[chosen_Q][known_QM] - table @ guess
        return np.asarray(guess + np.linalg.solve(table.T @ table + np.eye(3), table.T @ residual))


def strengths(wins_QMM: FloatArray, prior: float, *, steps: int = 50) -> FloatArray:
    """Return the log strengths that make the wins most probable, shape (Q, M), each row of mean 0.

    Parameters
    ----------
    wins_QMM : ndarray of shape (Q, M, M)
        How often the card of the row beat that of the column; need not be whole numbers.
    prior : float
        Comparisons of every card with one of strength 1, half won and half lost.
    steps : int, default=50
        Most steps of Newton's method, none longer than 1; a handful is usual.

    Examples
    --------
    >>> two_to_one = np.array([[[0.0, 2.0], [1.0, 0.0]]])
    >>> strengths(two_to_one, 1e-9).round(3)
    array([[ 0.347, -0.347]])
    """
    cards = wins_QMM.shape[1]
    won_QM = wins_QMM.sum(axis=2)
    met_QMM = wins_QMM + wins_QMM.transpose(0, 2, 1)
    diagonal = np.arange(cards)
    log_QM = np.zeros_like(won_QM)
    for _ in range(steps):
        chance_QMM = sigmoid(log_QM[:, :, np.newaxis] - log_QM[:, np.newaxis, :])
        average_QM = sigmoid(log_QM)
        slope_QM = won_QM - np.sum(met_QMM * chance_QMM, axis=2) + prior * (0.5 - average_QM)
        bend_QMM = -met_QMM * chance_QMM * (1 - chance_QMM)
        bend_QMM[:, diagonal, diagonal] = prior * average_QM * (1 - average_QM) - (
            bend_QMM.sum(axis=2) - bend_QMM[:, diagonal, diagonal]
        )
        step_QM = np.linalg.solve(bend_QMM, slope_QM[:, :, np.newaxis])[:, :, 0]
        longest_Q1 = np.max(np.abs(step_QM), axis=1, keepdims=True, initial=0.0)
        log_QM = log_QM + step_QM / np.maximum(1.0, longest_Q1)
        if np.all(longest_Q1 < 1e-9):
            break
    return np.asarray(log_QM - log_QM.mean(axis=1, keepdims=True))
