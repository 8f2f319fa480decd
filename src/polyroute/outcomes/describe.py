"""What an outcome table says before anything is learned from it: who is good, dear, and needed.

The one decision here: what was not observed takes no part. A mean is over the questions a model
was judged on, and says how many those are; an unknown cost is not a cost of nothing.
"""

from dataclasses import asdict, dataclass

import numpy as np

from polyroute.errors import ConfigError
from polyroute.outcomes.sheet import BoolColumn, FloatColumn
from polyroute.outcomes.table import OutcomeTable
from polyroute.types import Json

__all__ = ["Interval", "ModelSummary", "Picked", "TableSummary", "describe"]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a share lies, with 95 % confidence."""

    low: float
    high: float

    @classmethod
    def of_mean(cls, mean: float, count: int) -> "Interval":
        """Return Wilson's interval of the mean of `count` scores from 0 to 1.

        Exact enough for right and wrong; for scores in between, whose variance is smaller, it is
        wider than it need be.

        References
        ----------
        Wilson, Probable inference, the law of succession, and statistical inference (1927).

        Examples
        --------
        >>> interval = Interval.of_mean(0.8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
        """
        square = _Z * _Z / count
        centre = (mean + square / 2) / (1 + square)
        half = _Z * np.sqrt(mean * (1 - mean) / count + square / (4 * count)) / (1 + square)
        return cls(float(max(0.0, centre - half)), float(min(1.0, centre + half)))


_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """One model over all questions."""

    model: str
    questions: int
    """Questions with a score."""
    missing: int
    """Questions without one."""
    responses: int
    """Rows, every sample counted."""
    score: float | None
    """Mean over questions of the mean over samples; `None` when nothing was judged."""
    interval: Interval | None
    cost_usd: float | None
    """Mean US dollars per question, where known."""
    priced: int
    """Questions with a known cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """What one answer per question, picked by a rule, would have scored and cost."""

    score: float
    """Mean over the questions that any model was judged on."""
    cost_usd: float | None
    """Mean US dollars per question, over those whose cost is known."""
    priced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary:
    """A table in numbers. Shares are over the questions that two or more models were judged on."""

    questions: int
    judged: int
    """Questions that any model was judged on."""
    responses: int
    right: float
    """The score from which on an answer counts as right."""
    models: tuple[ModelSummary, ...]
    best_single: str | None
    """The model of the highest mean; of equal ones, the cheapest."""
    oracle: Picked | None
    """The best answer to every question; of equal ones, the cheapest."""
    cheapest_right: Picked | None
    """The cheapest right answer; where none is right, the cheapest one."""
    all_right: float | None
    all_wrong: float | None
    one_right: float | None
    """Share where exactly one model is right: nobody could take its place."""
    rescue_MM: tuple[tuple[float | None, ...], ...]
    """``rescue_MM[i][j]``: share of the questions both were judged on where `i` is wrong and `j`
    is right: what asking `j` as well could gain."""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form; unknown is null."""
        return asdict(self)


def describe(table: OutcomeTable, *, right: float = 0.5) -> TableSummary:
    """Summarise `table`.

    Parameters
    ----------
    table : OutcomeTable
    right : float, default=0.5
        The score, above 0 and at most 1, from which on an answer counts as right.

    Raises
    ------
    ConfigError
        If `right` is no such score.

    References
    ----------
    Hu et al., RouterBench, arXiv:2403.12031, section 3: the oracle (highest quality, then lowest
    cost).

    Examples
    --------
    >>> rows = [("q", "a", 1.0), ("q", "b", 0.0), ("r", "a", 0.0), ("r", "b", 1.0)]
    >>> table = OutcomeTable.of(
    ...     [{"query_id": "q", "prompt": "?"}, {"query_id": "r", "prompt": "!"}],
    ...     [{"query_id": q, "model": m, "score": s} for q, m, s in rows],
    ... )
    >>> summary = describe(table)
    >>> summary.models[0].score, summary.oracle.score, summary.one_right
    (0.5, 1.0, 1.0)
    """
    if not 0 < right <= 1:
        raise ConfigError(f"right must be above 0 and at most 1, got {right!r}")
    score_NM, cost_NM = table.scores_NM(), table.costs_NM()
    known_NM = ~np.isnan(score_NM)
    right_NM = known_NM & (np.nan_to_num(score_NM) >= right)
    models = tuple(
        _model(table, m, score_NM[:, m], cost_NM[:, m]) for m in range(len(table.models))
    )
    compared = known_NM.sum(axis=1) >= 2
    answered, hits = known_NM[compared].sum(axis=1), right_NM[compared].sum(axis=1)
    best_NM = np.where(known_NM, score_NM, -np.inf)
    usable_NM = np.where(right_NM.any(axis=1, keepdims=True), right_NM, known_NM)
    return TableSummary(
        questions=len(table.queries),
        judged=int(known_NM.any(axis=1).sum()),
        responses=len(table.responses),
        right=right,
        models=models,
        best_single=_best(models),
        oracle=_pick(best_NM >= best_NM.max(axis=1, keepdims=True, initial=-np.inf),
                     score_NM, cost_NM),
        cheapest_right=_pick(usable_NM, score_NM, cost_NM),
        all_right=_share(hits == answered),
        all_wrong=_share(hits == 0),
        one_right=_share(hits == 1),
        rescue_MM=_rescue(known_NM, right_NM),
    )  # fmt: skip


def _model(table: OutcomeTable, m: int, score_N: FloatColumn, cost_N: FloatColumn) -> ModelSummary:
    known, priced = ~np.isnan(score_N), ~np.isnan(cost_N)
    count = int(known.sum())
    mean = float(score_N[known].mean()) if count else None
    return ModelSummary(
        model=table.models[m],
        questions=count,
        missing=len(score_N) - count,
        responses=int((table.responses.model == m).sum()),
        score=mean,
        interval=None if mean is None else Interval.of_mean(mean, count),
        cost_usd=float(cost_N[priced].mean()) if priced.any() else None,
        priced=int(priced.sum()),
    )


def _best(models: tuple[ModelSummary, ...]) -> str | None:
    ranked = [
        (-model.score, np.inf if model.cost_usd is None else model.cost_usd, k)
        for k, model in enumerate(models)
        if model.score is not None
    ]
    return models[min(ranked)[2]].model if ranked else None


def _pick(allowed_NM: BoolColumn, score_NM: FloatColumn, cost_NM: FloatColumn) -> Picked | None:
    """Return the cheapest of the allowed answers to every question that was judged."""
    known_NM = ~np.isnan(score_NM)
    rows = np.flatnonzero(known_NM.any(axis=1))
    if not rows.size:
        return None
    dear_NM = np.where(np.isnan(cost_NM), _UNPRICED, cost_NM)
    chosen = np.where(allowed_NM & known_NM, dear_NM, np.inf)[rows].argmin(axis=1)
    costs = cost_NM[rows, chosen]
    priced = ~np.isnan(costs)
    return Picked(
        score=float(score_NM[rows, chosen].mean()),
        cost_usd=float(costs[priced].mean()) if priced.any() else None,
        priced=int(priced.sum()),
    )


_UNPRICED = np.finfo(np.float64).max
"""An answer of unknown cost is taken only where there is no other."""


def _share(true_N: BoolColumn) -> float | None:
    return float(true_N.mean()) if true_N.size else None


def _rescue(known_NM: BoolColumn, right_NM: BoolColumn) -> tuple[tuple[float | None, ...], ...]:
    known, hit = known_NM.astype(np.float64), right_NM.astype(np.float64)
    both_MM = known.T @ known
    saved_MM = (known - hit).T @ hit
    return tuple(
        tuple(saved / both if both else None for saved, both in zip(row, counts, strict=True))
        for row, counts in zip(saved_MM.tolist(), both_MM.tolist(), strict=True)
    )
