"""A real server on a real socket, before a real upstream that misbehaves by the model's name."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, ClassVar
from urllib.parse import urlsplit

import openai
import pytest
import uvicorn
from aiohttp import web

from polyroute import Answer, Call, Decision, Method, ModelCard, Pool, Price, Route, Trace
from polyroute.backends.openai import Instance, OpenAI
from polyroute.backends.openai.embeddings import Embeddings
from polyroute.balance.health import Health
from polyroute.config import Settings, Setup
from polyroute.gateway.access.connections import transport_options
from polyroute.gateway.app import create_app
from polyroute.policies.fixed import Fixed
from polyroute.records.jsonl import JsonlStore
from polyroute.types import Budget

collect_ignore_glob = ["clients/*.py"]  # programs that tests run in an environment of their own

CREATED = 1_700_000_000
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "extra": {"kept": True}}
CARDS = [
    "echo", "bracket", "tools", "choices", "hang", "cut", "late-error", "bad-400", "context-400",
    "key-401", "limit-429", "down-503", "garbage", "plain",
]  # fmt: skip


class Upstream:
    """An OpenAI-compatible endpoint; what it does depends on the model's name."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.body = b""
        """The last one, as it came."""
        self.asked = threading.Event()
        self.cancelled = threading.Event()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Upstream":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/v1"
        return runner

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.body = await request.read()
        body = json.loads(self.body)
        self.bodies.append(body)
        model = body["model"]
        if (refused := _refusals(model)) is not None:
            return refused
        if body.get("stream"):
            return await self._stream(request, body)
        if model == "hang":
            await self._hang()
        return web.json_response(
            {
                "id": "chatcmpl-up",
                "object": "chat.completion",
                "created": CREATED,
                "model": model,
                "system_fingerprint": "fp_up",
                "service_tier": "default",
                "choices": _choices(body),
                "usage": USAGE,
            }
        )

    async def _embed(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.bodies.append(body)
        if (refused := _refusals(body["model"])) is not None:
            return refused
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        texts = [texts] if isinstance(texts[0], int) else texts
        data = [
            {"object": "embedding", "index": k, "embedding": [float(len(text)), 0.5]}
            for k, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        model = body["model"]
        return web.json_response({"object": "list", "data": data, "model": model, "usage": usage})

    async def _hang(self) -> None:
        self.asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def say(choices: list[dict[str, Any]], **more: Any) -> None:
            chunk = {
                "id": "chatcmpl-up",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": body["model"],
                "system_fingerprint": "fp_up",
                "choices": choices,
                **more,
            }
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        for choice in _choices(body):
            index, message = choice["index"], choice["message"]
            await say([{"index": index, "delta": {"role": "assistant", "content": ""}}])
            for k, call in enumerate(message.get("tool_calls", ())):
                await say([{"index": index, "delta": {"tool_calls": [{"index": k, **call}]}}])
            for word in (message["content"] or "").split(" "):
                piece = {"index": index, "delta": {"content": f"{word} "}, "finish_reason": None}
                await say([piece])
            if body["model"] == "hang":
                await self._hang()
            if body["model"] == "cut":
                request.transport.abort()
                return response
            if body["model"] == "late-error":
                await response.write(b'data: {"error": {"message": "overloaded"}}\n\n')
                return response
            await say([{"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}])
        await say([], usage=USAGE)
        await response.write(b"data: [DONE]\n\n")
        return response


def _refusals(model: str) -> web.Response | None:
    errors = {
        "bad-400": (400, {"message": "no such voice", "code": "invalid_value"}),
        "context-400": (400, {"message": "too long", "code": "context_length_exceeded"}),
        "key-401": (401, {"message": "bad key"}),
        "limit-429": (429, {"message": "slow down"}),
        "down-503": (503, {"message": "down"}),
    }
    if model == "garbage":
        return web.Response(text="<html>welcome</html>")
    if model not in errors:
        return None
    status, error = errors[model]
    headers = {"retry-after": "7"} if status == 429 else {}
    return web.json_response({"error": error}, status=status, headers=headers)


def _choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": "[1] Hello world"}
    reason = "stop"
    if body["model"] == "echo":
        message["content"] = str(body["messages"][-1]["content"])
    if body["model"] == "tools":
        function = {"name": "weather", "arguments": '{"city":"Lima"}'}
        message["content"] = None
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        reason = "tool_calls"
    logprobs = {"content": [{"token": "[1]", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
    return [
        {
            "index": k,
            "message": message,
            "logprobs": logprobs if body.get("logprobs") else None,
            "finish_reason": reason,
        }
        for k in range(body.get("n", 1))
    ]


class Broken:
    """A policy that raises."""

    method: ClassVar[Method] = Method(when="pre-generation", what=(), how="heuristic")

    async def decide(self, trace: Trace) -> Decision:
        raise KeyError("oops")


class Spends:
    """Asks `model`, and breaks over what it said."""

    method: ClassVar[Method] = Method(when="multi-stage", what=("query",), how="heuristic")

    def __init__(self, model: str) -> None:
        self.model = model

    async def decide(self, trace: Trace) -> Decision:
        if not trace.steps:
            return Route(calls=(Call(self.model, "a sub-query", {"max_tokens": 3}),))
        raise KeyError("oops")


class Rounds:
    """Two rounds, one of them of the policy's own, then an answer written by the policy."""

    method: ClassVar[Method] = Method(when="multi-stage", what=("query",), how="heuristic")

    async def decide(self, trace: Trace) -> Decision:
        if not trace.steps:
            return Route(calls=(Call("bracket", "which field?"),), own=True)
        if len(trace.steps) == 1:
            return Route(calls=(Call("echo", "capital of Peru?"), Call("down-503", "and you?")))
        return Answer(text="Lima, I am told", fields={"warning": "one source"})


class Accepts:
    """Looks at the reply before it makes it the answer, as a cascade does."""

    method: ClassVar[Method] = Method(when="post-generation", what=("response",), how="heuristic")

    async def decide(self, trace: Trace) -> Decision:
        if not trace.steps:
            return Route(calls=(Call("tools"),))
        reply = trace.replies[0]
        return Answer(text=reply.text, fields=reply.fields)


class Then:
    """One round, then a final call to `model`."""

    method: ClassVar[Method] = Method(when="multi-stage", what=("query",), how="heuristic")

    def __init__(self, model: str) -> None:
        self.model = model

    async def decide(self, trace: Trace) -> Decision:
        if not trace.steps:
            return Route(calls=(Call("bracket", "a sub-query"),))
        return (
            trace.give_up()
            if len(trace.steps) > 1
            else Route(calls=(Call(self.model),), final=True)
        )


POLICIES: dict[str, Callable[[], Any]] = {
    "default": lambda: Fixed("bracket"),
    "broken": Broken,
    "spends": lambda: Spends("bracket"),
    "spends-unknown": lambda: Spends("garbage"),
    "rounds": Rounds,
    "accepts": Accepts,
    "then-echo": lambda: Then("echo"),
    "then-cut": lambda: Then("cut"),
    "then-down": lambda: Then("down-503"),
}


class TestSetup(Setup):
    """A setup with policies that no distribution registers."""

    __test__ = False

    def policy(self, name: str = "default") -> Any:
        return POLICIES[name]() if name in POLICIES else super().policy(name)


@dataclass(frozen=True)
class Answered:
    """A response."""

    status_code: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Server:
    """A running gateway."""

    url: str
    upstream: Upstream
    setup: Setup
    clients: list[openai.OpenAI] = field(default_factory=list)

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> "Answered":
        """Send a request as it is; `body` is bytes, an iterable of them, or JSON."""
        address = urlsplit(self.url)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        connection = HTTPConnection(address.hostname, address.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        finally:
            connection.close()

    @property
    def records(self) -> Any:
        """The store, when all that was answered is written."""
        self.send("GET", "/v1/traces/none")  # to look for a record is to wait for those before
        return self.setup.records

    def client(self, key: str = "none") -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=20)
        self.clients.append(client)
        return client


PATIENT = Health(in_a_row=10**6, least_calls=10**6, cooldown_s=0.001, longest_cooldown_s=0.001)
"""Tests share the server: what fails in one must not close the door to the next."""


def make_setup(upstream: Upstream, records: Any, **changes: Any) -> Setup:
    settings = Settings.model_validate(
        {
            "pool": [{"id": name, "backend": "scripted"} for name in CARDS],
            "policy": "broken",
            "fallback": changes.pop("fallback", None),
            "server": changes.pop("server", {}),
            "access": changes.pop("access", {}),
            "state": changes.pop("state", {}),
            "cache": changes.pop("cache", None),
        }
    )
    cards = [
        ModelCard(id=name, price=Price.per_million(1, 2), aliases=(f"maker/{name}",))
        for name in CARDS
        if name != "plain"
    ]
    pool = Pool([*cards, ModelCard(id="plain", description="no price")])
    backends = {
        name: OpenAI(instances=(Instance(url=upstream.url, model=name),), retries=0, health=PATIENT)
        for name in CARDS
    }
    specs = {name: {"name": name} for name in POLICIES}
    budget = changes.pop("budget", Budget(seconds=30, rounds=4))
    assert not changes
    vectors = ("small-vectors", "down-503-vectors")
    return TestSetup(
        settings,
        pool,
        backends,
        specs,
        budget,
        records,
        embeddings=Pool(
            ModelCard(id=name, price=Price.per_million("0.02", 0), max_output=0) for name in vectors
        ),
        embedders={
            name: Embeddings(
                instances=(Instance(url=upstream.url, model=name.removesuffix("-vectors")),),
                retries=0,
            )
            for name in vectors
        },
    )


@contextmanager
def run_server(
    setup: Setup, upstream: Upstream, keys: tuple[str, ...] = (), *, bare: bool = False
) -> Iterator[Server]:
    """Run a server; a `bare` one listens as uvicorn does by itself."""
    options: dict[str, Any] = {"port": 0, "log_level": "critical", "timeout_graceful_shutdown": 1}
    if bare:
        options |= {"http": "httptools"}
    else:
        options |= transport_options(setup.settings.access)
    config = uvicorn.Config(create_app(setup, keys=keys), **options)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", upstream, setup)
    try:
        yield server
    finally:
        for client in server.clients:
            client.close()
        running.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    records = JsonlStore(tmp_path_factory.mktemp("gateway") / "records.jsonl")
    with run_server(make_setup(upstream, records), upstream) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> openai.OpenAI:
    return server.client()


@pytest.fixture
def serving(upstream: Upstream) -> Iterator[Callable[..., Server]]:
    """Start a further server: ``serving(records=..., keys=..., fallback=...)``."""
    open_servers = []

    def start(
        *, records: Any = None, keys: tuple[str, ...] = (), bare: bool = False, **changes: Any
    ) -> Server:
        setup = make_setup(upstream, records, **changes)
        context = run_server(setup, upstream, keys, bare=bare)
        open_servers.append(context)
        return context.__enter__()

    yield start
    for context in open_servers:
        context.__exit__(None, None, None)
