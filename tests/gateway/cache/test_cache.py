"""What is given again, to whom, and how it is told; over a real server."""

import asyncio
import json
import re
from decimal import Decimal

import pytest

from polyroute.config import Settings
from polyroute.errors import ConfigError
from polyroute.gateway.cache.build import build_cache
from polyroute.gateway.keeper import Keeper
from polyroute.records.jsonl import JsonlStore
from polyroute.state.memory import MemoryState

KEYS = ("sk-one-aaaaaaaaaaaaaaaaaaaaaaaa", "sk-two-bbbbbbbbbbbbbbbbbbbbbbbb")


def _ask(server, text="hello", *, model="bracket", headers=None, **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0}
    return server.send("POST", "/v1/chat/completions", {**body, **more}, headers)


def _told(answer):
    return answer.headers.get("x-polyroute-cache")


@pytest.fixture
def cached(serving, tmp_path):
    return serving(cache={}, records=JsonlStore(tmp_path / "records.jsonl"))


def _said(answer):
    (choice,) = answer.json()["choices"]
    return choice["message"]["content"], choice["message"]["role"], choice["finish_reason"]


def test_the_same_request_is_answered_without_a_call_and_says_so(cached):
    calls = len(cached.upstream.bodies)
    first, second = _ask(cached, "the same"), _ask(cached, "the same")
    assert len(cached.upstream.bodies) == calls + 1
    assert (_told(first), _told(second)) == ("miss", "hit")
    assert "age" not in first.headers
    assert int(second.headers["age"]) >= 0
    assert _said(second) == _said(first)
    assert second.json()["model"] == "bracket"
    assert second.headers["x-polyroute-usd"] == "0"
    assert second.headers["x-polyroute-trace-id"] != first.headers["x-polyroute-trace-id"]
    assert second.json()["usage"]["total_tokens"] == 0


def test_a_remembered_answer_is_an_episode_of_its_own_that_says_what_it_saved(cached):
    first, second = _ask(cached, "saved"), _ask(cached, "saved")
    made = cached.records.get(first.headers["x-polyroute-trace-id"])
    again = cached.records.get(second.headers["x-polyroute-trace-id"])
    assert (again.status, again.bill.usd, again.bill.unknown) == ("answered", 0, 0)
    assert again.usage.total == 0
    assert again.policy is None
    about = again.trace().steps[-1].decision.fields["cache"]
    assert (about["kind"], about["model"], about["trace_id"]) == ("same", "bracket", made.id)
    assert Decimal(about["saved_usd"]) == made.bill.usd > 0
    assert about["saved_tokens"] == made.usage.total
    assert second.json()["polyroute"]["facts"]["cache"]["saved_usd"] == about["saved_usd"]
    assert cached.records.verify().ok


def test_a_remembered_answer_is_streamed_and_a_streamed_one_is_remembered(cached):
    first = _ask(cached, "in pieces", model="echo", stream=True)
    whole = _ask(cached, "in pieces", model="echo")
    again = _ask(cached, "in pieces", model="echo", stream=True)
    assert (_told(first), _told(whole), _told(again)) == ("miss", "hit", "hit")
    assert "age" in again.headers

    def text(answer):
        chunks = [json.loads(c) for c in re.findall(r"^data: (\{.*)$", answer.text, re.M)]
        return "".join(
            choice["delta"].get("content") or "" for c in chunks for choice in c["choices"]
        )

    assert text(first) == text(again) == whole.json()["choices"][0]["message"]["content"]
    assert again.text.endswith("data: [DONE]\n\n")


def test_other_shapes_share_what_is_the_same_request(cached):
    _ask(cached, "in another form", model="echo")
    body = {"model": "echo", "prompt": "in another form", "temperature": 0}
    again = cached.send("POST", "/v1/completions", body)
    assert _told(again) == "hit"
    assert again.json()["choices"][0]["text"] == "in another form"


def test_a_temperature_is_answered_from_memory_only_when_asked_for(cached):
    for temperature in (0.7, None):
        one = [_ask(cached, "warm", temperature=temperature) for _ in range(2)]
        assert [_told(answer) for answer in one] == ["miss", "miss"]
    wish = {"cache": True}
    asked = [_ask(cached, "warm", temperature=0.7, polyroute=wish) for _ in range(2)]
    assert [_told(answer) for answer in asked] == ["miss", "hit"]
    refused = _ask(cached, "warm", temperature=0.7, headers={"x-polyroute-cache": "false"})
    assert _told(refused) == "miss"


def test_cache_control_of_the_request_is_respected(cached):
    def ask(control):
        return _told(_ask(cached, "controlled", headers={"cache-control": control}))

    assert ask("no-store") == "miss"
    assert ask("max-age=60") == "miss"  # nothing was stored
    assert ask("no-store") == "hit"  # what is stored may be given: RFC 9111, 5.2.1.5
    assert ask("no-cache") == "miss"
    assert ask("max-age=60") == "hit"
    assert ask("private, something=else") == "hit"


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"n": 2},
        {"model": "tools"},
        {"model": "cut", "stream": True},
        {"model": "late-error", "stream": True},
        {"model": "down-503"},
        {"model": "garbage"},
        {"model": "polyroute/broken"},
        {"model": "polyroute/rounds"},  # one of its calls failed
        {"model": "polyroute/accepts"},  # its answer calls a tool
        {"logprobs": True},
    ],
    ids=str,
)
def test_an_answer_that_could_not_be_given_again_is_not_remembered(cached, changes):
    again = [_told(_ask(cached, "unfit", **changes)) for _ in range(2)]
    assert "hit" not in again


def test_an_answer_of_the_fallback_is_not_remembered(serving):
    server = serving(cache={}, fallback="echo")
    both = [_ask(server, model="polyroute/broken") for _ in range(2)]
    assert [answer.status_code for answer in both] == [200, 200]
    assert [_told(answer) for answer in both] == ["miss", "miss"]


def test_an_answer_made_with_less_money_is_not_given_to_who_has_more(cached):
    def ask(usd):
        return _told(_ask(cached, "dear", polyroute={"max_usd": usd}))

    assert [ask(0.5), ask(0.25), ask(0.5), ask(1)] == ["miss", "hit", "hit", "miss"]
    assert [ask(1), _told(_ask(cached, "dear"))] == ["hit", "miss"]


def test_only_the_policies_that_are_named_are_remembered(serving):
    server = serving(cache={"policies": ["then-echo"]})
    assert [_told(_ask(server, "named")) for _ in range(2)] == ["miss", "miss"]
    again = [_told(_ask(server, "named", model="polyroute/then-echo")) for _ in range(2)]
    assert again == ["miss", "hit"]


def test_a_server_without_a_cache_says_nothing_of_one(server):
    answer = _ask(server, headers={"cache-control": "no-cache"})
    assert answer.status_code == 200
    assert _told(answer) is None


def test_what_is_shared_needs_something_to_share_it():
    wire = {"pool": [{"id": "a", "backend": "scripted"}], "policy": "cheapest"}
    settings = Settings.model_validate({**wire, "cache": {"store": "shared"}})
    with pytest.raises(ConfigError, match=r"set state\.store to sqlite or redis"):
        build_cache(settings, MemoryState(), Keeper(None))


def test_two_servers_share_answers_through_the_state(serving, tmp_path):
    shared = {
        "cache": {"store": "shared"},
        "state": {"store": "sqlite", "path": str(tmp_path / "state.sqlite")},
    }
    one, other = serving(**shared), serving(**shared)
    assert _told(_ask(one, "shared")) == "miss"
    # an answer is stored when it is on its way already: it is there when the first server has it
    assert any(_told(_ask(one, "shared")) == "hit" for _ in range(100))
    assert _told(_ask(other, "shared")) == "hit"


def test_settings_name_a_category_once():
    category = {"name": "news", "matches": "today"}
    with pytest.raises(ValueError, match="two categories are called 'news'"):
        Settings.model_validate(
            {
                "pool": [{"id": "a", "backend": "scripted"}],
                "policy": "cheapest",
                "cache": {"categories": [category, category]},
            }
        )


def test_a_state_that_is_gone_costs_a_call_and_no_answer(serving, tmp_path):
    state = {"store": "sqlite", "path": str(tmp_path)}  # a folder is no database
    server = serving(cache={"store": "shared"}, state=state)
    both = [_ask(server, "lost") for _ in range(2)]
    assert [answer.status_code for answer in both] == [200, 200]
    assert [_told(answer) for answer in both] == ["miss", "miss"]


def test_nothing_is_held_beyond_the_bytes_that_are_allowed():
    from polyroute.gateway.cache.entries import InMemory

    async def fill():
        now = [0.0]
        held = InMemory(10_000, clock=lambda: now[0])
        for k in range(50):
            await held.put(f"key-{k}", b"x" * 1_000, ttl_s=60)
            await held.get("key-0")  # used all the time, so it stays
            assert held.bytes <= 10_000
        assert await held.get("key-0") is not None
        assert await held.get("key-1") is None
        assert await held.get("key-49") is not None
        now[0] = 61
        assert await held.get("key-49") is None

    asyncio.run(fill())
