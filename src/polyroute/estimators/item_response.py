"""Item response theory: questions have difficulty, cards have ability, and tests can be adaptive.

The one decision here: difficulty and discrimination are functions of the text, so a question that
nobody answered yet has both. What the model knows of a question it can also use backwards: it says
which questions would tell most about a new card.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import (
    Parameters,
    Projection,
    Span,
    minimise,
    sigmoid,
    softplus,
)
from polyroute.estimators._text import Lines
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["ItemResponse"]


class ItemResponse:
    """Two-parameter logistic model: chance = sigmoid(a(question) . ability(card) - b(question)).

    The discrimination a, one positive number per kind of ability, and the difficulty b are
    functions of the question's text: softplus of a linear one, and a linear one.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    abilities : int, default=4
        Kinds of ability, A.
    penalty : float, default=0.003
        Weight of the squared parameters of the text, per observation.
    dims : int, default=128
        Dimensions of the question space.
    steps : int, default=300
        Most iterations of L-BFGS.
    seed : int, default=0
        Of the start.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Scores between 0 and 1 enter the likelihood as fractions of a success. Abilities have a standard
    normal prior. The paper also derives abilities from a text about the card, and mixes a new
    question with its nearest neighbours; neither is done here.

    References
    ----------
    IRT-Router (Song et al., arXiv:2506.01048), the MIRT variant. Fisher information of the
    two-parameter logistic model: Lord, "Applications of Item Response Theory to Practical Testing
    Problems", 1980, chapter 5; its determinant as the choice of items: Segall, "Multidimensional
    adaptive testing", Psychometrika 61, 1996.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "feedback"),
        how="supervised",
        paper="IRT-Router, Song et al., arXiv:2506.01048",
    )

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        abilities: int = 4,
        penalty: float = 0.003,
        dims: int = 128,
        steps: int = 300,
        seed: int = 0,
    ) -> None:
        if abilities < 1 or steps < 1:
            raise ConfigError(
                f"abilities and steps must be 1 or more, got {abilities!r} and {steps!r}"
            )
        if penalty <= 0:
            raise ConfigError(f"penalty must be above 0, got {penalty!r}")
        self._projection = Projection(encoder, dims, seed)
        self._abilities = abilities
        self._penalty = penalty
        self._steps = steps
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._span = Span(0.0, 1.0)
        self._learned: dict[str, FloatArray] = {}
        self._lines: Lines | None = None

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Find abilities, difficulties and discriminations together; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        rows_ND = self._projection.fit(requests)
        self._span = Span.of(target_NM)
        observed_NM = ~np.isnan(target_NM)
        truth_NM = np.nan_to_num(self._span.unit(target_NM))
        rng = np.random.default_rng(self._seed)
        shape = (rows_ND.shape[1], self._abilities)
        start = {
            "ability": 0.1 * rng.standard_normal((len(pool), self._abilities)),
            "discriminate": 0.1 * rng.standard_normal(shape),
            "discriminate_0": np.zeros(self._abilities),
            "difficulty": np.zeros(shape[0]),
            "difficulty_0": np.zeros(1),
        }
        ridge = self._penalty * observed_NM.sum()

        def objective(p: Parameters) -> tuple[float, Parameters]:
            return _loss(p, rows_ND, truth_NM, observed_NM, ridge)

        self._learned = minimise(objective, start, steps=self._steps)
        seen_M = np.flatnonzero(observed_NM.any(axis=0))
        self._learned["ability"] = self._learned["ability"][seen_M]
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        self._lines = self._served()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        a_NA, b_N = self._questions(requests)
        chance_NM = sigmoid(a_NA @ self._learned["ability"].T - b_N[:, np.newaxis])
        return place(self._span.target(chance_NM), ids, pool)

    def difficulty(self, requests: Sequence[Request]) -> FloatArray:
        """Return b, shape (N,): the log-odds of failure for a card of ability 0.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        fitted(self._ids, self)
        return self._questions(requests)[1]

    def information(self, requests: Sequence[Request], card_id: str | None = None) -> FloatArray:
        """Return the Fisher information of every question about an ability, shape (N, A, A).

        Parameters
        ----------
        requests : sequence of Request, length N
        card_id : str, optional
            At this card's ability; averaged over all known cards when left out.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        ConfigError
            If the card is not known.
        """
        ids = fitted(self._ids, self)
        if card_id is not None and card_id not in ids:
            raise ConfigError(f"{card_id!r} is not known; known: {', '.join(ids)}")
        ability_MA = self._learned["ability"]
        if card_id is not None:
            ability_MA = ability_MA[[ids.index(card_id)]]
        a_NA, b_N = self._questions(requests)
        chance_NM = sigmoid(a_NA @ ability_MA.T - b_N[:, np.newaxis])
        spread_N = np.mean(chance_NM * (1 - chance_NM), axis=1)
        return np.asarray(spread_N[:, np.newaxis, np.newaxis] * np.einsum("na,nb->nab", a_NA, a_NA))

    def probes(
        self, k: int, requests: Sequence[Request], card_id: str | None = None
    ) -> tuple[int, ...]:
        """Return the numbers of the `k` questions that tell most about a card.

        Greedy: each question is the one that most enlarges the determinant of the information
        gathered so far, beginning with the prior's.

        Parameters
        ----------
        k : int
            How many; all, when there are fewer.
        requests : sequence of Request
            The questions to choose from.
        card_id : str, optional
            A card that was partly observed: an adaptive test. A card nobody knows when left out.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        ConfigError
            If the card is not known.
        """
        information_NAA = self.information(requests, card_id)
        gathered_AA = np.eye(self._abilities)
        chosen: list[int] = []
        for _ in range(min(k, len(requests))):
            gain_N = np.linalg.slogdet(gathered_AA + information_NAA)[1]
            gain_N[chosen] = -np.inf
            chosen.append(int(np.argmax(gain_N)))
            gathered_AA = gathered_AA + information_NAA[chosen[-1]]
        return tuple(chosen)

    def observe(self, card_id: str, requests: Sequence[Request], outcome_N: FloatArray) -> Self:
        """Place one card, which may be new, by its outcomes; return self.

        Its ability is the mode of the posterior, whose prior is normal with the mean and the
        covariance of the other cards; the questions stay as they are.

        Parameters
        ----------
        card_id : str
            The card that answered.
        requests : sequence of Request, length N
        outcome_N : ndarray of shape (N,)
            All its outcomes, on the scale of the target of `fit`; NaN is skipped.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        ConfigError
            If the lengths differ.
        """
        ids = fitted(self._ids, self)
        unit_N = self._span.unit(np.asarray(outcome_N, np.float64))
        if unit_N.shape != (len(requests),):
            raise ConfigError(f"{len(requests)} requests need as many outcomes, got {unit_N.shape}")
        a_NA, b_N = self._questions(requests)
        known_N = ~np.isnan(unit_N)
        others_MA = self._learned["ability"][[card != card_id for card in ids]]
        place_A = _mode(a_NA[known_N], b_N[known_N], unit_N[known_N], others_MA)
        if card_id not in ids:
            self._ids = ids = (*ids, card_id)
            self._learned = {
                **self._learned,
                "ability": np.vstack([self._learned["ability"], place_A]),
            }
        else:
            ability_MA = self._learned["ability"].copy()
            ability_MA[ids.index(card_id)] = place_A
            self._learned = {**self._learned, "ability": ability_MA}
        return self

    def state(self) -> State:
        """Return abilities, the weights of the text and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={**nested("projection", projection), **self._learned},
            values={
                "projection": dict(projection.values),
                "ids": list(ids),
                "span": [self._span.low, self._span.high],
            },
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._learned = {name: state.arrays[name] for name in _LEARNED}
        self._span = Span(*state.values["span"])
        self._ids = tuple(state.values["ids"])
        self._lines = self._served()
        return self

    def _questions(self, requests: Sequence[Request]) -> tuple[FloatArray, FloatArray]:
        """Return discrimination, shape (N, A), and difficulty, shape (N,)."""
        value_NL = fitted(self._lines, self)(requests)
        return softplus(value_NL[:, :-1]), value_NL[:, -1]

    def _served(self) -> Lines:
        """Return what is linear in the text: discriminations before softplus, and difficulty."""
        p = self._learned
        return self._projection.lines(
            np.column_stack([p["discriminate"], p["difficulty"]]),
            np.append(p["discriminate_0"], p["difficulty_0"]),
        )


_LEARNED = ("ability", "discriminate", "discriminate_0", "difficulty", "difficulty_0")


def _loss(
    p: Parameters,
    rows_ND: FloatArray,
    truth_NM: FloatArray,
    observed_NM: FloatArray,
    ridge: float,
) -> tuple[float, Parameters]:
    """Return the negative log posterior and its gradient."""
    before_NA = rows_ND @ p["discriminate"] + p["discriminate_0"]
    a_NA = softplus(before_NA)
    b_N = rows_ND @ p["difficulty"] + p["difficulty_0"]
    logit_NM = a_NA @ p["ability"].T - b_N[:, np.newaxis]
    error_NM = observed_NM * (sigmoid(logit_NM) - truth_NM)
    value = (
        np.sum(observed_NM * (softplus(logit_NM) - truth_NM * logit_NM))
        + 0.5 * np.sum(p["ability"] ** 2)
        + 0.5 * ridge * (np.sum(p["discriminate"] ** 2) + np.sum(p["difficulty"] ** 2))
    )
    slope_NA = (error_NM @ p["ability"]) * sigmoid(before_NA)
    return float(value), {
        "ability": error_NM.T @ a_NA + p["ability"],
        "discriminate": rows_ND.T @ slope_NA + ridge * p["discriminate"],
        "discriminate_0": slope_NA.sum(axis=0),
        "difficulty": -rows_ND.T @ error_NM.sum(axis=1) + ridge * p["difficulty"],
        "difficulty_0": -np.sum(error_NM, keepdims=True).ravel(),
    }


def _mode(
    a_NA: FloatArray, b_N: FloatArray, truth_N: FloatArray, others_MA: FloatArray
) -> FloatArray:
    """Return the most probable ability, shape (A,), by Newton's method on a concave posterior."""
    dims = a_NA.shape[1]
    centre_A = others_MA.mean(axis=0) if len(others_MA) else np.zeros(dims)
    # one card's worth of the standard normal keeps the covariance of few cards invertible
    away_MA = others_MA - centre_A
    precision_AA = np.linalg.inv((away_MA.T @ away_MA + np.eye(dims)) / (len(others_MA) + 1))
    ability_A = centre_A
    for _ in range(50):
        chance_N = sigmoid(a_NA @ ability_A - b_N)
        slope_A = a_NA.T @ (truth_N - chance_N) - precision_AA @ (ability_A - centre_A)
        bend_AA = (a_NA * (chance_N * (1 - chance_N))[:, np.newaxis]).T @ a_NA + precision_AA
        step_A = np.linalg.solve(bend_AA, slope_A)
        length = float(np.linalg.norm(step_A))
        ability_A = ability_A + step_A / max(1.0, length)
        if length < 1e-10:
            break
    return np.asarray(ability_A)
