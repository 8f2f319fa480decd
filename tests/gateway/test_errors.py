"""Every failure has OpenAI's shape, the right status, and the client's own class."""

import json
from typing import Any, get_args

import openai
import pytest

from polyroute.decision import Failure
from polyroute.errors import FailureKind
from polyroute.gateway.errors import failed

HELLO = [{"role": "user", "content": "hello"}]


def post(server: Any, content: bytes) -> Any:
    return server.send("POST", "/v1/chat/completions", content)


@pytest.mark.parametrize(
    ("model", "kind", "status", "code"),
    [
        ("bad-400", openai.BadRequestError, 400, "upstream_bad_request"),
        ("context-400", openai.BadRequestError, 400, "context_length_exceeded"),
        ("key-401", openai.InternalServerError, 502, "upstream_auth"),
        ("limit-429", openai.RateLimitError, 429, "rate_limit_exceeded"),
        ("down-503", openai.InternalServerError, 502, "upstream_unavailable"),
        ("garbage", openai.InternalServerError, 502, "upstream_invalid_reply"),
        ("brackets", openai.NotFoundError, 404, "model_not_found"),
    ],
)
def test_the_client_raises_its_own_class(
    client: openai.OpenAI, model: str, kind: type[openai.APIStatusError], status: int, code: str
) -> None:
    with pytest.raises(kind) as error:
        client.chat.completions.create(model=model, messages=HELLO)
    assert (error.value.status_code, error.value.code) == (status, code)
    assert set(error.value.body) == {"message", "type", "param", "code"}


def test_a_rate_limit_says_when_to_come_back(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as error:
        client.chat.completions.create(model="limit-429", messages=HELLO)
    assert error.value.response.headers["retry-after"] == "7"


def test_a_call_that_takes_too_long_is_504(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(
            model="hang", messages=HELLO, extra_body={"polyroute": {"max_seconds": 0.1}}
        )
    assert (error.value.status_code, error.value.code) == (504, "upstream_timeout")


def test_a_failed_episode_is_billed_and_recorded_like_any_other(server: Any) -> None:
    response = post(server, json.dumps({"model": "garbage", "messages": HELLO}).encode())
    report = response.json()["polyroute"]
    assert report["usd"] is None, "the upstream may have billed what it garbled"
    record = server.records.get(report["trace_id"])
    assert record.status == "failed"
    assert response.headers["x-polyroute-usd"] == "unknown"


def test_an_unknown_model_is_never_rerouted_and_the_near_names_are_listed(
    server: Any, client: openai.OpenAI
) -> None:
    before = len(server.upstream.bodies)
    with pytest.raises(openai.NotFoundError, match="did you mean 'bracket'"):
        client.chat.completions.create(model="braket", messages=HELLO)
    with pytest.raises(openai.NotFoundError, match="polyroute/rounds"):
        client.chat.completions.create(model="polyroute/round", messages=HELLO)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="polyroute/panel", messages=HELLO)
    assert len(server.upstream.bodies) == before


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [*HELLO, {"content": "no role"}]}, "messages[1]"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"seed": "7"}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"polyroute": []}, "polyroute"),
        ({"polyroute": {"max_used": 1}}, "polyroute.max_used"),
        ({"polyroute": {"max_usd": -1}}, "polyroute.max_usd"),
        ({"polyroute": {"max_usd": "NaN"}}, "polyroute.max_usd"),
        ({"polyroute": {"max_rounds": 0}}, "polyroute.max_rounds"),
        ({"polyroute": {"allow": []}}, "polyroute.allow"),
        ({"polyroute": {"policy": "rounds"}}, "polyroute.policy"),
    ],
)
def test_a_wrong_field_is_named(server: Any, change: dict[str, Any], param: str) -> None:
    body = {"model": "echo", "messages": HELLO, **change}
    response = post(server, json.dumps(body).encode())
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert param.split("[")[0] in response.json()["error"]["message"] or "polyroute" in param


def test_an_unknown_option_names_the_nearest_one(server: Any) -> None:
    body = {"model": "echo", "messages": HELLO, "polyroute": {"max_used": 1}}
    message = post(server, json.dumps(body).encode()).json()["error"]["message"]
    assert "did you mean 'max_usd'" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b'{"model": ', "not JSON"),
        (b"[1]", "must be a JSON object, got a list"),
        (b'{"model": "\xff\xfe"}', "not UTF-8: byte 11"),
        (b'{"model": "\\ud800"}', "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_body_that_cannot_be_read_is_400(server: Any, content: bytes, said: str) -> None:
    response = post(server, content)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


def test_a_body_of_20_mb_passes(client: openai.OpenAI) -> None:
    long = "x" * 20_000_000
    reply = client.chat.completions.create(
        model="bracket", messages=[{"role": "user", "content": long}]
    )
    assert reply.choices[0].message.content == "[1] Hello world"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_413_and_not_read(server: Any, declared: bool) -> None:
    piece = b"x" * 1_000_000
    headers = {"content-length": "40000000"} if declared else {}
    response = server.send("POST", "/v1/chat/completions", (piece for _ in range(40)), headers)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/health", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/traces/nobody", 404),
        ("POST", "/v1/images/generations", 404),
    ],
)
def test_every_other_path_answers_in_the_same_shape(
    server: Any, method: str, path: str, status: int
) -> None:
    response = server.send(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_every_kind_of_failure_has_a_status() -> None:
    for kind in get_args(
        FailureKind.__value__ if hasattr(FailureKind, "__value__") else FailureKind
    ):
        assert 400 <= failed(Failure(kind, "why")).status < 600
