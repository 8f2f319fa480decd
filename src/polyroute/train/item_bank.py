"""Questions that were calibrated on known cards: how hard they are, and how much they tell.

The one decision here: a question's difficulty is learned from who got it right, not from its text.
That takes recorded outcomes of several cards, and in return the questions can measure a new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyroute.errors import ConfigError
from polyroute.protocols import FloatArray

__all__ = ["Belief", "ItemBank", "choose_probes", "log_odds", "sigmoid"]

_SLOPE_SD, _EASE_SD, _ABILITY_SD = 0.5, 2.0, 2.0
_ROUNDS = 30
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
        ability_M = log_odds(known_M) - log_odds(known_M).mean()
        slope_N, ease_N = np.ones(len(score_NM)), np.zeros(len(score_NM))
        for _ in range(_ROUNDS):
            slope_N, ease_N = _calibrated(truth_NM, seen_NM, ability_M, slope_N, ease_N)
            chance_NM = sigmoid(slope_N[:, None] * ability_M + ease_N[:, None])
            slope_M = (slope_N[:, None] * seen_NM * (truth_NM - chance_NM)).sum(axis=0)
            bend_M = (slope_N[:, None] ** 2 * seen_NM * chance_NM * (1 - chance_NM)).sum(axis=0)
            precision = _ABILITY_SD**-2
            step_M = (slope_M - precision * ability_M) / (bend_M + precision)
            ability_M = ability_M + np.clip(step_M, -1.0, 1.0)
        return cls(slope_N, ease_N, ability_M)

    def chances(self, ability: FloatArray) -> FloatArray:
        """Return the chance of success of each ability on each question, shape (N, T)."""
        return sigmoid(self.slope_N[:, None] * ability + self.ease_N[:, None])

    def level(self, ability: FloatArray) -> FloatArray:
        """Return the expected mean score over all questions of each ability, shape (T,)."""
        return np.asarray(self.chances(ability).mean(axis=0))


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


def sigmoid(x: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def log_odds(quality: FloatArray) -> FloatArray:
    """Return log(q / (1 - q)), with q kept 0.01 away from 0 and 1."""
    inside = np.clip(quality, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


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
    chance_NM = sigmoid(slope_N[:, None] * ability_M + ease_N[:, None])
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
