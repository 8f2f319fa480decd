from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.baselines import (
    baselines,
    best_constant,
    matched_random,
    picked,
    single_models,
)
from polyroute.evaluate.curve import curves
from polyroute.evaluate.harness import Conditions, evaluate
from polyroute.evaluate.recording import cells_of
from polyroute.outcomes import OutcomeTable
from polyroute.outcomes.implied import pool_of
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Method


def test_a_single_model_is_the_same_computed_and_run(table):
    pool = pool_of(table)
    ran = evaluate({m: Fixed(m) for m in table.models}, table, pool=pool)
    for name, computed in single_models(table, pool).items():
        for column in ("score_N", "usd_N", "seconds_N", "calls_NM"):
            assert getattr(computed, column) == pytest.approx(getattr(ran[name], column)), column


def test_what_is_chosen_is_chosen_on_train(table):
    """On train 'small' is right everywhere; on the table it is not the best."""
    train = OutcomeTable.of(
        [{"query_id": "t", "prompt": "t", "dataset": "sums", "task": "t0"}],
        [
            {"query_id": "t", "model": m, "score": m == "small", "cost_usd": cost}
            for m, cost in (("small", 3), ("middle", 1), ("large", 2))
        ],
    )
    pool = pool_of(table)
    rows = baselines(table, pool, train=train)
    scores = table.scores_NM()
    assert rows["best constant"].score_N == pytest.approx(scores[:, 0])
    assert rows["cheapest"].score_N == pytest.approx(scores[:, 1])
    assert rows["best per task"].score_N == pytest.approx(scores[:, 0])
    assert not rows["best constant"].uses_outcomes
    alone = baselines(table, pool)
    assert alone["best constant"].score_N == pytest.approx(scores[:, 2])
    assert alone["best constant"].uses_outcomes


def test_the_best_per_task_is_the_best_on_each_task(table):
    rows = baselines(table, pool_of(table))
    scores = table.scores_NM()  # every question is a task of its own here
    assert rows["best per task"].score_N == pytest.approx(scores.max(axis=1))
    assert rows["oracle"].score_N == pytest.approx(scores.max(axis=1))
    assert rows["oracle"].uses_outcomes


def test_the_oracle_costs_no_more_than_any_choice_as_good(table):
    pool = pool_of(table)
    rows, cells = baselines(table, pool), cells_of(table, pool)
    best = np.where(
        cells.score_NM == cells.score_NM.max(axis=1, keepdims=True), cells.usd_NM, np.inf
    )
    assert rows["oracle"].usd_N == pytest.approx(best.min(axis=1))


def test_random_is_the_mean_of_all_models(table):
    row = baselines(table, pool_of(table))["random"]
    assert row.score_N == pytest.approx(table.scores_NM().mean(axis=1))
    assert row.calls_M == pytest.approx([4 / 3] * 3)


def test_the_coin_spends_what_it_is_given_on_the_hull_of_single_models(table):
    pool = pool_of(table)
    singles = single_models(table, pool)
    small, large = singles["small"], singles["large"]
    usd = (small.usd + large.usd) / 2
    coin = matched_random(usd, table, pool)
    assert coin.usd == pytest.approx(usd)
    assert coin.quality == pytest.approx((small.quality + large.quality) / 2)
    assert matched_random(small.usd, table, pool).quality == pytest.approx(small.quality)
    assert matched_random(9.0, table, pool).quality == pytest.approx(large.quality)
    assert matched_random(small.usd / 2, table, pool) is None
    assert matched_random(float("nan"), table, pool) is None


def test_a_cell_without_a_record_makes_only_its_own_question_unknown(table):
    pool = pool_of(table)
    keep = ~((table.responses.query == 1) & (table.responses.model == 0))
    columns = {}
    for name in table.responses.__slots__:
        values = getattr(table.responses, name)
        chosen = np.flatnonzero(keep)
        columns[name] = (
            tuple(values[r] for r in chosen) if isinstance(values, tuple) else values[keep]
        )
    sparse = replace(table, responses=type(table.responses)(**columns))
    row = picked("small", np.zeros(4, int), cells_of(sparse, pool), pool)
    assert np.isnan(row.score_N).tolist() == [False, True, False, False]
    ran = evaluate({"small": Fixed("small")}, sparse, pool=pool)["small"]
    assert np.isnan(ran.score_N).tolist() == [False, True, False, False]
    of_the_rest = table.costs_NM()[[0, 2, 3], 0].mean()  # score and price of the same questions
    assert row.usd == pytest.approx(of_the_rest)
    assert ran.usd == pytest.approx(of_the_rest)


def test_nothing_scored_is_refused():
    bare = OutcomeTable.of(
        [{"query_id": "a", "prompt": "a"}], [{"query_id": "a", "model": "m", "score": None}]
    )
    with pytest.raises(ConfigError, match="score"):
        best_constant(bare, pool_of(bare))


@dataclass(frozen=True)
class PaysUp:
    """Take the large model when quality is worth ten cents."""

    method: ClassVar[Method] = Fixed.method

    async def decide(self, trace):
        rich = (trace.request.budget.usd_per_quality or 0) >= 0.1
        return await Fixed("large" if rich else "small").decide(trace)


def test_a_curve_has_one_point_per_willingness_to_pay(table):
    told = []
    conditions = Conditions(progress=lambda done, total: told.append((done, total)))
    found = curves(
        {"pays": PaysUp(), "small": Fixed("small")}, table, [0.2, 0.0, 0.2], conditions=conditions
    )
    singles = single_models(table, pool_of(table))
    assert found["pays"].knob_K.tolist() == [0, 0.2]
    assert found["pays"].turns
    assert not found["small"].turns
    wanted = [singles["small"].quality, singles["large"].quality]
    assert found["pays"].quality_K == pytest.approx(wanted)
    assert found["pays"].hull.quality == pytest.approx(wanted)
    assert told[-1] == (32, 32)
    assert told == sorted(told)
