"""Every endpoint and every kind of key; what a key may spend, over HTTP; what nobody may do."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from polyroute.gateway.access.door import needed
from polyroute.gateway.access.keys import SCOPES, AccessKey, KeyFile, digest, generate
from polyroute.gateway.app import create_app
from polyroute.records.jsonl import JsonlStore

CHAT = {"model": "bracket", "messages": [{"role": "user", "content": "hello"}]}


def add(file: KeyFile, **fields: Any) -> str:
    """Add a key to `file`, and return it."""
    secret = generate()
    sha256 = digest(secret.encode()).hex()
    wire = {"id": sha256[:12], "sha256": sha256, "name": "k", "created_at": datetime.now(UTC)}
    file.add(AccessKey.model_validate({**wire, **fields}))
    return secret


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


class Guarded:
    """A server with a file of keys."""

    def __init__(self, serving: Callable[..., Any], folder: Path, **changes: Any) -> None:
        self.file = KeyFile(folder / "keys.json")
        self.audit = folder / "audit.jsonl"
        self.keys: dict[str, str | None] = {
            "none": None,
            "wrong": generate(),
            "revoked": add(self.file, revoked_at=datetime.now(UTC), scopes=SCOPES),
            "expired": add(self.file, expires_at=datetime.now(UTC) - timedelta(1), scopes=SCOPES),
            **{scope: add(self.file, scopes=[scope], name=scope) for scope in SCOPES},
            "poor": add(self.file, name="poor", usd_per_day=Decimal("0.001"), tenant="acme"),
        }
        access = {"keys": str(self.file.path), "audit": str(self.audit), **changes}
        self.server = serving(records=JsonlStore(folder / "records.jsonl"), access=access)

    def send(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        if path == "/v1/watch/live" and who == "admin":
            return self.beginning(who, path)
        return self.server.send(method, path, body, {**bearer(self.keys[who]), **headers})

    def beginning(self, who: str, path: str) -> SimpleNamespace:
        """Return the head of an answer that has no end."""
        connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=20)
        try:
            connection.request("GET", path, headers=bearer(self.keys[who]))
            with connection.getresponse() as response:
                return SimpleNamespace(status_code=response.status)
        finally:
            connection.close()


@pytest.fixture
def guarded(serving: Callable[..., Any], tmp_path: Path) -> Guarded:
    return Guarded(serving, tmp_path)


ENDPOINTS: list[tuple[str, str, Any, str | None, int]] = [
    # method, path, body, scope, status with the right key
    ("POST", "/v1/chat/completions", CHAT, "ask", 200),
    ("POST", "/v1/route", {**CHAT, "model": "bracket"}, "ask", 200),
    ("POST", "/v1/completions", {"model": "bracket", "prompt": "hello"}, "ask", 200),
    ("POST", "/v1/embeddings", {"model": "small-vectors", "input": "hello"}, "ask", 200),
    ("POST", "/v1/messages", {**CHAT, "max_tokens": 9}, "ask", 200),
    ("POST", "/v1/responses", {"model": "bracket", "input": "hello"}, "ask", 200),
    ("POST", "/v1/feedback", {"trace_id": "none", "reward": 1}, "feedback", 404),
    ("GET", "/v1/models", None, None, 200),
    ("GET", "/v1/models/bracket", None, None, 200),
    ("GET", "/v1/budgets", None, None, 200),
    ("GET", "/v1/traces/none", None, "traces", 404),
    ("GET", "/metrics", None, "metrics", 200),
    ("GET", "/v1/watch/figures", None, "admin", 200),
    ("GET", "/v1/watch/instances", None, "admin", 200),
    ("GET", "/v1/watch/live", None, "admin", 200),
    ("GET", "/v1/watch/records", None, "admin", 200),
    ("POST", "/v1/watch/replay", {"trace_id": "none", "policy": "default"}, "admin", 404),
    ("GET", "/v1/nothing/here", None, "admin", 404),
    ("POST", "/v1/nothing/here", {}, "admin", 404),
]

BARRED = ("none", "wrong", "revoked", "expired")


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), ENDPOINTS)
def test_every_endpoint_opens_for_the_right_key_only(
    guarded: Guarded, method: str, path: str, body: Any, scope: str | None, status: int
) -> None:
    for who in BARRED:
        refused = guarded.send(who, method, path, body)
        assert refused.status_code == 401, who
        assert refused.headers["www-authenticate"] == "Bearer"
    for who in SCOPES:
        answer = guarded.send(who, method, path, body)
        if scope in (None, who):
            assert answer.status_code == status, who
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403,
                "insufficient_scope",
            ), who


def test_the_table_covers_every_route_that_is_served(guarded: Guarded) -> None:
    """What the application serves and the table does not know is for administrators."""
    listed = {path: scope for _, path, _, scope, _ in ENDPOINTS}
    open_to_all = {"/health", "/openapi.json", "/ui", "/ui/{name:path}"}
    below = {"/v1/models/{name:path}": "/v1/models/bracket", "/v1/traces/{id}": "/v1/traces/none"}
    served = {route.path for route in create_app(guarded.server.setup)._app._rest.routes}
    assert {below.get(path, path) for path in served - open_to_all} <= set(listed)
    for path, scope in listed.items():
        assert needed(path) == scope
    for path in ("/v1/watch/records", "/v2/models", "/", "", "/v1/modelsx", "/v1/traces/../admin"):
        assert needed(path) == "admin"
    assert guarded.send("none", "GET", "/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/health/../v1/models",
        "/health%2f..%2fv1/models",
        "/ui/../v1/models",
        "/ui/..%2fv1%2fmodels",
        "/ui/%2e%2e/%2e%2e/etc/passwd",
        "//v1/models",
        "/v1/models/../../../etc/passwd",
        "/V1/MODELS",
        "/v1/traces/..%2f..%2fkeys.json",
    ],
)
def test_no_path_leads_around_the_door(guarded: Guarded, path: str) -> None:
    for who in ("none", "feedback", "admin"):
        answer = guarded.send(who, "GET", path)
        assert answer.status_code in (401, 403, 404), (who, path)
        assert "root:" not in answer.text
        assert "sha256" not in answer.text


def test_nothing_that_is_sent_becomes_a_header(guarded: Guarded) -> None:
    evil = "a\r\nset-cookie: x=1\r\n\r\nb"
    for field in ("model", "policy"):
        body: dict[str, Any] = {**CHAT, "model": "polyroute"}
        if field == "model":
            body["model"] = evil
        else:
            body["polyroute"] = {"policy": evil}
        answer = guarded.send("ask", "POST", "/v1/chat/completions", body)
        assert answer.status_code == 404
        assert "set-cookie" not in answer.headers
    answer = guarded.send("ask", "GET", "/v1/models/a%0d%0aset-cookie:%20x=1")
    assert (answer.status_code, "set-cookie" in answer.headers) == (404, False)


def test_a_key_pays_its_exact_bill_over_http_and_sees_what_is_left(guarded: Guarded) -> None:
    answer = guarded.send("poor", "POST", "/v1/chat/completions", {**CHAT, "max_tokens": 20})
    assert answer.status_code == 200
    spent = Decimal(answer.headers["x-polyroute-usd"])
    assert spent > 0
    (mine,) = guarded.send("poor", "GET", "/v1/budgets").json()["data"]
    assert (mine["name"], mine["tenant"]) == ("poor", "acme")
    day = mine["limits"]["usd_per_day"]
    assert Decimal(day["used"]) == spent
    assert Decimal(day["left"]) == Decimal("0.001") - spent
    everybody = guarded.send("admin", "GET", "/v1/budgets").json()["data"]
    assert len(everybody) == len(guarded.file.read())
    assert len(guarded.send("ask", "GET", "/v1/budgets").json()["data"]) == 1


def test_two_hundred_at_once_never_spend_more_than_the_key_has(guarded: Guarded) -> None:
    """Money for about a hundred of them, counted from the replies themselves."""
    body = {**CHAT, "max_tokens": 20, "polyroute": {"max_usd": 0.0001}}
    price = Decimal(
        guarded.send("ask", "POST", "/v1/chat/completions", body).headers["x-polyroute-usd"]
    )
    limit = 100 * price
    key = add(guarded.file, name="hundred", usd_per_day=limit)
    deadline = threading.Event()
    while guarded.server.send("GET", "/v1/models", None, bearer(key)).status_code != 200:
        assert not deadline.wait(0.2)
    with ThreadPoolExecutor(32) as threads:
        replies = list(
            threads.map(
                lambda _: guarded.server.send("POST", "/v1/chat/completions", body, bearer(key)),
                range(200),
            )
        )
    assert {reply.status_code for reply in replies} <= {200, 400, 429}
    good = [reply for reply in replies if reply.status_code == 200]
    spent = sum(Decimal(reply.headers["x-polyroute-usd"]) for reply in good)
    assert good
    assert spent == price * len(good) <= limit
    listed = guarded.server.send("GET", "/v1/budgets", None, bearer(key)).json()["data"]
    assert Decimal(listed[0]["limits"]["usd_per_day"]["used"]) == spent


def test_a_client_library_sees_typed_errors(guarded: Guarded) -> None:
    add(guarded.file, name="late")
    client = guarded.server.client(str(guarded.keys["feedback"]))
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(**CHAT)
    client = guarded.server.client(str(guarded.keys["expired"]))
    with pytest.raises(openai.AuthenticationError, match="expired"):
        client.models.list()


def test_what_an_administrator_does_is_noted_and_logged(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "polyroute")
    guarded.send("admin", "GET", "/v1/budgets")
    guarded.send("admin", "POST", "/v1/nothing/here", {})
    guarded.send("ask", "POST", "/v1/nothing/here", {})
    written = guarded.audit.read_text().splitlines()
    logged = [one.getMessage() for one in caplog.records if one.name.endswith("audit")]
    assert logged == [f"audit: {line}" for line in written]
    lines = [json.loads(line) for line in written]
    assert [(line["act"], line.get("path")) for line in lines] == [
        ("budgets.read", None),
        ("request", "/v1/nothing/here"),
    ]
    assert {line["who"] for line in lines} == {
        f"key:{digest(str(guarded.keys['admin']).encode()).hex()[:12]}"
    }
    assert guarded.audit.stat().st_mode & 0o777 == 0o600


def test_more_requests_than_there_is_room_for_are_told_to_come_back(
    serving: Callable[..., Any], tmp_path: Path, upstream: Any
) -> None:
    guarded = Guarded(serving, tmp_path, max_requests=1)
    with ThreadPoolExecutor(1) as threads:
        stream = guarded.server.client(str(guarded.keys["ask"])).chat.completions.create(
            **{**CHAT, "model": "hang"}, stream=True
        )
        next(iter(stream))
        busy = threads.submit(guarded.send, "ask", "GET", "/v1/models").result()
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert busy.json()["error"]["code"] == "too_many_requests_at_once"
        assert guarded.send("none", "GET", "/v1/models").status_code == 401
        assert guarded.send("none", "GET", "/health").status_code == 200
        stream.close()


def test_a_page_of_another_site_cannot_use_a_server_without_keys(server: Any) -> None:
    body = json.dumps(CHAT).encode()
    foreign = server.send("POST", "/v1/chat/completions", body, {"origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")
    own = server.send("POST", "/v1/chat/completions", body, {"origin": server.url})
    assert own.status_code == 200


def test_prompts_and_keys_are_in_no_log(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong: a marker in the prompt and the keys themselves are looked for."""
    caplog.set_level("DEBUG")
    marker = "the-secret-prompt-7431"
    said = [{"role": "user", "content": marker}]
    for model in ("bracket", "key-401", "down-503", "garbage", "cut", "polyroute/broken", "none"):
        for stream in (False, True):
            body = {"model": model, "messages": said, "stream": stream}
            guarded.send("ask", "POST", "/v1/chat/completions", body)
    guarded.send("ask", "POST", "/v1/chat/completions", marker.encode())
    guarded.send("wrong", "GET", "/v1/models")
    guarded.send("revoked", "GET", f"/v1/models/{marker[:4]}")
    logged = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert marker not in logged
    for key in guarded.keys.values():
        assert key is None or key not in logged


@pytest.mark.parametrize("depth", [99, 150, 600, 100_000])
def test_bodies_may_be_deep_but_not_bottomless(server: Any, depth: int) -> None:
    nested = b'{"a":' * (depth - 1) + b"1" + b"}" * (depth - 1)
    head = b'{"model": "bracket", "messages": [{"role": "user", "content": "hi"}], "metadata": '
    answer = server.send("POST", "/v1/chat/completions", head + nested + b"}")
    assert answer.status_code == (200 if depth < 100 else 400)


def test_a_tenant_sees_its_own_traces_and_an_administrator_all(guarded: Guarded) -> None:
    file = guarded.file
    scopes = ["ask", "traces", "feedback"]
    for who, tenant in (("acme", "acme"), ("acme-2", "acme"), ("other", "other")):
        guarded.keys[who] = add(file, scopes=scopes, tenant=tenant, name=who)
    guarded.keys["admin"] = add(file, scopes=[*scopes, "admin"])
    guarded.keys["default"] = add(file, scopes=scopes)
    trace = {}
    for who in ("acme", "default"):
        said = ask_soon(guarded, who)
        trace[who] = said.json()["polyroute"]["trace_id"]

    def statuses(id: str, *who: str) -> list[int]:
        return [guarded.send(each, "GET", f"/v1/traces/{id}").status_code for each in who]

    everybody = ("acme", "acme-2", "other", "default", "admin")
    assert statuses(trace["acme"], *everybody) == [200, 200, 404, 404, 200]
    assert statuses(trace["default"], *everybody) == [404, 404, 404, 200, 200]
    rated = {"trace_id": trace["acme"], "reward": 1}
    assert guarded.send("other", "POST", "/v1/feedback", rated).status_code == 404
    assert guarded.send("acme-2", "POST", "/v1/feedback", rated).status_code == 200
    on = {"model": "echo", "input": "and?", "previous_response_id": f"resp_{trace['acme']}"}
    assert guarded.send("other", "POST", "/v1/responses", on).status_code == 404
    assert guarded.send("acme-2", "POST", "/v1/responses", on).status_code == 200


def test_a_key_is_shown_the_models_it_may_ask(guarded: Guarded) -> None:
    guarded.keys["bound"] = add(
        guarded.file, policies=["rounds", "fixed"], cards=["echo", "small-vectors"], scopes=["ask"]
    )
    guarded.keys["policies"] = add(guarded.file, policies=["default"], scopes=["ask"])
    ask_soon(guarded, "policies", "polyroute")

    def names(who: str) -> set[str]:
        return {one["id"] for one in guarded.send(who, "GET", "/v1/models").json()["data"]}

    assert names("bound") == {"polyroute/rounds", "echo", "small-vectors"}
    assert names("policies") == {"polyroute"}
    assert {"polyroute/rounds", "bracket", "small-vectors"} < names("ask")
    for name, status in (("echo", 200), ("small-vectors", 200), ("bracket", 404)):
        assert guarded.send("bound", "GET", f"/v1/models/{name}").status_code == status


def ask_soon(guarded: Guarded, who: str, model: str = "bracket") -> Any:
    """Ask with a new key, as soon as the server has noticed it."""
    for _ in range(200):
        said = guarded.send(who, "POST", "/v1/chat/completions", {**CHAT, "model": model})
        if said.status_code != 401:
            assert said.status_code == 200, said.text
            return said
        threading.Event().wait(0.02)
    raise AssertionError("the key is not noticed")
