"""Dual contrastive embedding: questions near the cards that are right on them.

The one decision here: the encoder stays frozen and only a projection of its features is learned, so
that fitting takes seconds and serving is two small products.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Parameters, Projection, minimise, unit_rows
from polyroute.estimators._text import Lines
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Contrastive"]


class Contrastive:
    """Cosine of a projected question and a card's vector, learned by two contrasts.

    Question against cards: a question shall be nearer to each of its best cards than to its worst
    ones. Question against questions: nearer to one of its own group than to those of others.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the texts; the default of every estimator when left out.
    width : int, default=32
        Dimensions of the shared space, K.
    best : int, default=3
        At most so many cards of a question count as its best.
    temperature : float, default=0.2
        Cosines are divided by it.
    groups : float, default=0.3
        Weight of the contrast between questions; 0 leaves it out.
    penalty : float, default=0.01
        Weight of the squared projection, per question.
    dims : int, default=128
        Dimensions of the question space.
    steps : int, default=80
        Most iterations of L-BFGS.
    seed : int, default=0
        Of the start, the groups and the questions drawn from them.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Differences from the paper: it fine-tunes the encoder (mDeBERTaV3-base); its groups come from
    t-SNE and k-means, here from the nearest of randomly drawn questions; it weighs both contrasts
    equally. A card is a positive if its outcome is above the question's mean and among the best, a
    negative if it is below the mean; questions on which all cards agree teach nothing. The
    contrast knows only which card is better. The number predicted is the question's level (a ridge
    regression of its mean outcome), plus the card's intercept, plus a common slope times the
    cosine, by least squares.

    References
    ----------
    RouterDC (Chen et al., arXiv:2409.19886): equations 3 (sample-LLM contrast), 4 (sample-sample
    contrast) and 5.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="RouterDC, Chen et al., arXiv:2409.19886",
    )

    def __init__(  # noqa: PLR0913 - hyper-parameters
        self,
        *,
        encoder: Encoder | None = None,
        width: int = 32,
        best: int = 3,
        temperature: float = 0.2,
        groups: float = 0.3,
        penalty: float = 0.01,
        dims: int = 128,
        steps: int = 80,
        seed: int = 0,
    ) -> None:
        if min(width, best, steps) < 1:
            raise ConfigError(
                f"width, best and steps must be 1 or more, got {width!r}, {best!r} and {steps!r}"
            )
        if min(temperature, penalty) <= 0 or groups < 0:
            raise ConfigError(
                "temperature and penalty must be above 0 and groups 0 or more, got "
                f"{temperature!r}, {penalty!r} and {groups!r}"
            )
        self._projection = Projection(encoder, dims, seed)
        self._width = width
        self._best = best
        self._temperature = temperature
        self._groups = groups
        self._penalty = penalty
        self._steps = steps
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._learned: dict[str, FloatArray] = {}
        self._lines: Lines | None = None
        self._scaled_KM: FloatArray = np.empty((0, 0))

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Learn the projection and the cards' vectors; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        target_NM = target_NM[:, seen_M]
        rows_ND = self._projection.fit(requests)
        rng = np.random.default_rng(self._seed)
        contrast = _contrast(rows_ND, target_NM, self._best, rng)
        start = {
            "text": rng.standard_normal((rows_ND.shape[1], self._width)),
            "card": rng.standard_normal((len(seen_M), self._width)),
        }
        ridge = self._penalty * len(rows_ND)

        def objective(p: Parameters) -> tuple[float, Parameters]:
            return _loss(p, contrast, self._temperature, self._groups, ridge)

        self._learned = minimise(objective, start, steps=self._steps)
        level_D = _level(rows_ND, target_NM)
        self._learned["level"] = level_D
        above_NM = target_NM - (rows_ND @ level_D[:-1] + level_D[-1])[:, np.newaxis]
        cosine_NM = unit_rows(rows_ND @ self._learned["text"]) @ unit_rows(self._learned["card"]).T
        self._learned["line"] = _line(cosine_NM, above_NM)
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
        value_NL = fitted(self._lines, self)(requests)
        above_NM = unit_rows(value_NL[:, :-1]) @ self._scaled_KM + self._learned["line"][1:]
        return place(value_NL[:, -1:] + above_NM, ids, pool)

    def state(self) -> State:
        """Return the projection, the cards' vectors, the line, and the question space."""
        ids = fitted(self._ids, self)
        projection = self._projection.state()
        return State(
            arrays={**nested("projection", projection), **self._learned},
            values={"projection": dict(projection.values), "ids": list(ids)},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._projection.restore(inner("projection", state, state.values["projection"]))
        self._learned = {name: state.arrays[name] for name in _LEARNED}
        self._ids = tuple(state.values["ids"])
        self._lines = self._served()
        return self

    def _served(self) -> Lines:
        """Return what is linear in the text: the question's vector, and its level."""
        p = self._learned
        weights_DL = np.column_stack([p["text"], p["level"][:-1]])
        self._scaled_KM = p["line"][0] * unit_rows(p["card"]).T
        return self._projection.lines(weights_DL, np.append(np.zeros(self._width), p["level"][-1]))


_LEARNED = ("text", "card", "level", "line")


class _Contrast(NamedTuple):
    rows_ND: FloatArray
    best_NM: FloatArray
    """1 where a card is a positive of the question."""
    worst_NM: FloatArray
    """1 where it is a negative."""
    alike_NS: FloatArray
    """1 where an anchor is of the question's group."""
    anchors_SD: FloatArray


_ANCHORS = 32
"""Questions that the others are contrasted with; 1 + 20 per question in the paper."""


def _contrast(
    rows_ND: FloatArray, target_NM: FloatArray, best: int, rng: np.random.Generator
) -> _Contrast:
    count_N1 = (~np.isnan(target_NM)).sum(axis=1, keepdims=True)
    mean_N1 = np.nansum(target_NM, axis=1, keepdims=True) / np.maximum(count_N1, 1)
    above_NM = np.nan_to_num(target_NM - mean_N1, nan=0.0)
    rank_NM = np.argsort(np.argsort(-above_NM, axis=1, kind="stable"), axis=1)
    # cards that tie with the last of the best are as good as it
    last_N1 = -np.sort(-above_NM, axis=1)[:, [min(best, target_NM.shape[1]) - 1]]
    best_NM = (above_NM > 1e-12) & ((rank_NM < best) | (above_NM >= last_N1))
    chosen_S = rng.choice(len(rows_ND), min(_ANCHORS, len(rows_ND)), replace=False)
    unit_ND = unit_rows(rows_ND)
    centres_GD = unit_ND[chosen_S[: max(2, len(chosen_S) // 4)]]
    group_N = np.argmax(unit_ND @ centres_GD.T, axis=1)
    alike_NS = (group_N[:, np.newaxis] == group_N[chosen_S]).astype(np.float64)
    return _Contrast(
        rows_ND,
        best_NM.astype(np.float64),
        (above_NM < -1e-12).astype(np.float64),
        alike_NS,
        rows_ND[chosen_S],
    )


def _loss(
    p: Parameters, contrast: _Contrast, temperature: float, groups: float, ridge: float
) -> tuple[float, Parameters]:
    """Return both contrasts and the penalty, and their gradient."""
    text_NK = contrast.rows_ND @ p["text"]
    anchor_SK = contrast.anchors_SD @ p["text"]
    unit_NK, unit_SK, unit_MK = (unit_rows(x) for x in (text_NK, anchor_SK, p["card"]))
    first, slope_NM = _apart(unit_NK @ unit_MK.T / temperature, contrast.best_NM, contrast.worst_NM)
    second, slope_NS = _apart(
        unit_NK @ unit_SK.T / temperature, contrast.alike_NS, 1 - contrast.alike_NS
    )
    slope_NM, slope_NS = slope_NM / temperature, groups * slope_NS / temperature
    to_text_NK = _through_unit(text_NK, slope_NM @ unit_MK + slope_NS @ unit_SK)
    to_anchor_SK = _through_unit(anchor_SK, slope_NS.T @ unit_NK)
    # length is free under a cosine: the pull to 1 on the cards only keeps them from drifting
    away_M = np.linalg.norm(p["card"], axis=1) - 1
    value = first + groups * second + 0.5 * ridge * np.sum(p["text"] ** 2) + np.sum(away_M**2) / 2
    return float(value), {
        "text": contrast.rows_ND.T @ to_text_NK
        + contrast.anchors_SD.T @ to_anchor_SK
        + ridge * p["text"],
        "card": _through_unit(p["card"], slope_NM.T @ unit_NK) + away_M[:, np.newaxis] * unit_MK,
    }


def _apart(
    score_NM: FloatArray, near_NM: FloatArray, far_NM: FloatArray
) -> tuple[float, FloatArray]:
    """Return the mean over positives of -log(softmax against all negatives), and its gradient."""
    count_N1 = near_NM.sum(axis=1, keepdims=True)
    share_NM = near_NM / np.maximum(count_N1, 1)
    share_NM *= far_NM.any(axis=1, keepdims=True)
    high_N1 = score_NM.max(axis=1, keepdims=True)
    power_NM = np.exp(score_NM - high_N1)
    rest_N1 = np.sum(far_NM * power_NM, axis=1, keepdims=True)
    total_NM = power_NM + rest_N1
    value = np.sum(share_NM * (np.log(total_NM) - (score_NM - high_N1)))
    inverse_NM = share_NM / total_NM
    slope_NM = inverse_NM * power_NM - share_NM
    slope_NM += far_NM * power_NM * inverse_NM.sum(axis=1, keepdims=True)
    return float(value), slope_NM


def _through_unit(rows_NK: FloatArray, slope_NK: FloatArray) -> FloatArray:
    """Return the gradient before `unit_rows`, from the gradient after it."""
    unit_NK = unit_rows(rows_NK)
    length_N1 = np.linalg.norm(rows_NK, axis=1, keepdims=True)
    across_NK = slope_NK - unit_NK * np.sum(unit_NK * slope_NK, axis=1, keepdims=True)
    gradient_NK = np.zeros_like(rows_NK)
    np.divide(across_NK, length_N1, out=gradient_NK, where=length_N1 > 0)
    return gradient_NK


_LEVEL_RIDGE = 10.0
"""Penalty of the regression for a question's level: rows have a mean squared length of 1."""


def _level(rows_ND: FloatArray, target_NM: FloatArray) -> FloatArray:
    """Return the ridge regression of a question's mean outcome, intercept last, shape (D + 1,)."""
    known_NM = ~np.isnan(target_NM)
    asked_N = known_NM.any(axis=1)
    mean_N = np.nansum(target_NM[asked_N], axis=1) / known_NM[asked_N].sum(axis=1)
    rows_ND = rows_ND[asked_N]
    centre_D = rows_ND.mean(axis=0)
    away_ND = rows_ND - centre_D
    square_DD = away_ND.T @ away_ND + _LEVEL_RIDGE * np.eye(len(centre_D))
    weight_D = np.linalg.solve(square_DD, away_ND.T @ (mean_N - mean_N.mean()))
    return np.append(weight_D, mean_N.mean() - centre_D @ weight_D)


def _line(cosine_NM: FloatArray, above_NM: FloatArray) -> FloatArray:
    """Return the common slope over cosines, then each card's intercept, shape (1 + M,)."""
    known_NM = ~np.isnan(above_NM)
    count_M = known_NM.sum(axis=0)
    mean_M = np.nansum(above_NM, axis=0) / count_M
    centre_M = np.sum(known_NM * cosine_NM, axis=0) / count_M
    away_NM = known_NM * (cosine_NM - centre_M)
    slope = np.sum(away_NM * np.nan_to_num(above_NM - mean_M)) / (np.sum(away_NM**2) + 1.0)
    return np.append(slope, mean_M - slope * centre_M)
