"""What was trained is what is served: the same decisions in the loop and behind HTTP."""

import asyncio
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from polyroute import Message, Request, run_episode
from polyroute.backends.replay import Replay
from polyroute.config import Settings, build
from polyroute.gateway.app import create_app
from polyroute.outcomes import by_split, read_outcomes
from polyroute.outcomes.implied import pool_of
from polyroute.train.artifact import load, save
from polyroute.train.calibrate import Goal
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit

TABLE = Path(__file__).parents[2] / "../shared/data/dev/routellm_gsm8k"
QUESTIONS = 500


@pytest.fixture(scope="module")
def table():
    if not TABLE.with_name("routellm_gsm8k.queries.parquet").exists():
        pytest.skip("the outcome tables are not beside this repository")
    return read_outcomes(TABLE)


@pytest.fixture(scope="module")
def router(table, tmp_path_factory):
    train = by_split(table)["train"]
    ridge = {"name": "ridge", "encoder": "tfidf"}
    plan = Plan(policy={"name": "greedy", "quality": ridge, "cost": ridge}, goal=Goal(quality=0.9))
    fitted = fit(plan, Examples.of(train, pool=pool_of(train)))
    path = tmp_path_factory.mktemp("served") / "my.router"
    save(path, fitted, created_at="2026-11-22")
    return path


def settings_of(router, pool):
    backend = {"name": "replay", "table": str(TABLE)}
    return Settings.model_validate(
        {
            "pool": [
                {"id": c["id"], "price": c["price"], "backend": backend}
                for c in (card.to_json() for card in pool)
            ],
            "policy": {"name": "trained", "artifact": str(router)},
            "records": {"store": "none"},
        }
    )


def decided(steps):
    return [
        (step["decision"]["reason"], [call["model"] for call in step["decision"]["calls"]])
        for step in steps
    ]


@pytest.mark.slow
def test_five_hundred_questions_are_decided_alike_in_the_loop_and_behind_http(table, router):
    trained = load(router)
    pool = trained.manifest.pool
    backend = Replay.of(table)
    questions = [question.prompt for question in table.queries][:QUESTIONS]
    assert len(questions) == QUESTIONS

    async def in_the_loop(prompt):
        request = Request(id="q", messages=(Message("user", prompt),), seed=1)
        return await run_episode(trained, backend, request, pool)

    traces = [asyncio.run(in_the_loop(prompt)) for prompt in questions]
    with TestClient(create_app(build(settings_of(router, pool)))) as client:
        for prompt, trace in zip(questions, traces, strict=True):
            body = {
                "model": "polyroute",
                "seed": 1,
                "messages": [{"role": "user", "content": prompt}],
                "polyroute": {"trace": True},
            }
            answer = client.post("/v1/chat/completions", json=body).json()
            steps = [{"decision": step.decision.to_json()} for step in trace.steps]
            for step in steps:
                step["decision"]["calls"] = list(step["decision"]["calls"])
            assert decided(answer["polyroute"]["trace"]["steps"]) == decided(steps)
            assert answer["choices"][0]["message"]["content"] == trace.answer
    asked = {call.model for trace in traces for call in trace.calls}
    assert asked == set(pool.ids)  # the knob lies where both are worth asking
