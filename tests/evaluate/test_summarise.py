import json

import numpy as np
import pytest

from polyroute.evaluate.baselines import single_models
from polyroute.evaluate.curve import curves
from polyroute.evaluate.harness import evaluate
from polyroute.evaluate.summarise import Precision, summarise
from polyroute.outcomes import OutcomeTable
from polyroute.outcomes.implied import pool_of
from polyroute.policies.fixed import Fixed
from polyroute.policies.random import Random


@pytest.fixture
def summary(table, both):
    policies = {"both": both, "random policy": Random(), "small only": Fixed("small")}
    results = evaluate(policies, table)
    return summarise(
        results,
        table,
        pool_of(table),
        curves=curves(policies, table, [0, 1]),
        precision=Precision(resamples=200),
    )


def row(summary, name):
    return next(row for row in summary.rows if row.name == name)


def test_a_row_has_what_can_be_counted_by_hand(summary, table):
    both, scores = row(summary, "both"), table.scores_NM()
    assert both.quality.estimate == pytest.approx(scores[:, 2].mean())
    assert both.calls == 2
    assert both.shares == {"small": 0.5, "large": 0.5}
    assert both.entropy == pytest.approx(1)
    assert both.difference.estimate == pytest.approx(0)  # the best constant is 'large'
    assert both.gap_closed == pytest.approx(0)
    assert both.regret == pytest.approx((scores.max(axis=1) - scores[:, 2]).mean())
    oracle = row(summary, "oracle")
    assert (oracle.kind, oracle.regret, oracle.gap_closed) == ("bound", 0, pytest.approx(1))


def test_only_routers_are_corrected_for_their_number(summary):
    for each in summary.rows:
        assert np.isfinite(each.p_corrected) == (each.kind == "router")
        if each.kind == "router":
            assert each.p_corrected >= each.p


def test_there_is_a_row_for_every_single_model_and_baseline(summary, table):
    names = {each.name for each in summary.rows}
    assert names >= {*table.models, "best constant", "cheapest", "random", "best per task"}
    assert names >= {"oracle", "cheapest correct"}


def test_a_router_that_pays_twice_is_not_better_than_a_coin(summary):
    assert row(summary, "both").over_coin.estimate <= 0
    assert row(summary, "small only").over_coin.estimate == pytest.approx(0)


def test_who_won_where_is_by_group(summary):
    assert [(g.dataset, g.task, g.questions) for g in summary.groups] == [
        ("riddles", "t0", 1), ("riddles", "t1", 1), ("sums", "t0", 1), ("sums", "t1", 1),
    ]  # fmt: skip
    sums = summary.groups[2]
    assert sums.quality["both"] == 1
    assert {"both", "small only", "best constant"} <= set(sums.winners)


def test_disputed_questions_come_with_the_traces_of_all_routers(summary):
    assert summary.disputes
    for dispute in summary.disputes:
        assert dispute.spread > 0
        assert set(dispute.outcomes) == {"both", "random policy", "small only"}
    spreads = [dispute.spread for dispute in summary.disputes]
    assert max(spreads) == spreads[0]


def test_a_curve_row_measures_against_the_best_constant(summary, table):
    small = next(curve for curve in summary.curves if curve.name == "small only")
    singles = single_models(table, pool_of(table))
    gain = singles["small"].quality / singles["large"].quality - 1
    assert small.perf_gain == pytest.approx(gain)
    assert np.isnan(small.cost_save)
    assert small.pareto_dist == pytest.approx(0)  # the cheapest model is on the front
    assert not small.turns
    assert small.aiq == pytest.approx(singles["small"].quality)


def test_apgr_of_a_pool_of_two_is_computed_and_of_three_is_not(summary):
    assert np.isnan(summary.curves[0].apgr)
    two = OutcomeTable.of(
        [{"query_id": str(n), "prompt": str(n)} for n in range(8)],
        [
            {"query_id": str(n), "model": m, "score": n < k, "response_text": m}
            for n in range(8)
            for m, k in (("weak", 4), ("strong", 8))
        ],
    )
    policies = {"random": Random()}
    found = summarise(
        evaluate(policies, two),
        two,
        pool_of(two),
        curves=curves(policies, two, [0]),
        precision=Precision(resamples=50),
    ).curves[0]
    assert 0 <= found.apgr <= 1
    assert 0 <= found.cpt50 <= found.cpt80 <= found.cpt95 <= 1


def test_the_summary_is_json_and_unknown_is_null(summary):
    wire = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert wire["questions"] == 4
    assert wire["curves"][0]["apgr"] is None


def test_a_table_without_costs_has_no_money_in_its_summary():
    table = OutcomeTable.of(
        [{"query_id": str(n), "prompt": str(n)} for n in range(4)],
        [{"query_id": str(n), "model": m, "score": n % 2} for n in range(4) for m in "ab"],
    )
    policies = {"a": Fixed("a")}
    found = summarise(
        evaluate(policies, table), table, pool_of(table), curves=curves(policies, table, [0]),
        precision=Precision(resamples=50),
    )  # fmt: skip
    assert np.isnan(found.rows[0].arena)
    assert found.rows[0].usd_interval is None
    assert found.rows[0].over_coin is None
    assert found.curves[0].hull == ()
    assert found.without_text == 8


def test_a_router_without_a_single_score_has_a_row_all_the_same(table, both):
    lost = OutcomeTable.of(
        [{"query_id": "q", "prompt": "p"}, {"query_id": "r", "prompt": "s"}],
        [
            {"query_id": "q", "model": "small", "score": 1},
            {"query_id": "r", "model": "small", "score": None},
            {"query_id": "q", "model": "large", "score": None},
        ],
    )
    found = summarise(
        evaluate({"both": both}, lost), lost, pool_of(lost), precision=Precision(resamples=50)
    ).rows[0]
    assert found.questions == 0
    assert np.isnan(found.quality.estimate)
