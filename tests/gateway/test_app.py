"""What can be read, who is let in, and what happens to records and to clients that leave."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from polyroute import ModelCard, Pool
from polyroute.config import Settings, Setup
from polyroute.errors import ConfigError, RecordError
from polyroute.gateway.app import create_app
from polyroute.gateway.serve import serve
from polyroute.protocols import Delta
from polyroute.records.jsonl import JsonlStore
from polyroute.types import Budget

HELLO = [{"role": "user", "content": "hello"}]


class FullDisk:
    """A store that cannot write."""

    def append_all(self, records: Any) -> Any:
        full = RecordError("no space left on device")
        return dict.fromkeys((record.id for record in records), full)

    def get(self, id: str) -> Any:
        raise RecordError("no records")

    def close(self) -> None:
        pass


class Noticing(JsonlStore):
    """A store that says when it has written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.appended = threading.Event()

    def append(self, record: Any) -> Any:
        stored = super().append(record)
        self.appended.set()
        return stored


def test_models_are_the_policies_and_the_cards(client: openai.OpenAI, server: Any) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert next(iter(listed)) == "polyroute"
    assert set(server.setup.pool.ids) <= set(listed)
    assert {f"polyroute/{name}" for name in server.setup.specs if name != "default"} <= set(listed)
    assert "polyroute/cheapest" in listed, "registered, and needs no parameters"
    assert "polyroute/panel" not in listed, "needs parameters that nobody gave"
    assert listed["echo"].object == "model"
    about = listed["echo"].model_extra["polyroute"]
    assert (about["kind"], about["price"]["output"]) == ("model", "2")


def test_one_model_is_found_by_id_or_alias(client: openai.OpenAI) -> None:
    assert client.models.retrieve("maker/echo").id == "echo"
    assert client.models.retrieve("polyroute/rounds").id == "polyroute/rounds"


def test_health_says_no_secrets(server: Any) -> None:
    said = server.send("GET", "/health").json()
    assert said["status"] == "ok"
    assert said["pool"] == server.setup.pool.digest
    assert set(said) == {"status", "version", "pool", "records_lost", "instances"}
    assert all(seen == {"fit": 1, "of": 1} for seen in said["instances"].values())
    assert "127.0.0.1" not in str(said)


def test_a_trace_is_served_by_its_whole_id_only(client: openai.OpenAI, server: Any) -> None:
    reply = client.chat.completions.create(model="polyroute", messages=HELLO)
    trace_id = reply.model_extra["polyroute"]["trace_id"]
    assert server.send("GET", f"/v1/traces/{trace_id}").json()["id"] == trace_id
    assert server.send("GET", f"/v1/traces/{trace_id[:8]}").status_code == 404


def test_with_keys_only_their_holders_are_let_in(serving: Callable[..., Any]) -> None:
    server = serving(keys=("first-key", "second-key"))
    for key in ("first-key", "second-key"):
        assert server.client(key).models.list().data
    for key in ("third-key", "first-key,second-key", "first"):
        with pytest.raises(openai.AuthenticationError) as error:
            server.client(key).chat.completions.create(model="polyroute", messages=HELLO)
        assert error.value.code == "invalid_api_key"
        assert key not in str(error.value)
    without = server.send("GET", "/v1/models")
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    basic = server.send("GET", "/v1/models", headers={"authorization": "Basic first-key"})
    assert basic.status_code == 401
    assert server.send("GET", "/health").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_record_costs_nobody_the_answer_and_is_told(
    serving: Callable[..., Any], stream: bool
) -> None:
    server = serving(records=FullDisk())
    body = {"model": "polyroute", "messages": HELLO, "stream": stream}
    first = server.send("POST", "/v1/chat/completions", body)
    assert "Hello" in first.text
    assert server.records is not None, "the answer does not wait for the disk, the count does"
    response = server.send("POST", "/v1/chat/completions", body)
    assert "Hello" in response.text
    assert '"record":"lost"' in response.text
    assert stream or response.headers["x-polyroute-record"] == "lost"
    assert server.records is not None
    assert server.send("GET", "/health").json()["records_lost"] == 2


@pytest.mark.parametrize(("stream", "bare"), [(False, False), (True, False), (False, True)])
def test_a_client_that_leaves_takes_its_calls_with_it(
    serving: Callable[..., Any], tmp_path: Path, stream: bool, bare: bool
) -> None:
    store = Noticing(tmp_path / "records.jsonl")
    server = serving(records=store, bare=bare)
    upstream = server.upstream
    upstream.asked.clear()
    upstream.cancelled.clear()
    body = json.dumps({"model": "hang", "messages": HELLO, "stream": stream}).encode()
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        assert upstream.asked.wait(10)
        if stream:
            assert b"200 OK" in connection.recv(4096)
    assert upstream.cancelled.wait(10)
    assert store.appended.wait(10)
    (record,) = store.list()
    assert record.status == "cancelled"
    assert record.steps[0]["replies"][0]["failure"]["kind"] == "cancelled"


class Endless:
    """A backend that says one word and then nothing."""

    async def complete(self, call: Any, trace: Any, emit: Any = None) -> Any:
        if emit is not None:
            await emit(Delta("So"))
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_stops_tells_its_clients(server: Any, stream: bool) -> None:
    backends = dict.fromkeys(server.setup.pool.ids, Endless())
    app = create_app(replace(server.setup, backends=backends, records=None))
    body = json.dumps({"model": "echo", "messages": HELLO, "stream": stream}).encode()

    async def stop() -> list[Any]:
        sent: list[Any] = []
        begun = asyncio.Event()
        requests = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if requests:
                return requests.pop()
            begun.set()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        task = asyncio.create_task(app(scope, receive, send))
        await begun.wait()
        while stream and len(sent) < 2:
            await asyncio.sleep(0)
        task.cancel()
        await task
        return sent

    sent = asyncio.run(stop())
    assert sent[0]["status"] == (200 if stream else 503)
    assert b"the server is stopping" in sent[-1]["body"]
    assert not sent[-1].get("more_body")


def test_a_card_may_not_be_called_like_a_policy() -> None:
    settings = Settings.model_validate(
        {"pool": [{"id": "polyroute/x", "backend": "scripted"}], "policy": "cheapest"}
    )
    pool = Pool([ModelCard(id="polyroute/x")])
    setup = Setup(settings, pool, {}, {"default": {"name": "cheapest"}}, Budget(), None)
    with pytest.raises(ConfigError, match="name of a policy"):
        create_app(setup)


def _settings(**server: Any) -> Settings:
    pool = [{"id": "a", "backend": {"name": "openai", "instances": [{"url": "http://x/v1"}]}}]
    return Settings.model_validate({"pool": pool, "policy": "cheapest", "server": server})


def test_a_server_that_others_can_reach_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"server\.keys_env"):
        serve(_settings(), host="0.0.0.0", port=0)
    with pytest.raises(ConfigError, match=r"server\.keys_env"):
        serve(_settings(host="gateway.example"))
    monkeypatch.delenv("NO_SUCH_KEYS", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEYS"):
        serve(_settings(keys_env="NO_SUCH_KEYS"))
    monkeypatch.setenv("NO_SUCH_KEYS", " , ")
    with pytest.raises(ConfigError, match="NO_SUCH_KEYS"):
        serve(_settings(keys_env="NO_SUCH_KEYS"))


def test_a_port_that_is_taken_is_said_before_the_server_starts(server: Any) -> None:
    port = urlsplit(server.url).port
    with pytest.raises(ConfigError, match=f"cannot listen on '127.0.0.1', port {port}"):
        serve(_settings(), port=port)
