"""``POST /v1/embeddings``: passed through, bounded, billed and recorded."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient

from polyroute import config
from polyroute.errors import ConfigError
from polyroute.gateway.app import create_app
from polyroute.records.jsonl import JsonlStore


@pytest.mark.parametrize("given", ["hello", ["hello"], ["a", "bc"], [1, 2, 3], [[1, 2], [3]]])
def test_texts_and_tokens_go_through_as_they_came_and_vectors_come_back(
    client: openai.OpenAI, server: Any, given: Any
) -> None:
    reply = client.embeddings.create(
        model="small-vectors", input=given, dimensions=2, encoding_format="float", user="u"
    )
    assert server.upstream.bodies[-1] == {
        "model": "small",
        "input": given,
        "dimensions": 2,
        "encoding_format": "float",
        "user": "u",
    }
    assert reply.data[0].embedding[1] == 0.5
    assert len(reply.data) == (2 if given in (["a", "bc"], [[1, 2], [3]]) else 1)
    assert reply.model == "small-vectors"
    assert reply.usage.prompt_tokens == 5
    assert Decimal(reply.polyroute["usd"]) == Decimal("0.0000001")


def test_what_it_cost_is_in_the_records(client: openai.OpenAI, server: Any) -> None:
    reply = client.embeddings.create(model="small-vectors", input="to be kept")
    record = server.records.get(reply.polyroute["trace_id"])
    assert record.bill.usd == Decimal("0.0000001")
    assert record.request["messages"][0]["content"] == "to be kept"


@pytest.mark.parametrize("given", ["x" * 400, [7] * 400])
def test_a_budget_bounds_it_by_its_prompt_alone(server: Any, given: Any) -> None:
    body = {"model": "small-vectors", "input": given}
    for usd, status in (("0.000005", 400), ("0.0001", 200)):
        said = server.send("POST", "/v1/embeddings", {**body, "polyroute": {"max_usd": usd}})
        assert said.status_code == status, said.text


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"model": "bracket"}, 404),
        ({"model": "polyroute"}, 404),
        ({"model": "polyroute/cheapest"}, 404),
        ({"model": "down-503-vectors"}, 502),
        ({"input": []}, 400),
        ({"input": [[]]}, 400),
        ({"input": ["a", 1]}, 400),
        ({"input": {"text": "a"}}, 400),
        ({"input": [True]}, 400),
        ({"stream": True}, 400),
        ({"input": 5}, 400),
    ],
)
def test_what_is_wrong_is_a_typed_error(server: Any, wrong: Any, status: int) -> None:
    said = server.send("POST", "/v1/embeddings", {"model": "small-vectors", "input": "x", **wrong})
    assert said.status_code == status
    assert said.json()["error"]["message"]


def test_the_models_are_listed_and_no_policy_can_choose_them(
    client: openai.OpenAI, server: Any
) -> None:
    kinds = {model.id: model.polyroute["kind"] for model in client.models.list()}
    assert kinds["small-vectors"] == "embedding"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(
            model="small-vectors", messages=[{"role": "user", "content": "x"}]
        )


_FILE = """
pool: [{id: chat, backend: {name: scripted, say: "builtins:max"}}]
policy: cheapest
records: {store: none}
embeddings:
  - id: NAME
    price: {input: 0.02}
    backend: {name: openai_embeddings, instances: [{url: "http://127.0.0.1:1/v1"}]}
"""


def test_they_are_configured_in_a_section_of_their_own() -> None:
    setup = config.build(config.parse(_FILE.replace("NAME", "small"), name="f"))
    assert setup.embeddings is not None
    assert setup.embeddings.ids == ("small",)
    assert "small" not in setup.pool.ids
    with pytest.raises(ConfigError, match="in the pool too"):
        config.build(config.parse(_FILE.replace("NAME", "chat"), name="f"))


_PLACES = """
pool: [{id: chat, backend: {name: scripted, say: "builtins:max"}}]
policy: cheapest
records: {store: jsonl, path: PATH}
fallbacks: {down: [vectors]}
embeddings:
  - id: vectors
    price: {input: 0.02}
    backend:
      name: openai_embeddings
      transport: plain
      balance: weighted
      health: {in_a_row: 1, open_s: 1000}
      instances:
        - {url: URL, model: down-503, name: a, weight: 5}
        - {url: URL, model: small, name: b}
  - id: down
    price: {input: 1}
    backend:
      name: openai_embeddings
      retries: 0
      instances: [{url: URL, model: down-503, name: c}]
"""


def test_they_are_balanced_found_out_and_replaced_as_candidates_are(
    upstream: Any, tmp_path: Any
) -> None:
    text = _PLACES.replace("URL", upstream.url).replace("PATH", str(tmp_path / "r.jsonl"))
    setup = config.build(config.parse(text, name="f"))
    said = []
    with TestClient(create_app(setup)) as client:
        for model in ("vectors", "vectors", "down"):
            reply = client.post("/v1/embeddings", json={"model": model, "input": "x"})
            assert reply.status_code == 200, reply.text
            said.append(reply.json())
        health = client.get("/health").json()["instances"]
    first, second, other = (one["polyroute"] for one in said)
    assert [one["calls"][0]["instance"] for one in (first, second)] == ["b", "b"]
    assert health == {"vectors": {"fit": 1, "of": 2}, "down": {"fit": 1, "of": 1}}
    assert said[2]["model"] == "vectors"
    assert [call["model"] for call in other["calls"]] == ["down", "vectors"]
    with closing(JsonlStore(tmp_path / "r.jsonl")) as records:
        kept = [records.get(one["trace_id"]) for one in (first, second, other)]
    assert [record.trace().replies[0].attempts for record in kept[:2]] == [2, 1]
    assert [record.bill.usd for record in kept] == [Decimal("0.0000001")] * 3


@pytest.mark.parametrize(
    "wrong", ["{vectors: [chat]}", "{vectors: {to: [down], first_token_s: 1}}"]
)
def test_a_fallback_of_vectors_is_another_that_gives_them(wrong: str) -> None:
    text = _PLACES.replace("URL", "http://127.0.0.1:1/v1").replace("{down: [vectors]}", wrong)
    with pytest.raises(ConfigError, match=r"fallbacks\.vectors"):
        config.build(config.parse(text.replace("PATH", "/nowhere/r.jsonl"), name="f"))
