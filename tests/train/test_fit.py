import asyncio

import numpy as np
import pytest

from polyroute import Request, Trace
from polyroute.errors import ConfigError, UnknownPluginError
from polyroute.outcomes import OutcomeTable
from polyroute.train.calibrate import Goal
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit, in_full

RIDGE = {"name": "ridge", "encoder": "tfidf"}


@pytest.fixture(scope="module")
def examples(table):
    return Examples.of(table)


def asked(fitted, prompt):
    trace = Trace(Request.of(prompt), fitted.pool)
    return asyncio.run(fitted.policy.decide(trace)).calls[0].model


def test_a_greedy_router_learns_who_is_good_at_what(examples):
    fitted = fit(Plan(policy={"name": "greedy", "quality": {**RIDGE, "alpha": 1.0}}), examples)
    assert asked(fitted, "Write the poem of train") == "small"
    assert asked(fitted, "Write the proof of train") == "large"
    assert fitted.training["questions"] == 300
    assert fitted.training["mean_usd"]["large"] == pytest.approx(0.01, rel=0.1)


def test_a_target_routes_what_is_easy_to_the_cheap_model(examples):
    policy = {"name": "greedy", "quality": {**RIDGE, "alpha": 1.0}, "cost": "mean"}
    fitted = fit(Plan(policy=policy, goal=Goal(quality=0.95)), examples)
    assert fitted.training["goal"]["reached"]
    assert fitted.training["goal"]["got_usd"] < 0.7 * fitted.training["goal"]["best_single_usd"]
    assert asked(fitted, "Write the sum of train") == "small"
    assert asked(fitted, "Write the proof of train") == "large"


def test_the_grid_keeps_what_errs_least_on_questions_held_out(examples):
    plan = Plan(
        policy={"name": "greedy", "quality": RIDGE}, grid={"quality.alpha": [1e9, 1.0, 1e6]}
    )
    told = []
    fitted = fit(plan, examples, say=told.append)
    errors = [one["mean_squared_error"]["quality"] for one in fitted.training["tried"]]
    assert [one["quality.alpha"] for one in fitted.training["tried"]] == [1e9, 1.0, 1e6]
    assert errors.index(min(errors)) == 1
    assert fitted.spec["quality"]["alpha"] == 1.0
    assert len(told) == 5

    # the part by which it was chosen is the one that the seed says, and was not learned from
    part, held = examples.held_out(0.2, seed=0)
    assert fitted.training["held_out"] == len(held)
    alone = fit(Plan(policy=fitted.spec), part)
    again = alone.policy.quality.predict(held.requests, held.pool)
    assert np.nanmean((again - held.quality_NM) ** 2) == pytest.approx(min(errors))


def test_what_it_is_judged_by_is_never_seen(make):
    """Two tables that differ only in the outcomes of val give the same router."""
    train = make(90, seed=1)
    val = make(60, seed=2, split="val")
    lies = make(60, seed=3, split="val")
    plan = Plan(
        policy={"name": "greedy", "quality": RIDGE, "cost": "mean"},
        grid={"quality.alpha": [1, 10]},
        goal=Goal(quality=0.9),
    )
    first, second = (
        fit(plan, Examples.of(_joined(train, other), splits=["train"])) for other in (val, lies)
    )
    assert first.spec == second.spec
    assert first.training == second.training


def _joined(*tables):
    queries, responses = [], []
    for table in tables:
        queries += [
            {"query_id": q.query_id, "prompt": q.prompt, "split": q.split} for q in table.queries
        ]
        rows = table.responses
        responses += [
            {
                "query_id": table.queries[rows.query[k]].query_id,
                "model": table.models[rows.model[k]],
                "score": rows.score[k],
                "cost_usd": rows.cost_usd[k],
            }
            for k in range(len(rows))
        ]
    return OutcomeTable.of(queries, responses)


def test_a_threshold_is_fitted_on_its_two_models(make):
    fitted = fit(
        Plan(
            policy={"name": "threshold", "strong": "large", "weak": "small", "quality": RIDGE},
            goal=Goal(strong_share=0.4),
        ),
        Examples.of(make(120)),
    )
    assert fitted.pool.ids == ("small", "large")
    assert 0 < fitted.training["goal"]["got_share"] <= 0.4
    assert 0 < fitted.spec["threshold"] < 1
    assert fitted.policy.threshold == fitted.spec["threshold"]


def test_a_conformal_policy_keeps_the_estimator_it_was_calibrated_with(examples):
    plan = Plan(policy={"name": "conformal", "quality": RIDGE}, goal=Goal(alpha=0.1))
    fitted = fit(plan, examples)
    part, held = examples.held_out(0.2)
    alone = fit(Plan(policy={"name": "greedy", "quality": RIDGE}), part)
    np.testing.assert_allclose(
        fitted.policy.quality.predict(held.requests, held.pool),
        alone.policy.quality.predict(held.requests, held.pool),
    )
    right = held.quality_NM.max(axis=1) > 0
    scores = fitted.policy.scores(held.requests, held.quality_NM > 0, held.pool)
    assert (scores[right] <= fitted.policy.mass).mean() >= 0.9


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(policy="cheapest"), "'cheapest' has no estimator"),
        (Plan(policy={"name": "greedy", "quality": RIDGE}, grid={"quality.alfa": [1]}), "alpha"),
        (
            Plan(policy={"name": "greedy", "quality": RIDGE}, grid={"models.x": [1]}),
            "no parameters",
        ),
        (Plan(policy={"name": "greedy", "quality": RIDGE}, goal=Goal(alpha=0.1)), "no such goal"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(examples, plan, said):
    with pytest.raises(ConfigError, match=said):
        fit(plan, examples)


def test_prices_that_nobody_recorded_are_not_learned():
    table = OutcomeTable.of(
        [{"query_id": "q", "prompt": "?"}], [{"query_id": "q", "model": "m", "score": 1.0}]
    )
    plan = Plan(policy={"name": "greedy", "quality": "mean", "cost": "mean"})
    with pytest.raises(ConfigError, match="no prices"):
        fit(plan, Examples.of(table))


def test_an_unknown_estimator_is_named_with_the_known_ones(examples):
    with pytest.raises(UnknownPluginError, match="ridge"):
        fit(Plan(policy={"name": "greedy", "quality": "rigde"}), examples)


def test_every_default_is_written_out():
    full = in_full("policies", {"name": "greedy", "quality": "ridge"})
    assert full["quality"]["alpha"] == 10.0
    assert full["prior"] == "last"
    assert full["cost"] is None
