"""Declared fallbacks at the server: of models a client names, and around a bandit that learns."""

import sys
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from polyroute.config import Settings, build
from polyroute.gateway.app import create_app
from polyroute.policies.with_fallbacks import inside

SAYS = """
broken = set()

def name(model, prompt):
    if model in broken:
        raise RuntimeError("it is down")
    return model
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Return the set of cards that are down."""
    (tmp_path / "says.py").write_text(SAYS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("says", None)
    import says

    yield says.broken
    sys.modules.pop("says", None)


@contextmanager
def serving(tmp_path, policy, fallbacks):
    backend = {"name": "scripted", "say": "says:name"}
    settings = Settings.model_validate(
        {
            "pool": [
                {"id": id, "price": {"input": 1, "output": 1}, "backend": backend}
                for id in ("small", "large")
            ],
            "policy": policy,
            "fallbacks": fallbacks,
            "records": {"store": "jsonl", "path": str(tmp_path / "records.jsonl")},
        }
    )
    setup = build(settings)
    with TestClient(create_app(setup)) as client:
        yield client, setup


def ask(client, model="polyroute", seed=0):
    body = {"model": model, "seed": seed, "messages": [{"role": "user", "content": "hello"}]}
    said = client.post("/v1/chat/completions", json=body)
    return said.status_code, said.json()


def test_a_model_that_a_client_names_falls_back_and_the_chain_is_shown(tmp_path, broken):
    broken.add("small")
    with serving(tmp_path, "cheapest", {"small": ["large"]}) as (client, _):
        status, reply = ask(client, "small")
        assert status == 200
        assert reply["choices"][0]["message"]["content"] == "large"
        calls = reply["polyroute"]["calls"]
        assert [(c["model"], c["failure"]) for c in calls] == [
            ("small", "backend"),
            ("large", None),
        ]
        record = client.get(f"/v1/traces/{reply['polyroute']['trace_id']}").json()
        assert record["policy"]["name"] == "with_fallbacks"
        assert ask(client, "large")[1]["choices"][0]["message"]["content"] == "large"


def test_the_list_of_models_shows_the_policy_that_decides(tmp_path, broken):
    with serving(tmp_path, "cheapest", {"small": ["large"]}) as (client, _):
        first = client.get("/v1/models").json()["data"][0]
        assert first["polyroute"]["policy"] == "cheapest"
        assert first["polyroute"]["how"] == "heuristic"


def test_a_bandit_learns_inside_its_fallbacks_and_nothing_from_the_answer_of_another(
    tmp_path, broken
):
    fallbacks = {"small": ["large"], "large": ["small"]}
    with serving(tmp_path, "thompson", fallbacks) as (client, setup):
        learner_sees = inside(setup.policy())
        assert type(learner_sees).__name__ == "Thompson"
        replies = [ask(client, seed=seed)[1] for seed in range(20)]
        chosen = {reply["model"] for reply in replies}
        assert chosen == {"small", "large"}
        for reply in replies:
            teach(client, reply, reward=float(reply["model"] == "large"))
        assert [ask(client, seed=seed)[1]["model"] for seed in range(5)] == ["large"] * 5
        state = newest(client, tmp_path)
        broken.add("large")
        reply = ask(client, seed=1)[1]
        assert reply["model"] == "small"
        teach(client, reply, reward=1.0)
        assert newest(client, tmp_path) == state


def teach(client, reply, reward):
    body = {"trace_id": reply["polyroute"]["trace_id"], "reward": reward}
    assert client.post("/v1/feedback", json=body).status_code == 200


def newest(client, tmp_path):
    """Return the name of the state that the last record was decided with."""
    reply = ask(client, seed=2)[1]
    record = client.get(f"/v1/traces/{reply['polyroute']['trace_id']}").json()
    assert record["policy"]["name"] == "with_fallbacks"
    return record["policy"]["policy"]["state"]["sha256"]
