"""What every router has to beat, and the bounds that none can pass.

The one decision here: a baseline is made of choices that could have been made. What chose with
sight of the outcomes it is judged on says so (`Result.uses_outcomes`).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.aiq import non_decreasing_hull
from polyroute.evaluate.metrics.regret import cheapest_correct, oracle
from polyroute.evaluate.recording import Cells, cells_of
from polyroute.evaluate.result import Result
from polyroute.outcomes import OutcomeTable
from polyroute.pool import Pool

__all__ = ["baselines", "best_constant", "matched_random", "mixed", "picked", "single_models"]


def picked(name: str, picks_N: ArrayLike, cells: Cells, pool: Pool) -> Result:
    """Return the result of asking column ``picks_N[n]`` on question n.

    It equals an episode of one call: tested against `polyroute.evaluate.harness.evaluate`.
    """
    picks = np.asarray(picks_N, np.intp)
    return mixed(name, np.eye(len(pool))[picks], cells, pool)


def mixed(name: str, share_NM: ArrayLike, cells: Cells, pool: Pool) -> Result:
    """Return the expected result of drawing the model of each question with given chances.

    Parameters
    ----------
    name : str
    share_NM : array-like of shape (N, M)
        Chances, each row summing to 1. What a model that may be drawn has no record of makes the
        question unknown.
    """
    share = np.asarray(share_NM, np.float64)
    return Result(
        name=name,
        score_N=_expected(share, cells.score_NM),
        usd_N=_expected(share, cells.usd_NM),
        seconds_N=_expected(share, cells.seconds_NM),
        calls_NM=share,
        models=pool.ids,
        failures=(None,) * len(share),
    )


def single_models(table: OutcomeTable, pool: Pool) -> dict[str, Result]:
    """Return the result of every card of `pool` asked alone, by its id."""
    cells = cells_of(table, pool)
    n = len(table.queries)
    return {card.id: picked(card.id, np.full(n, m), cells, pool) for m, card in enumerate(pool)}


def best_constant(train: OutcomeTable, pool: Pool) -> str:
    """Return the id with the highest mean score on `train`, the first of equal ones.

    Raises
    ------
    ConfigError
        If nothing in it is scored.
    """
    means = _column_means(cells_of(train, pool).score_NM)
    if np.isnan(means).all():
        raise ConfigError("no answer of the pool's models has a score")
    return pool.ids[int(np.nanargmax(means))]


def baselines(
    table: OutcomeTable, pool: Pool, *, train: OutcomeTable | None = None
) -> dict[str, Result]:
    """Return what to compare routers with on `table`, by name.

    ``best constant``, ``cheapest``, ``random``, ``best per task``, and the bounds ``oracle`` and
    ``cheapest correct``. What has to be chosen is chosen on `train`; without it, on the table
    itself, and then the row says that it used outcomes.

    Parameters
    ----------
    table : OutcomeTable
        The questions to judge on.
    pool : Pool
    train : OutcomeTable, optional
        Other questions, with outcomes of the same models.

    Raises
    ------
    ConfigError
        If nothing is scored.
    """
    cells = cells_of(table, pool)
    seen = table if train is None else train
    n, m = cells.score_NM.shape
    constant = pool.index_of(best_constant(seen, pool))
    rows = {"best constant": picked("best constant", np.full(n, constant), cells, pool)}
    prices = _column_means(cells_of(seen, pool).usd_NM)
    if not np.isnan(prices).all():
        cheap = int(np.nanargmin(prices))
        rows["cheapest"] = picked("cheapest", np.full(n, cheap), cells, pool)
    rows["random"] = mixed("random", np.full((n, m), 1 / m), cells, pool)
    by_task = _best_by_task(seen, pool)
    tasks = [(question.dataset, question.task) for question in table.queries]
    picks = [by_task.get(task, constant) for task in tasks]
    rows["best per task"] = picked("best per task", picks, cells, pool)
    if train is None:
        for name in ("best constant", "best per task"):
            rows[name] = _seen_through(rows[name])
    for name, choice in (("cheapest correct", cheapest_correct), ("oracle", oracle)):
        picks_N = choice(cells.score_NM, cells.usd_NM)
        rows[name] = _seen_through(picked(name, picks_N, cells, pool))
    return rows


def matched_random(
    usd: float, table: OutcomeTable, pool: Pool, *, train: OutcomeTable | None = None
) -> Result | None:
    """Return the coin that spends `usd` per question: the best draw between two single models.

    The two are neighbours on the hull of single models, measured on `train` (see `baselines`).
    A router that is not better than this coin has learned nothing from the questions.

    Returns
    -------
    Result or None
        `None` where prices are unknown, or `usd` is below the cheapest model's.

    References
    ----------
    Hu et al., *RouterBench*, arXiv:2403.12031, section 3.3: the zero router.
    """
    known = cells_of(table if train is None else train, pool)
    cost, quality = _column_means(known.usd_NM), _column_means(known.score_NM)
    usable = np.flatnonzero(~np.isnan(cost) & ~np.isnan(quality))
    if not usable.size or not np.isfinite(usd):
        return None
    hull = non_decreasing_hull(cost[usable], quality[usable])
    if usd < hull.cost[0] * (1 - 1e-9):
        return None
    corners = [
        next(m for m in usable if (cost[m], quality[m]) == (c, q))
        for c, q in zip(hull.cost, hull.quality, strict=True)
    ]
    k = int(np.searchsorted(hull.cost, usd, side="right")) - 1
    share = np.zeros(len(pool))
    if k == len(corners) - 1:
        share[corners[k]] = 1.0
    else:
        part = max(0.0, (usd - hull.cost[k]) / (hull.cost[k + 1] - hull.cost[k]))
        share[corners[k]], share[corners[k + 1]] = 1 - part, part
    cells = cells_of(table, pool)
    row = mixed("random at matched cost", np.tile(share, (len(table.queries), 1)), cells, pool)
    return row if train is not None else _seen_through(row)


def _best_by_task(seen: OutcomeTable, pool: Pool) -> Mapping[tuple[str, str], int]:
    scores = cells_of(seen, pool).score_NM
    places: dict[tuple[str, str], list[int]] = {}
    for n, question in enumerate(seen.queries):
        places.setdefault((question.dataset, question.task), []).append(n)
    means = {task: _column_means(scores[rows]) for task, rows in places.items()}
    return {task: int(np.nanargmax(m)) for task, m in means.items() if not np.isnan(m).all()}


def _column_means(values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of what is known; NaN for a column without anything."""
    known = ~np.isnan(values_NM)
    count = known.sum(axis=0)
    total = np.where(known, values_NM, 0).sum(axis=0)
    means = np.full(len(count), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _expected(share_NM: NDArray[np.float64], values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    products = share_NM * np.where(share_NM > 0, values_NM, 0.0)
    return np.asarray(products.sum(axis=1), np.float64)


def _seen_through(result: Result) -> Result:
    return replace(result, uses_outcomes=True)
