"""Per-skill competence: a Beta count per card and skill, and a book of skills without training.

The one decision here: nothing is optimised. A skill is a region of the question space, a card's
competence in it is how often it was right there, and a question draws on the skills it lies near.
That is why a new card is usable after a handful of outcomes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Projection, Span, unit_rows
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Competence"]


class Competence:
    """Posterior mean of Beta(a, b) per card and skill, mixed over the skills of a question.

    Parameters
    ----------
    encoder : Encoder, optional
        What texts are compared by; TF-IDF over words when left out.
    book : mapping of str to tuple of str, optional
        Declared skills: for each name, example questions or a description. Left out, the skills
        are clusters of the training questions.
    skills : int, default=24
        How many clusters, when no book is given.
    strength : float, default=8.0
        How many observations the prior of a cell is worth. The prior is what the card's mean and
        the skill's mean say together.
    sharpness : float, default=12.0
        A question belongs to skills in proportion to exp(sharpness * cosine).
    dims : int, default=128
        Dimensions of the question space.
    seed : int, default=0
        Of the clustering.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    The paper lets a language model name the skills, and splits and merges them by contrasting
    traces. Here they are declared or clustered, so that nothing has to be called.

    A card that was never observed is predicted from its `ModelCard.skills` where these are names
    of the book, and is NaN otherwise.

    References
    ----------
    SkillOrchestra, arXiv:2602.19672: competence as Beta(a, b) per model and skill, choice by
    the weighted posterior mean less a multiple of the cost.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query", "model metadata", "feedback"),
        how="supervised",
        paper="SkillOrchestra, arXiv:2602.19672",
    )

    def __init__(  # noqa: PLR0913 - hyper-parameters
        self,
        *,
        encoder: Encoder | None = None,
        book: Mapping[str, tuple[str, ...]] | None = None,
        skills: int = 24,
        strength: float = 8.0,
        sharpness: float = 12.0,
        dims: int = 128,
        seed: int = 0,
    ) -> None:
        if skills < 1:
            raise ConfigError(f"skills must be 1 or more, got {skills!r}")
        if strength <= 0 or sharpness <= 0:
            raise ConfigError(
                f"strength and sharpness must be above 0, got {strength!r} and {sharpness!r}"
            )
        if book is not None and not (book and all(book.values())):
            raise ConfigError("book needs one skill or more, each with one example text or more")
        self._projection = Projection(encoder, dims, seed)
        self._book = book
        self._skills = skills
        self._strength = strength
        self._sharpness = sharpness
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._span = Span(0.0, 1.0)
        empty = np.zeros((0, 0))
        self._centres_KD, self._hits_MK, self._mass_MK = empty, empty, empty
        self._skill_means_K = np.zeros(0)
        self._learned_MK = empty

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Find the skills, count, and return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        rows_ND = unit_rows(self._projection.fit(requests))
        self._centres_KD = self._centres(rows_ND)
        self._span = Span.of(target_NM)
        unit_NM = self._span.unit(target_NM)
        weight_NK = self._weights(rows_ND)
        self._hits_MK = np.nan_to_num(unit_NM).T @ weight_NK
        self._mass_MK = (~np.isnan(unit_NM)).astype(np.float64).T @ weight_NK
        overall = np.nansum(self._hits_MK) / np.sum(self._mass_MK)
        self._skill_means_K = (self._hits_MK.sum(axis=0) + self._strength * overall) / (
            self._mass_MK.sum(axis=0) + self._strength
        )
        self._ids = pool.ids
        self._learned_MK = self._competence_MK()
        return self

    def observe(self, card_id: str, requests: Sequence[Request], outcome_N: FloatArray) -> Self:
        """Count further outcomes of one card, which may be new; return self.

        Parameters
        ----------
        card_id : str
            The card that answered.
        requests : sequence of Request, length N
        outcome_N : ndarray of shape (N,)
            On the scale of the target of `fit`; NaN is skipped.

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
        weight_NK = self._weights(unit_rows(self._projection(requests)))
        if card_id not in ids:
            self._ids = ids = (*ids, card_id)
            row = np.zeros((1, len(self._centres_KD)))
            self._hits_MK = np.vstack([self._hits_MK, row])
            self._mass_MK = np.vstack([self._mass_MK, row])
        column = np.arange(len(ids)) == ids.index(card_id)
        self._hits_MK = self._hits_MK + np.outer(column, np.nan_to_num(unit_N) @ weight_NK)
        self._mass_MK = self._mass_MK + np.outer(column, ~np.isnan(unit_N) @ weight_NK)
        self._learned_MK = self._competence_MK()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card nobody knows.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ids = fitted(self._ids, self)
        weight_NK = self._weights(unit_rows(self._projection(requests)))
        known_NM = self._span.target(weight_NK @ self._learned_MK.T)
        predicted_NM = place(known_NM, ids, pool)
        if pool.ids == ids:
            return predicted_NM
        for j, card in enumerate(pool):
            if card.id not in ids:
                predicted_NM[:, j] = weight_NK @ self._declared_K(card)
        return predicted_NM

    def competence(self, card_id: str) -> FloatArray:
        """Return the posterior mean of one card in every skill, shape (K,), between 0 and 1.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        ConfigError
            If the card was never observed.
        """
        ids = fitted(self._ids, self)
        if card_id not in ids:
            raise ConfigError(f"{card_id!r} was never observed; observed: {', '.join(ids)}")
        return np.array(self._learned_MK[ids.index(card_id)])

    def state(self) -> State:
        """Return the counts, the centres of the skills and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={
                **nested("projection", projection),
                "centres": self._centres_KD,
                "hits": self._hits_MK,
                "mass": self._mass_MK,
                "skill_means": self._skill_means_K,
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
        self._centres_KD = state.arrays["centres"]
        self._hits_MK, self._mass_MK = state.arrays["hits"], state.arrays["mass"]
        self._skill_means_K = state.arrays["skill_means"]
        self._span = Span(*state.values["span"])
        self._ids = tuple(state.values["ids"])
        self._learned_MK = self._competence_MK()
        return self

    def _centres(self, rows_ND: FloatArray) -> FloatArray:
        if self._book is None:
            return _clusters(rows_ND, self._skills, np.random.default_rng(self._seed))
        examples = [[Request.of(text) for text in texts] for texts in self._book.values()]
        return unit_rows(np.array([unit_rows(self._projection(each)).mean(0) for each in examples]))

    def _weights(self, rows_ND: FloatArray) -> FloatArray:
        """Return how much each question draws on each skill, shape (N, K), rows of sum 1."""
        closeness_NK = self._sharpness * (rows_ND @ self._centres_KD.T)
        weight_NK = np.exp(closeness_NK - closeness_NK.max(axis=1, keepdims=True))
        return np.asarray(weight_NK / weight_NK.sum(axis=1, keepdims=True))

    def _competence_MK(self) -> FloatArray:  # noqa: N802 - shape suffix
        mass_M1 = self._mass_MK.sum(axis=1, keepdims=True)
        # how far a card is above what others do on the same skills, pulled toward nothing
        surplus_M1 = (
            self._hits_MK.sum(axis=1, keepdims=True)
            - (self._mass_MK @ self._skill_means_K)[:, np.newaxis]
        ) / (mass_M1 + self._strength)
        prior_MK = np.clip(self._skill_means_K + surplus_M1, 0.01, 0.99)
        a_MK = self._strength * prior_MK + self._hits_MK
        competence_MK = a_MK / (self._strength + self._mass_MK)
        competence_MK[mass_M1[:, 0] == 0] = np.nan
        return np.asarray(competence_MK)

    def _declared_K(self, card: ModelCard) -> FloatArray:  # noqa: N802 - shape suffix
        """Return what the card itself says of the skills of the book; NaN if nothing."""
        names = tuple(self._book or ())
        said_K = np.array([card.skills.get(name, np.nan) for name in names])
        if np.isnan(said_K).all() or self._span != Span(0.0, 1.0):
            return np.full(len(self._centres_KD), np.nan)
        surplus = np.nanmean(said_K - self._skill_means_K)
        guess_K = np.clip(self._skill_means_K + surplus, 0.01, 0.99)
        return np.where(np.isnan(said_K), guess_K, said_K)


def _clusters(rows_ND: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Return centres by k-means on directions (cosine), begun as k-means++ begins."""
    centres = [rows_ND[rng.integers(len(rows_ND))]]
    farness_N = 1 - rows_ND @ centres[0]
    while len(centres) < min(count, len(rows_ND)):
        chance_N = np.clip(farness_N, 0, None)
        if chance_N.sum() <= 1e-9:  # every row coincides with a centre
            break
        centres.append(rows_ND[rng.choice(len(rows_ND), p=chance_N / chance_N.sum())])
        farness_N = np.minimum(farness_N, 1 - rows_ND @ centres[-1])
    centres_KD = np.array(centres)
    owner_N = np.full(len(rows_ND), -1)
    for _ in range(100):
        nearest_N = np.argmax(rows_ND @ centres_KD.T, axis=1)
        if np.array_equal(nearest_N, owner_N):
            break
        owner_N = nearest_N
        sums_KD = np.zeros_like(centres_KD)
        np.add.at(sums_KD, owner_N, rows_ND)
        found_KD = unit_rows(sums_KD)
        centres_KD = np.where(np.any(found_KD != 0, axis=1, keepdims=True), found_KD, centres_KD)
    return centres_KD
