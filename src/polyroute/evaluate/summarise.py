"""Sum a run up: every measure of every router, from the same outcomes of the same questions.

The one decision here: every claim of being better is a paired one, question by question, and
corrected for how many routers were tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyroute.evaluate.baselines import baselines, best_constant, matched_random, single_models
from polyroute.evaluate.bootstrap import Interval, holm, mean_interval, sign_flip_p
from polyroute.evaluate.curve import Curve
from polyroute.evaluate.metrics.aiq import aiq
from polyroute.evaluate.metrics.arena import arena_score, optimality
from polyroute.evaluate.metrics.collapse import call_entropy, most_used_share, regret_to_constant
from polyroute.evaluate.metrics.llmrouterbench import cost_save, pareto_dist, perf_gain
from polyroute.evaluate.metrics.regret import gap_closed, oracle_regret
from polyroute.evaluate.metrics.routellm import apgr, cpt, strong_curve
from polyroute.evaluate.metrics.routereval import predicted_entropy, value_over_best
from polyroute.evaluate.recording import Cells, cells_of
from polyroute.evaluate.result import Outcome, Result
from polyroute.evaluate.summary import CurveRow, Dispute, Group, Kind, Row, Summary
from polyroute.outcomes import OutcomeTable
from polyroute.pool import Pool

__all__ = ["Precision", "summarise"]

_DISPUTES = 12
"""Questions that are shown with their traces."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How intervals are made; see `polyroute.evaluate.bootstrap.mean_interval`."""

    level: float = 0.95
    resamples: int = 2_000
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Against:
    """What the rows are measured with."""

    cells: Cells
    constant: Result
    table: OutcomeTable
    train: OutcomeTable | None
    pool: Pool
    precision: Precision

    def mean(self, values: np.ndarray) -> Interval:
        if np.isnan(values).all():
            return Interval(_NAN, _NAN, _NAN)
        how = self.precision
        return mean_interval(values, level=how.level, resamples=how.resamples, seed=how.seed)

    def difference(self, result: Result, other: Result) -> Interval:
        return self.mean(result.score_N - other.score_N)


def summarise(
    results: Mapping[str, Result],
    table: OutcomeTable,
    pool: Pool,
    *,
    train: OutcomeTable | None = None,
    curves: Mapping[str, Curve] | None = None,
    precision: Precision | None = None,
) -> Summary:
    """Return everything that a run says.

    Parameters
    ----------
    results : mapping of str to Result
        The routers, from `polyroute.evaluate.harness.evaluate` on `table`.
    table : OutcomeTable
    pool : Pool
    train : OutcomeTable, optional
        Where baselines are chosen; see `polyroute.evaluate.baselines.baselines`.
    curves : mapping of str to Curve, optional
        From `polyroute.evaluate.curve.curves`.
    precision : Precision, optional
        Of the intervals.

    Raises
    ------
    ConfigError
        If nothing in the table is scored.
    """
    how = precision or Precision()
    fixed = baselines(table, pool, train=train)
    against = _Against(
        cells=cells_of(table, pool), constant=fixed["best constant"],
        table=table, train=train, pool=pool,
        precision=how,
    )  # fmt: skip
    p_values = {
        name: sign_flip_p(result.score_N - against.constant.score_N, seed=how.seed)
        for name, result in results.items()
    }
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    rows = [_row(r, "router", against, corrected.get(name, _NAN)) for name, r in results.items()]
    rows += [_row(r, "bound" if _is_bound(n) else "baseline", against, _NAN)
             for n, r in fixed.items()]  # fmt: skip
    singles = single_models(table, pool)
    rows += [_row(result, "model", against, _NAN) for result in singles.values()]
    return Summary(
        questions=len(table.queries),
        models=pool.ids,
        level=how.level,
        seed=how.seed,
        constant=best_constant(table if train is None else train, pool),
        constant_from="the table itself" if train is None else "train",
        rows=tuple(rows),
        curves=tuple(_curve_rows(curves or {}, singles, against)),
        groups=tuple(_groups(results, against)),
        disputes=tuple(_disputes(results, table)),
        without_text=sum(text is None for text in table.texts),
    )


def _is_bound(name: str) -> bool:
    return name in ("oracle", "cheapest correct")


def _row(result: Result, kind: Kind, against: _Against, p_corrected: float) -> Row:
    known = result.known_N
    constant = against.constant
    both = known & constant.known_N
    usd = against.mean(result.usd_N[known]) if np.isfinite(result.usd) else None
    best = _finite_mean(constant.score_N[both])
    mine = _finite_mean(result.score_N[both])
    optimal = optimality(
        result.score_N, result.usd_N, score_NM=against.cells.score_NM, usd_NM=against.cells.usd_NM
    )
    calls = result.calls_M
    share = calls / calls.sum() if calls.sum() else calls
    coin = None
    if kind == "router":
        coin = matched_random(result.usd, against.table, against.pool, train=against.train)
    oracle = _finite_mean(np.nanmax(_or_nan(against.cells.score_NM), axis=1)[both])
    return Row(
        name=result.name,
        kind=kind,
        questions=int(known.sum()),
        quality=against.mean(result.score_N),
        usd=result.usd,
        usd_interval=usd,
        seconds=result.seconds,
        calls=float(calls.sum()) / max(1, len(known)),
        failed=result.failed,
        first_failure=next((f for f in result.failures if f), ""),
        unrecorded=result.unrecorded,
        difference=against.difference(result, constant),
        p=sign_flip_p(result.score_N - constant.score_N, seed=against.precision.seed),
        p_corrected=p_corrected,
        over_coin=None if coin is None else against.difference(result, coin),
        regret=oracle_regret(result.score_N[both], against.cells.score_NM[both])
        if both.any()
        else _NAN,
        gap_closed=gap_closed(mine, best_single=best, oracle=oracle),
        value_over_best=value_over_best(result.score_N[both], best_single=best)
        if both.any() and best
        else _NAN,
        regret_to_constant=regret_to_constant(result.score_N[both], constant.score_N[both])
        if both.any()
        else _NAN,
        most_used=result.models[int(calls.argmax())] if calls.sum() else "",
        most_used_share=most_used_share(calls) if calls.sum() else _NAN,
        entropy=call_entropy(calls) if calls.sum() else _NAN,
        predicted_entropy=_NAN
        if result.predicted_NM is None
        else predicted_entropy(result.predicted_NM),
        robustness=result.robustness,
        arena=arena_score(result.quality, 1000 * result.usd)
        if np.isfinite(result.usd) and known.any()
        else _NAN,
        optimal_selection=optimal.selection,
        optimal_cost=optimal.cost,
        optimal_accuracy=optimal.accuracy,
        shares={m: float(s) for m, s in zip(result.models, share, strict=True) if s},
    )


def _curve_rows(
    curves: Mapping[str, Curve], singles: Mapping[str, Result], against: _Against
) -> list[CurveRow]:
    points = [(r.usd, r.quality) for r in singles.values()]
    points += [(r.usd, r.quality) for curve in curves.values() for r in curve.results]
    known = np.array([p for p in points if np.isfinite(p).all()]).reshape(-1, 2)
    prices = [r.usd for r in singles.values() if np.isfinite(r.usd)]
    rows = []
    for curve in curves.values():
        hull = curve.hull
        measures = dict.fromkeys(("aiq", "perf_gain", "cost_save", "pareto_dist"), _NAN)
        best = against.constant.quality
        if best > 0 and np.isfinite(curve.quality_K).all():
            measures["perf_gain"] = perf_gain(curve.quality_K, best_single=best)
        if hull is not None and np.isfinite(curve.cost_K).all() and len(known):
            measures["pareto_dist"] = pareto_dist(
                curve.cost_K, curve.quality_K, all_cost=known[:, 0], all_quality=known[:, 1]
            )
            if len(prices) > 1 and max(prices) > min(prices):
                measures["aiq"] = aiq(hull, cost_min=min(prices), cost_max=max(prices))
            if against.constant.usd > 0:
                measures["cost_save"] = cost_save(
                    curve.quality_K, curve.cost_K,
                    best_single=best, best_single_cost=against.constant.usd,
                )  # fmt: skip
        shares = [result.calls_M / max(1.0, result.calls_M.sum()) for result in curve.results]
        rows.append(
            CurveRow(
                name=curve.name,
                turns=curve.turns,
                knob=tuple(map(float, curve.knob_K)),
                usd=tuple(map(float, curve.cost_K)),
                quality=tuple(against.mean(result.score_N) for result in curve.results),
                hull=() if hull is None else tuple(zip(map(float, hull.cost),
                                                       map(float, hull.quality), strict=True)),
                shares=tuple(
                    {m: float(s) for m, s in zip(against.pool.ids, share, strict=True) if s}
                    for share in shares
                ),
                **measures,
                **_strong_measures(curve, singles),
            )
        )  # fmt: skip
    return rows


def _strong_measures(curve: Curve, singles: Mapping[str, Result]) -> dict[str, float]:
    """Return RouteLLM's measures, for a pool of two models of which one is better."""
    unknown = dict.fromkeys(("apgr", "cpt50", "cpt80", "cpt95"), _NAN)
    if len(singles) != 2 or not np.isfinite(curve.quality_K).all():
        return unknown
    weak, strong = sorted(singles.values(), key=lambda result: result.quality)
    if not strong.quality > weak.quality:
        return unknown
    column = strong.models.index(strong.name)
    share = [min(1.0, float(r.calls_NM[:, column].mean())) for r in curve.results]
    line = strong_curve(share, curve.quality_K, weak=weak.quality, strong=strong.quality)
    return {"apgr": apgr(line), **{f"cpt{x}": cpt(line, x / 100) for x in (50, 80, 95)}}


def _groups(results: Mapping[str, Result], against: _Against) -> list[Group]:
    places: dict[tuple[str, str], list[int]] = {}
    for n, question in enumerate(against.table.queries):
        places.setdefault((question.dataset, question.task), []).append(n)
    candidates = {**results, "best constant": against.constant}
    found = []
    for (dataset, task), rows in sorted(places.items()):
        quality = {name: _finite_mean(r.score_N[rows]) for name, r in candidates.items()}
        best = max((q for q in quality.values() if np.isfinite(q)), default=_NAN)
        winners = tuple(name for name, q in quality.items() if q >= best - 1e-12)
        found.append(
            Group(dataset=dataset, task=task, questions=len(rows), quality=quality, winners=winners)
        )
    return found


def _disputes(results: Mapping[str, Result], table: OutcomeTable) -> list[Dispute]:
    """Return the questions on which routers differ most; first what splits them in half."""
    if len(results) < 2:
        return []
    scores = np.stack([result.score_N for result in results.values()])
    usable = np.flatnonzero(~np.isnan(scores).any(axis=0))
    order = sorted(usable, key=lambda n: (-float(scores[:, n].var()), n))[:_DISPUTES]
    first: dict[str, dict[str, Outcome]] = {
        name: {o.query_id: o for o in reversed(result.outcomes)} for name, result in results.items()
    }
    found = []
    for n in order:
        question = table.queries[n]
        spread = float(np.ptp(scores[:, n]))
        if not spread:
            break
        outcomes = {k: by[question.query_id] for k, by in first.items() if question.query_id in by}
        found.append(
            Dispute(
                query_id=question.query_id, dataset=question.dataset, task=question.task,
                prompt=question.prompt, spread=spread, outcomes=outcomes,
            )
        )  # fmt: skip
    return found


def _finite_mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else _NAN


def _or_nan(score_NM: np.ndarray) -> np.ndarray:
    """Return the scores, with -1 where a whole row is unknown (numpy warns of such rows)."""
    return np.where(np.isnan(score_NM).all(axis=1, keepdims=True), -1.0, score_NM)
