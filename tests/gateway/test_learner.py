"""A server that learns: its policies, its records, and what is left after a restart."""

import json
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from polyroute.config import Settings, build
from polyroute.gateway.app import create_app
from polyroute.policies.bandit.thompson import Thompson
from polyroute.records.feedback import Feedback, FeedbackLog
from polyroute.records.replay import replay
from polyroute.records.snapshots import Snapshots
from polyroute.spec import construct

PRICES = {"small": {"input": 1, "output": 1}, "large": {"input": 10, "output": 10, "cached": 1}}


@pytest.fixture
def settings(tmp_path):
    def make(policy="thompson", **changes):
        echo = {"name": "scripted", "say": "says:name"}
        return Settings.model_validate(
            {
                "pool": [{"id": id, "price": p, "backend": echo} for id, p in PRICES.items()],
                "policy": policy,
                "records": {"store": "jsonl", "path": str(tmp_path / "records.jsonl")},
                **changes,
            }
        )

    (tmp_path / "says.py").write_text("def name(model, prompt):\n    return model\n")
    return make


@pytest.fixture(autouse=True)
def says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield
    import sys

    sys.modules.pop("says", None)


@contextmanager
def serving(settings):
    setup = build(settings)
    with TestClient(create_app(setup)) as client:
        yield client, setup


def ask(client, text="hello", seed=0, messages=None, **options):
    body = {
        "model": "polyroute",
        "seed": seed,
        "messages": messages or [{"role": "user", "content": text}],
        "polyroute": options,
    }
    said = client.post("/v1/chat/completions", json=body)
    assert said.status_code == 200, said.text
    return said.json()


def teach(client, reply, reward):
    body = {"trace_id": reply["polyroute"]["trace_id"], "reward": reward}
    assert client.post("/v1/feedback", json=body).status_code == 200


def rounds(client, count, best="large"):
    """Ask and say what each answer was worth; return who was asked."""
    asked = []
    for seed in range(count):
        reply = ask(client, seed=seed)
        asked.append(reply["model"])
        teach(client, reply, float(reply["model"] == best))
    return asked


def replays(setup):
    """Derive every record again, from the records and the states beside them."""
    import asyncio

    states = Snapshots.beside(setup.records.path)
    for record in setup.records:
        policy = construct("policies", states.resolved(record.policy), where="record")
        result = asyncio.run(replay(record.trace(), policy))
        assert result.same, result.difference
        yield record


@pytest.mark.parametrize("policy", ["thompson", {"name": "linucb", "dimensions": 8}])
def test_it_learns_while_it_serves_and_every_decision_can_be_derived_again(settings, policy):
    with serving(settings(policy)) as (client, setup):
        asked = rounds(client, 40)
        assert asked[-15:].count("large") > 11
    records = list(replays(setup))
    assert len(records) == 40
    assert len({json.dumps(r.policy, sort_keys=True) for r in records}) == 40  # each its own state
    assert len(json.dumps(records[-1].policy)) < 250  # by name, not in full


def test_what_was_learned_survives_a_restart_exactly(settings):
    with serving(settings()) as (client, _):
        rounds(client, 20)
        before = [ask(client, seed=s)["model"] for s in range(100, 130)]
    with serving(settings()) as (client, again):
        assert [ask(client, seed=s)["model"] for s in range(100, 130)] == before
    assert len(list(replays(again))) == 80
    (*_, last) = again.records
    state = Snapshots.beside(again.records.path).get(last.policy["state"]["sha256"])
    assert state["updates"] == 20


def test_feedback_that_nobody_learned_from_is_learned_at_the_next_start(settings, tmp_path):
    with serving(settings(learning={"on": False})) as (client, setup):
        ids = [ask(client, seed=s)["polyroute"]["trace_id"] for s in range(5)]
    log = FeedbackLog.beside(setup.records.path)
    for id in ids:
        log.add(Feedback(trace_id=id, reward=1.0))
    log.add(Feedback(trace_id="of another server", reward=1.0))
    for _ in range(2):  # once only, however often it starts
        with serving(settings()) as (client, again):
            ask(client)
        (*_, record) = again.records
        state = Snapshots.beside(again.records.path).get(record.policy["state"]["sha256"])
        assert state["updates"] == 5


def test_the_first_reward_of_a_trace_is_the_one_that_teaches(settings):
    with serving(settings()) as (client, setup):
        reply = ask(client)
        for reward in (1.0, 0.0, 0.0):
            teach(client, reply, reward)
        ask(client)
    (*_, record) = setup.records
    state = Snapshots.beside(setup.records.path).get(record.policy["state"]["sha256"])
    assert state["updates"] == 1
    assert state["wins"][""][reply["model"]] == 1.0


def test_exploring_stops_at_its_cap_without_any_feedback(settings):
    policy = {
        "name": "thompson", "epsilon": 0.5, "explore_total_usd": 0.02,
        "state": {"wins": {"": {"small": 60.0}}, "losses": {"": {"large": 20.0}}},
    }  # fmt: skip
    with serving(settings(policy)) as (client, _):
        asked = [ask(client, seed=s)["model"] for s in range(60)]
    extra = 300 * 9e-6  # expected answer times the difference of prices, a little more for prompts
    assert 1 <= asked.count("large") <= 0.02 // extra
    assert "large" not in asked[40:]
    with serving(settings(policy)) as (client, again):  # what is spent stays spent
        assert {ask(client, seed=s)["model"] for s in range(40)} == {"small"}
    assert len(list(replays(again))) == 100


@pytest.mark.slow
def test_a_model_that_changes_is_forgotten_and_learned_anew(settings):
    learning = {"drift": 3.0, "forgetting": 0.98}
    with serving(settings(learning=learning)) as (client, _):
        assert rounds(client, 60)[-10:].count("large") >= 8
        assert rounds(client, 60, best="small")[-15:].count("small") >= 10


def test_without_full_records_nothing_is_learned(settings, tmp_path):
    path = str(tmp_path / "records.jsonl")
    for records in ({"store": "none"}, {"store": "jsonl", "path": path, "content": "hash"}):
        with serving(settings(records=records)) as (client, _):
            reply = ask(client)
            body = {"trace_id": reply["polyroute"]["trace_id"], "reward": 1}
            client.post("/v1/feedback", json=body)
    assert not (tmp_path / "records.jsonl.learned.json").exists()


def test_a_state_that_was_changed_or_lost_is_not_replayed(settings):
    with serving(settings()) as (client, setup):
        rounds(client, 3)
    record = list(setup.records)[-1]
    states = Snapshots.beside(setup.records.path)
    path = states.folder / f"{record.policy['state']['sha256']}.json"
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(ValueError, match="was changed"):
        states.resolved(record.policy)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be replayed"):
        states.resolved(record.policy)
    with pytest.raises(ValueError, match="no name"):
        states.get("../records")


def test_states_share_what_they_have_in_common(tmp_path):
    states = Snapshots(tmp_path / "states")
    long = [[float(n * m) for n in range(20)] for m in range(20)]
    one = {"precision": {"a": long, "b": long}, "updates": 1}
    two = {"precision": {"a": long, "b": [[1.0] * 400]}, "updates": 2}
    names = [states.put(one), states.put(two), states.put(one)]
    assert names[0] == names[2]
    assert [states.get(name) for name in names] == [one, two, one]
    assert len(list(states.folder.iterdir())) == 4  # two states, two long parts


def test_a_conversation_stays_where_it_is_when_leaving_costs(settings):
    state = {
        "wins": {"": {"small": 30.0, "large": 26.0}},
        "losses": {"": {"small": 20.0, "large": 24.0}},
    }
    policy = {"name": "thompson", "state": state, "epsilon": 0.0}
    with serving(settings(policy, learning={"on": False})) as (client, setup):
        first = ask(client, seed=1, conversation="c-1")["model"]
        free = {ask(client, seed=s, conversation="c-2")["model"] for s in range(30)}
        kept = {ask(client, seed=s, conversation="c-1", switch_cost=1)["model"] for s in range(30)}
    assert free == {"small", "large"}
    assert kept == {first}
    assert len(list(replays(setup))) == 61
    said = [record.request.get("conversation") for record in setup.records]
    assert said[0] == {"id": "c-1", "model": None, "switch_cost": None}
    assert said[-1] == {"id": "c-1", "model": first, "switch_cost": 1.0}


@pytest.mark.parametrize("options", [{"conversation": ""}, {"switch_cost": 2}, {"switch_cost": -1}])
def test_a_wrong_option_is_named(settings, options):
    with serving(settings()) as (client, _):
        body = {"model": "polyroute", "messages": [{"role": "user", "content": "x"}]}
        said = client.post("/v1/chat/completions", json={**body, "polyroute": options})
        assert said.status_code == 400
        assert said.json()["error"]["param"] == f"polyroute.{next(iter(options))}"


def test_the_python_api_starts_where_the_server_stopped(settings):
    with serving(settings()) as (client, setup):
        rounds(client, 5)
        ask(client)
    (*_, record) = setup.records
    spec = Snapshots.beside(setup.records.path).resolved(record.policy)
    policy = construct("policies", spec, where="policy")
    assert isinstance(policy, Thompson)
    assert policy.state.updates == 5
