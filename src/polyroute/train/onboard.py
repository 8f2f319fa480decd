"""What to expect of a card that nobody has routed to: from the card alone, or after a few probes.

The one decision here: the card and the probes speak about the same number, the ability of a
one-dimensional item response model whose questions were calibrated on the known cards. The card
gives a normal prior, whose width is how wrong such priors are about known cards that are left out;
a probe's outcome moves it by as much as the question tells. No probe is the special case of the
same formula.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyroute.errors import ConfigError
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import FloatArray
from polyroute.train.item_bank import Belief, ItemBank, log_odds, sigmoid

__all__ = [
    # before anything is asked
    "belief_from_card", "belief_without_card", "card_features",
    # what probes add
    "Expectation", "expect",
    # what a router needs
    "cost_of_new_card", "expect_beside", "quality_of_new_card",
]  # fmt: skip

_SIZE = re.compile(r"(?<![\w.])(?:(\d+)\s?x\s?)?(\d+(?:\.\d+)?)\s?b(?![a-z0-9])", re.IGNORECASE)
_SMALL = re.compile(
    r"(?<![a-z])(mini|nano|small|tiny|lite|flash|haiku|fast)(?![a-z])", re.IGNORECASE
)
_LARGE = re.compile(r"(?<![a-z])(large|opus|ultra|plus|max|huge|core)(?![a-z])", re.IGNORECASE)
_TUNED = re.compile(r"(?<![a-z])(instruct|inst|chat|it|assistant)(?![a-z])", re.IGNORECASE)

_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_GRID = 241


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a new card is expected to do."""

    ability: Belief
    level: float
    """Expected mean score over questions like those of the bank, 0 to 1."""
    low: float
    """With 2.5 % probability the level is below it."""
    high: float
    """With 2.5 % probability the level is above it."""
    probes: int
    """Outcomes it rests on, besides the prior."""


def card_features(card: ModelCard) -> FloatArray:
    """Return what a card says about itself as seven numbers, NaN for what it does not say.

    They are: log10 of the prompt price and of the completion price (US dollars per million tokens),
    log10 of the parameters in billions (``8x7B`` is 56), a size word (-1 as in *mini*, 1 as in
    *large*), whether it was tuned to follow instructions (*instruct*, *chat*), log10 of the context
    window in tokens, and the mean of the declared skills. The words are looked for in the id and in
    the description.

    Examples
    --------
    >>> card_features(ModelCard(id="Mixtral-8x7B-Instruct-v0.1"))[2:5].round(2)
    array([1.75, 0.  , 1.  ])
    """
    words = f"{card.id} {card.description}".replace("_", "-")
    sizes = [
        float(count or 1) * float(billions) for count, billions in _SIZE.findall(words)
    ]  # fmt: skip
    price = card.price
    skills = list(card.skills.values())
    return np.array(
        [
            _log10(None if price is None else float(price.input)),
            _log10(None if price is None else float(price.output)),
            _log10(max(sizes, default=None)),
            float(bool(_LARGE.search(words))) - float(bool(_SMALL.search(words))),
            float(bool(_TUNED.search(words))),
            _log10(card.context),
            sum(skills) / len(skills) if skills else math.nan,
        ]
    )


def belief_from_card(
    known: Sequence[ModelCard],
    ability_M: FloatArray,
    card: ModelCard,
    *,
    penalty: float | None = None,
) -> Belief:
    """Return what a card alone says about its ability: ridge regression over the known cards.

    Parameters
    ----------
    known : sequence of ModelCard, length M
        At least three.
    ability_M : ndarray of shape (M,)
        Theirs, as in `ItemBank.ability_M`.
    card : ModelCard
        The new one.
    penalty : float, optional
        On the squared weights of the standardised features; the intercept is free. Left out, it is
        the one of 0.3, 1, 3, 10, 30, 100 with the least squared error when each known card is
        left out in turn.

    Returns
    -------
    Belief
        The deviation is the root mean squared error on known cards that were left out.

    Raises
    ------
    ConfigError
        If there are fewer than three known cards, or the lengths differ.

    Notes
    -----
    A feature that a card does not have counts as the mean of the known cards; one that does not
    vary among them is not used. Left-out errors come from the diagonal of the hat matrix.
    """
    if len(known) < 3 or len(known) != len(ability_M):
        raise ConfigError(
            f"three known cards or more, each with its ability, are needed; got {len(known)} cards "
            f"and {len(ability_M)} abilities"
        )
    feature_MF = np.array([card_features(other) for other in known])
    seen_MF = ~np.isnan(feature_MF)
    count_F = np.maximum(seen_MF.sum(axis=0), 1)
    centre_F = np.nan_to_num(feature_MF).sum(axis=0) / count_F
    away_MF = np.where(seen_MF, feature_MF - centre_F, 0.0)
    scale_F = np.sqrt((away_MF**2).sum(axis=0) / count_F)
    used_F = scale_F > 1e-9
    x_MF = away_MF[:, used_F] / scale_F[used_F]
    x_F = np.nan_to_num((card_features(card) - centre_F)[used_F] / scale_F[used_F])
    penalties = _PENALTIES if penalty is None else (penalty,)
    fits = [_ridge(x_MF, np.asarray(ability_M, np.float64), value) for value in penalties]
    weight_F, error = min(fits, key=lambda fit: fit[1])
    return Belief(float(np.mean(ability_M) + x_F @ weight_F), error)


def belief_without_card(ability_M: FloatArray) -> Belief:
    """Return what is believed of a card of which nothing is known: it is like the others.

    Raises
    ------
    ConfigError
        If there are fewer than two abilities.
    """
    if len(ability_M) < 2:
        raise ConfigError(f"two abilities or more are needed, got {len(ability_M)}")
    spread = float(np.std(ability_M, ddof=1)) * math.sqrt(1 + 1 / len(ability_M))
    return Belief(float(np.mean(ability_M)), max(spread, 1e-3))


def expect(
    bank: ItemBank, prior: Belief, rows: Sequence[int] = (), score: Sequence[float] = ()
) -> Expectation:
    """Return what is expected of a card after the outcomes of its probes.

    Parameters
    ----------
    bank : ItemBank
    prior : Belief
        From `belief_from_card`, `belief_without_card` or an earlier `Expectation.ability`.
    rows : sequence of int
        Which questions of the bank were asked.
    score : sequence of float
        What the card scored on them, 0 to 1; NaN is skipped.

    Raises
    ------
    ConfigError
        If the lengths differ, or a score is outside [0, 1].
    """
    score_K = np.asarray(score, np.float64)
    if len(rows) != len(score_K):
        raise ConfigError(f"{len(rows)} probes need as many scores, got {len(score_K)}")
    known_K = ~np.isnan(score_K)
    row_K, score_K = np.asarray(rows, np.int64)[known_K], score_K[known_K]
    if ((score_K < 0) | (score_K > 1)).any():
        raise ConfigError("a score must lie between 0 and 1")
    ability_T = prior.mean + prior.sd * np.linspace(-6, 6, _GRID)
    logit_KT = bank.slope_N[row_K, None] * ability_T + bank.ease_N[row_K, None]
    log_T = (score_K[:, None] * logit_KT - np.logaddexp(0, logit_KT)).sum(axis=0)
    log_T = log_T - 0.5 * ((ability_T - prior.mean) / prior.sd) ** 2
    weight_T = np.exp(log_T - log_T.max())
    weight_T /= weight_T.sum()
    level_T = bank.level(ability_T)
    mean = float(weight_T @ ability_T)
    below_T = np.cumsum(weight_T)
    return Expectation(
        ability=Belief(mean, float(np.sqrt(weight_T @ (ability_T - mean) ** 2))),
        level=float(weight_T @ level_T),
        low=float(level_T[int(np.searchsorted(below_T, 0.025))]),
        high=float(level_T[min(int(np.searchsorted(below_T, 0.975)), _GRID - 1)]),
        probes=len(row_K),
    )


def expect_beside(
    pool: Pool, mean_score: Mapping[str, float | None], card: ModelCard
) -> Expectation:
    """Return what is expected of a card beside those a router learned from; no outcome is needed.

    Every known card is as able as the log-odds of its mean score say.

    Parameters
    ----------
    pool : Pool
        The cards of the router: that of a `polyroute.train.artifact.Manifest`, say.
    mean_score : mapping of str to float
        Their mean scores by id, 0 to 1, as under ``mean_score`` in what an artifact says of its
        training; `None` where nothing was observed.
    card : ModelCard
        The new one; when its id is in the pool, it is predicted from the others.

    Raises
    ------
    ConfigError
        If fewer than three other cards have a mean score, or one is outside [0, 1].
    """
    known = [one for one in pool if one.id != card.id and mean_score.get(one.id) is not None]
    level_M = np.array([mean_score[one.id] for one in known], np.float64)
    if ((level_M < 0) | (level_M > 1)).any():
        raise ConfigError("a mean score must lie between 0 and 1")
    ability_M = log_odds(level_M)
    # one question whose chance of success is the level itself
    bank = ItemBank(slope_N=np.ones(1), ease_N=np.zeros(1), ability_M=ability_M)
    return expect(bank, belief_from_card(known, ability_M, card))


def quality_of_new_card(predicted_NM: FloatArray, level_M: FloatArray, level: float) -> FloatArray:
    """Return a new card's quality on each of N requests: the known shape at the expected level.

    In log-odds: that of `level`, plus by how much the known cards are predicted above their own
    levels on this request, averaged over them.

    Parameters
    ----------
    predicted_NM : ndarray of shape (N, M)
        What an estimator predicts of the known cards; NaN columns are left out.
    level_M : ndarray of shape (M,)
        Their mean scores.
    level : float
        Of the new card, 0 to 1.

    Raises
    ------
    ConfigError
        If the estimator knows none of the cards.
    """
    known_M = ~(np.isnan(predicted_NM).any(axis=0) | np.isnan(level_M))
    if not known_M.any():
        raise ConfigError("the estimator knows none of the cards; fit it before a card is added")
    shape_NM = log_odds(predicted_NM[:, known_M]) - log_odds(level_M[known_M])
    return sigmoid(log_odds(np.asarray(level)) + shape_NM.mean(axis=1))


def cost_of_new_card(predicted_NM: FloatArray, level_M: FloatArray, level: float) -> FloatArray:
    """Return what a new card costs on each of N requests: the known shape at its own level.

    All are decimal logarithms of US dollars. The known cards cost so much more or less than usual
    on this request, on average, and so does the new one; NaN where none is known.

    Parameters
    ----------
    predicted_NM : ndarray of shape (N, M)
        What an estimator predicts of the known cards; NaN columns are left out.
    level_M : ndarray of shape (M,)
        Their means.
    level : float
        Mean of the new card.
    """
    known_M = ~(np.isnan(predicted_NM).any(axis=0) | np.isnan(level_M))
    if not known_M.any():
        return np.full(len(predicted_NM), np.nan)
    return np.asarray(level + (predicted_NM[:, known_M] - level_M[known_M]).mean(axis=1))


def _ridge(x_MF: FloatArray, y_M: FloatArray, penalty: float) -> tuple[FloatArray, float]:
    """Return the weights, and the root mean squared error on rows that are left out."""
    inverse_FF = np.linalg.inv(x_MF.T @ x_MF + penalty * np.eye(x_MF.shape[1]))
    weight_F = inverse_FF @ x_MF.T @ (y_M - y_M.mean())
    lever_M = 1 / len(y_M) + np.einsum("mf,fg,mg->m", x_MF, inverse_FF, x_MF)
    error_M = (y_M - y_M.mean() - x_MF @ weight_F) / np.maximum(1 - lever_M, 1e-3)
    return weight_F, max(float(np.sqrt(np.mean(error_M**2))), 1e-3)


def _log10(value: float | None) -> float:
    """Return the logarithm; NaN when unknown, that of a thousandth for less than it (free)."""
    return math.nan if value is None else math.log10(max(value, 1e-3))
