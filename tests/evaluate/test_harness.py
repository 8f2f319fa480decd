from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest

from polyroute.decision import Answer, Call, Route
from polyroute.errors import ConfigError
from polyroute.evaluate.beyond import ByMetric
from polyroute.evaluate.harness import Conditions, evaluate, request_of
from polyroute.outcomes import OutcomeTable
from polyroute.outcomes.implied import pool_of
from polyroute.policies.fixed import Fixed
from polyroute.policies.random import Random
from polyroute.protocols import Method
from polyroute.trace import Reply
from polyroute.types import Budget, Usage

METHOD = Method(when="pre-generation", what=(), how="heuristic")


def test_a_fixed_model_gets_the_tables_means_over_all_samples(table):
    found = evaluate({m: Fixed(m) for m in table.models}, table)
    for m, model in enumerate(table.models):
        result = found[model]
        assert result.score_N == pytest.approx(table.scores_NM()[:, m])
        assert result.usd_N == pytest.approx(table.costs_NM()[:, m])
        assert result.calls_M.tolist() == [4.0 * (k == m) for k in range(3)]
        assert result.failed == 0
    mean = table.responses.latency_s[table.responses.model == 0].mean()
    assert found["small"].seconds == pytest.approx(mean)


def test_an_answer_has_the_score_of_the_reply_it_repeats_and_the_cost_of_all(table, both):
    found = evaluate({"both": both}, table)["both"]
    scores, costs = table.scores_NM(), table.costs_NM()
    assert found.score_N == pytest.approx(scores[:, 2])
    assert found.usd_N == pytest.approx(costs[:, 0] + costs[:, 2])
    assert found.calls_M.tolist() == [4, 0, 4]
    assert {o.answered_by for o in found.outcomes} == {"large"}
    assert found.outcomes[0].steps[0]["reason"] == "a first look"


def test_costs_are_exact(table, both):
    outcome = evaluate({"both": both}, table)["both"].outcomes[0]
    rows = table.responses
    mine = [r for r in np.flatnonzero((rows.query == 0) & (rows.sample == 0)) if rows.model[r] != 1]
    assert outcome.usd == sum((rows.usd(r) for r in mine), Decimal(0))


@dataclass(frozen=True)
class Says:
    method: ClassVar[Method] = METHOD
    text: str = "an answer of its own"

    async def decide(self, trace):
        return Answer(text=self.text)


@dataclass(frozen=True)
class Breaks:
    method: ClassVar[Method] = METHOD

    async def decide(self, trace):
        raise ValueError("a bug")


@dataclass(frozen=True)
class AsksElse:
    method: ClassVar[Method] = METHOD
    final: bool = False

    async def decide(self, trace):
        if trace.steps:
            return trace.give_up()
        return Route(calls=(Call("small", "something never recorded"),), final=self.final)


def test_an_answer_of_its_own_is_graded_or_unknown_but_never_zero(table):
    unknown = evaluate({"says": Says()}, table)["says"]
    assert np.isnan(unknown.score_N).all()
    grade = Conditions(grade=graded)
    assert evaluate({"says": Says()}, table, conditions=grade)["says"].quality == 0.25


def graded(text, question):
    return float(question.query_id == "q1")


class Answers:
    """A live model; it remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.closed = 0

    async def complete(self, call, trace, emit=None):
        self.asked.append(call.model)
        return Reply(model=call.model, text="it is 3", usage=Usage(10, 5), seconds=2.0)

    async def close(self):
        self.closed += 1


def test_what_is_not_recorded_is_asked_live_and_graded_and_billed(table):
    live, pool = Answers(), pool_of(table)
    graded = [replace(q, gold=("3",) if n < 3 else ("4",)) for n, q in enumerate(table.queries)]
    table = replace(table, queries=tuple(graded))
    conditions = Conditions(live=live, grade=ByMetric("number"), repeats=1)
    policies = {"else": AsksElse(final=True), "small": Fixed("small")}
    found = evaluate(policies, table, conditions=conditions)
    assert live.asked == ["small"] * 4  # `Fixed` asks what is recorded
    assert live.closed == 1
    assert found["else"].score_N.tolist() == [1, 1, 1, 0]
    assert found["else"].usd_N == pytest.approx(float(pool[0].price.cost(Usage(10, 5))))
    assert found["else"].seconds == 2.0
    assert found["else"].unrecorded == 0
    assert found["small"].unrecorded == 0


def test_an_answer_without_a_right_one_to_compare_it_with_stays_unknown(table):
    found = evaluate({"says": Says()}, table, conditions=Conditions(grade=ByMetric()))["says"]
    assert np.isnan(found.score_N).all()
    with pytest.raises(ConfigError, match="expected one of exact_match"):
        ByMetric("exact")


def test_live_models_are_asked_from_one_process():
    with pytest.raises(ConfigError, match="one process"):
        Conditions(live=Answers(), jobs=2)


def test_a_policy_that_breaks_scores_zero_and_says_why(table):
    found = evaluate({"breaks": Breaks()}, table)["breaks"]
    assert found.quality == 0
    assert found.failed == 4
    assert "a bug" in found.failures[0]


def test_what_was_never_recorded_is_unknown_not_zero(table):
    found = evaluate({"else": AsksElse()}, table)["else"]
    assert np.isnan(found.score_N).all()
    assert found.unrecorded == 4


def test_a_missing_judgement_is_unknown():
    table = OutcomeTable.of(
        [{"query_id": "a", "prompt": "a"}, {"query_id": "b", "prompt": "b"}],
        [
            {"query_id": "a", "model": "m", "score": None, "response_text": "x"},
            {"query_id": "b", "model": "m", "score": 1, "response_text": "x"},
        ],
    )
    found = evaluate({"m": Fixed("m")}, table)["m"]
    assert np.isnan(found.score_N[0])
    assert found.quality == 1
    assert np.isnan(found.usd)


def test_questions_that_share_a_prompt_keep_their_own_scores():
    table = OutcomeTable.of(
        [{"query_id": q, "prompt": p} for q, p in (("a", "x y"), ("b", "x  y"), ("c", "z"))],
        [
            {"query_id": q, "model": "m", "score": s, "response_text": "same"}
            for q, s in (("a", 1), ("b", 0), ("c", 0.5))
        ],
    )
    assert evaluate({"m": Fixed("m")}, table)["m"].score_N.tolist() == [1, 0, 0.5]


def test_replies_without_text_still_have_scores(table):
    bare = replace(table.responses, text=(None,) * len(table.responses))
    found = evaluate({"small": Fixed("small")}, replace(table, responses=bare))["small"]
    assert found.quality == pytest.approx(0.5)
    assert "not kept" in found.outcomes[0].steps[0]["replies"][0]["text"]


def test_a_budget_that_pays_for_nothing_scores_zero(table):
    conditions = Conditions(budget=Budget(usd=Decimal("0.0000001")))
    found = evaluate({"large": Fixed("large")}, table, conditions=conditions)["large"]
    assert found.quality == 0
    assert found.calls_M.sum() == 0
    assert set(found.failures) == {"budget"}


def test_draws_differ_between_questions_and_repeat_under_a_seed(table):
    first, again = (evaluate({"r": Random()}, table)["r"] for _ in range(2))
    assert (first.calls_NM == again.calls_NM).all()
    assert len({tuple(row) for row in first.calls_NM}) > 1
    other = evaluate({"r": Random()}, table, conditions=Conditions(seed=5))["r"]
    assert (first.calls_NM != other.calls_NM).any()


def test_the_seed_of_a_repetition_chooses_its_sample(table):
    question = table.queries[0]
    seeds = [request_of(question, budget=Budget(), samples=2, repeat=k).seed for k in range(2)]
    assert [seed % 2 for seed in seeds] == [0, 1]


@pytest.mark.parametrize("stop", [0, 3, 8])
def test_a_run_that_was_cut_short_goes_on_and_ends_the_same(table, both, tmp_path, stop):
    policies = {"both": both, "small": Fixed("small")}
    conditions = Conditions(folder=tmp_path)
    whole = evaluate(policies, table, conditions=conditions)
    logs = sorted(tmp_path.glob("*.jsonl"))
    assert len(logs) == 2
    for log in logs:
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[:stop]) + '{"query_id": "q')
    told = []
    watched = replace(conditions, progress=lambda done, total: told.append((done, total)))
    again = evaluate(policies, table, conditions=watched)
    assert told[0] == (2 * stop, 16)
    assert told[-1] == (16, 16)
    for name in policies:
        assert [o.to_json() for o in again[name].outcomes] == [
            o.to_json() for o in whole[name].outcomes
        ]


def test_another_policy_table_or_budget_does_not_take_up_the_run(table, tmp_path):
    def files(policy, table=table, **conditions):
        evaluate({"p": policy}, table, conditions=Conditions(folder=tmp_path, **conditions))
        return len([*tmp_path.glob("*.jsonl")])

    assert files(Fixed("small")) == 1
    assert files(Fixed("large")) == 2
    assert files(Fixed("small"), budget=Budget(rounds=2)) == 3
    assert files(Fixed("small"), seed=1) == 4
    assert files(Fixed("small"), table=table.only(np.array([True, True, False, True]))) == 5
    assert files(Fixed("small")) == 5


def test_a_damaged_log_is_refused(table, tmp_path):
    conditions = Conditions(folder=tmp_path)
    evaluate({"p": Fixed("small")}, table, conditions=conditions)
    (log,) = tmp_path.glob("*.jsonl")
    log.write_text("nonsense\n" + log.read_text())
    with pytest.raises(ConfigError, match="damaged"):
        evaluate({"p": Fixed("small")}, table, conditions=conditions)


def eighty():
    return OutcomeTable.of(
        [{"query_id": str(n), "prompt": f"question {n}"} for n in range(80)],
        [
            {"query_id": str(n), "model": m, "score": n % k / k, "response_text": "x"}
            for n in range(80)
            for k, m in enumerate("abc", start=2)
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("place", ["processes", "ray"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_two_workers_find_what_one_finds_and_go_on_where_a_run_stopped(place, tmp_path):
    if place == "ray":
        pytest.importorskip("ray", reason="the extra [scale] is not installed")
    table, policies = eighty(), {"random": Random(), "a": Fixed("a")}
    one = evaluate(policies, table)
    told = []
    conditions = Conditions(
        jobs=2, place=place, folder=tmp_path, progress=lambda *told_of: told.append(told_of)
    )
    two = evaluate(policies, table, conditions=conditions)
    assert told[0] == (0, 160)
    assert told[-1] == (160, 160)
    for log in tmp_path.glob("*.jsonl"):  # as if the run had been cut in the middle
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:41]))
    told.clear()
    again = evaluate(policies, table, conditions=conditions)
    assert 0 < told[0][0] < 160
    for name in policies:
        assert one[name].outcomes == two[name].outcomes == again[name].outcomes


def test_work_goes_to_a_place_that_is_known():
    with pytest.raises(ConfigError, match="'processes' or on 'ray'"):
        evaluate({"a": Fixed("a")}, eighty(), conditions=Conditions(jobs=2, place="moon"))


def test_a_policy_that_cannot_travel_is_refused(table):
    local = type("Local", (), {"method": METHOD, "decide": Fixed("small").decide})()
    with pytest.raises(ConfigError, match="one process"):
        evaluate({"p": local, "q": local}, table, conditions=Conditions(jobs=2))


def test_no_question_is_refused(table):
    with pytest.raises(ConfigError, match="no question"):
        evaluate({}, table.only(np.zeros(4, bool)))
    with pytest.raises(ConfigError, match="repeats"):
        Conditions(repeats=0)


def test_the_prices_of_the_pool_are_those_the_costs_were_made_with(table):
    price = pool_of(table).card("large").price
    assert (price.input, price.output) == (10, 40)
