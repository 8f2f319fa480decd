"""What to expect of a card that nobody has routed to: from the card alone, or after a few probes.

The one decision here: the card and the probes speak about the same number, the ability of a
one-dimensional item response model whose questions were calibrated on the known cards. The card
gives a normal prior, whose width is how wrong such priors are about known cards that are left out;
a probe's outcome moves it by as much as the question tells. No probe is the special case of the
same formula.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyroute.errors import ConfigError
from polyroute.pool import ModelCard
from polyroute.protocols import FloatArray

__all__ = [
    # what the known cards tell
    "Belief", "ItemBank", "belief_from_card", "belief_without_card", "card_features",
    # what probes add
    "Expectation", "choose_probes", "expect",
    # what a router needs
    "quality_of_new_card",
]  # fmt: skip

_SIZE = re.compile(r"(?<![\w.])(?:(\d+)\s?x\s?)?(\d+(?:\.\d+)?)\s?b(?![a-z0-9])", re.IGNORECASE)
_SMALL = re.compile(
    r"(?<![a-z])(mini|nano|small|tiny|lite|flash|haiku|fast)(?![a-z])", re.IGNORECASE
)
_LARGE = re.compile(r"(?<![a-z])(large|opus|ultra|plus|max|huge|core)(?![a-z])", re.IGNORECASE)
_TUNED = re.compile(r"(?<![a-z])(instruct|inst|chat|it|assistant)(?![a-z])", re.IGNORECASE)

_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SLOPE_SD, _EASE_SD, _ABILITY_SD = 0.5, 2.0, 2.0
_ROUNDS = 30
_GRID = 241
_EDGE = 0.01
"""Qualities are kept that far from 0 and 1 before their log-odds are taken."""


@dataclass(frozen=True, slots=True)
class Belief:
    """A normal distribution over one ability, in log-odds."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, eq=False)
class ItemBank:
    """N calibrated questions and the M cards they were calibrated on.

    The chance that a card of ability t is right on question n is sigmoid(slope[n] * t + ease[n]).
    """

    slope_N: FloatArray
    """How sharply the question tells able from unable cards; above 0."""
    ease_N: FloatArray
    """Log-odds of success for ability 0."""
    ability_M: FloatArray
    """Of the known cards."""

    @classmethod
    def fit(cls, score_NM: FloatArray) -> "ItemBank":
        """Calibrate questions and cards together.

        Parameters
        ----------
        score_NM : ndarray of shape (N, M)
            Scores, 0 to 1, as fractions of a success; NaN where not observed.

        Raises
        ------
        ConfigError
            If there are fewer than two cards, a score is outside [0, 1], or a card has none.

        Notes
        -----
        The mode of the joint posterior, by turns over questions and cards. Priors: slopes
        normal(1, 0.5), abilities normal(0, 2), eases normal around their own mean with deviation 2,
        so that a question nobody answered is an average one.

        References
        ----------
        Birnbaum's two-parameter logistic model: Lord, "Applications of Item Response Theory to
        Practical Testing Problems", 1980, chapter 2; his joint estimation, chapter 12.
        """
        score_NM = np.asarray(score_NM, np.float64)
        _check_scores(score_NM)
        seen_NM = ~np.isnan(score_NM)
        truth_NM = np.nan_to_num(score_NM)
        known_M = truth_NM.sum(axis=0) / seen_NM.sum(axis=0)
        ability_M = _log_odds(known_M) - _log_odds(known_M).mean()
        slope_N, ease_N = np.ones(len(score_NM)), np.zeros(len(score_NM))
        for _ in range(_ROUNDS):
            slope_N, ease_N = _calibrated(truth_NM, seen_NM, ability_M, slope_N, ease_N)
            chance_NM = _sigmoid(slope_N[:, None] * ability_M + ease_N[:, None])
            slope_M = (slope_N[:, None] * seen_NM * (truth_NM - chance_NM)).sum(axis=0)
            bend_M = (slope_N[:, None] ** 2 * seen_NM * chance_NM * (1 - chance_NM)).sum(axis=0)
            precision = _ABILITY_SD**-2
            step_M = (slope_M - precision * ability_M) / (bend_M + precision)
            ability_M = ability_M + np.clip(step_M, -1.0, 1.0)
        return cls(slope_N, ease_N, ability_M)

    def chances(self, ability: FloatArray) -> FloatArray:
        """Return the chance of success of each ability on each question, shape (N, T)."""
        return _sigmoid(self.slope_N[:, None] * ability + self.ease_N[:, None])

    def level(self, ability: FloatArray) -> FloatArray:
        """Return the expected mean score over all questions of each ability, shape (T,)."""
        return np.asarray(self.chances(ability).mean(axis=0))


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


def choose_probes(
    bank: ItemBank, prior: Belief, k: int, *, asked: Sequence[int] = ()
) -> tuple[int, ...]:
    """Return the rows of the `k` questions that tell most about an ability believed to be `prior`.

    Greedy: each question is the one that most enlarges the expected logarithm of the information
    gathered, the prior's included. So they are spread over the abilities that are still possible.
    For an adaptive test ask one, call `expect`, and go on with its ability and what was `asked`.

    Parameters
    ----------
    bank : ItemBank
    prior : Belief
    k : int
        How many; all that are left, when there are fewer.
    asked : sequence of int
        Rows that may not be chosen.

    Raises
    ------
    ConfigError
        If `k` is negative.

    References
    ----------
    Fisher information of the two-parameter logistic model: Lord 1980, chapter 5.
    """
    if k < 0:
        raise ConfigError(f"k must be 0 or more, got {k!r}")
    ability_T = prior.mean + prior.sd * np.linspace(-2.5, 2.5, 21)
    weight_T = np.exp(-0.5 * np.linspace(-2.5, 2.5, 21) ** 2)
    chance_NT = bank.chances(ability_T)
    information_NT = bank.slope_N[:, None] ** 2 * chance_NT * (1 - chance_NT)
    gathered_T = np.full(len(ability_T), prior.sd**-2)
    barred = np.zeros(len(chance_NT), bool)
    barred[list(asked)] = True
    chosen: list[int] = []
    for _ in range(min(k, int((~barred).sum()))):
        gain_N = np.log(gathered_T + information_NT) @ weight_T
        chosen.append(int(np.where(barred, -np.inf, gain_N).argmax()))
        barred[chosen[-1]] = True
        gathered_T = gathered_T + information_NT[chosen[-1]]
    return tuple(chosen)


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
    shape_NM = _log_odds(predicted_NM[:, known_M]) - _log_odds(level_M[known_M])
    return _sigmoid(_log_odds(np.asarray(level)) + shape_NM.mean(axis=1))


def _check_scores(score_NM: FloatArray) -> None:
    if score_NM.ndim != 2 or score_NM.shape[0] < 1 or score_NM.shape[1] < 2:
        raise ConfigError(f"scores need shape (N, M) with two cards or more, got {score_NM.shape}")
    if ((score_NM < 0) | (score_NM > 1)).any():
        raise ConfigError("a score must lie between 0 and 1, or be NaN where not observed")
    if np.isnan(score_NM).all(axis=0).any():
        raise ConfigError("a card without any score cannot be calibrated; leave its column out")


def _calibrated(
    truth_NM: FloatArray,
    seen_NM: FloatArray,
    ability_M: FloatArray,
    slope_N: FloatArray,
    ease_N: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return slopes and eases after one step of Newton's method, each question by itself."""
    chance_NM = _sigmoid(slope_N[:, None] * ability_M + ease_N[:, None])
    error_NM = seen_NM * (truth_NM - chance_NM)
    bend_NM = seen_NM * chance_NM * (1 - chance_NM)
    tight, loose = _SLOPE_SD**-2, _EASE_SD**-2
    up_slope_N = error_NM @ ability_M - tight * (slope_N - 1)
    up_ease_N = error_NM.sum(axis=1) - loose * (ease_N - ease_N.mean())
    ss_N, se_N, ee_N = bend_NM @ ability_M**2 + tight, bend_NM @ ability_M, bend_NM.sum(1) + loose
    determinant_N = ss_N * ee_N - se_N**2
    step_slope_N = (ee_N * up_slope_N - se_N * up_ease_N) / determinant_N
    step_ease_N = (ss_N * up_ease_N - se_N * up_slope_N) / determinant_N
    return (
        np.clip(slope_N + np.clip(step_slope_N, -0.5, 0.5), 0.05, 4.0),
        ease_N + np.clip(step_ease_N, -1.0, 1.0),
    )


def _ridge(x_MF: FloatArray, y_M: FloatArray, penalty: float) -> tuple[FloatArray, float]:
    """Return the weights, and the root mean squared error on rows that are left out."""
    inverse_FF = np.linalg.inv(x_MF.T @ x_MF + penalty * np.eye(x_MF.shape[1]))
    weight_F = inverse_FF @ x_MF.T @ (y_M - y_M.mean())
    lever_M = 1 / len(y_M) + np.einsum("mf,fg,mg->m", x_MF, inverse_FF, x_MF)
    error_M = (y_M - y_M.mean() - x_MF @ weight_F) / np.maximum(1 - lever_M, 1e-3)
    return weight_F, max(float(np.sqrt(np.mean(error_M**2))), 1e-3)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _log_odds(quality: FloatArray) -> FloatArray:
    inside = np.clip(quality, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _log10(value: float | None) -> float:
    """Return the logarithm; NaN when unknown, that of a thousandth for less than it (free)."""
    return math.nan if value is None else math.log10(max(value, 1e-3))
