"""The HTTP backend, against a real server that misbehaves as it is told."""

import asyncio
import functools
import gzip
import json
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest
from aiohttp import web

from polyroute import Budget, Message, ModelCard, Pool, Price, Request, Trace, Usage, run_episode
from polyroute.backends.openai import Instance, OpenAI
from polyroute.decision import Call
from polyroute.episode import Finished, Replied, Streamed, stream_episode
from polyroute.errors import BackendError, ConfigError, RateLimitError, UpstreamTimeoutError
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Backend
from polyroute.registry import load

KEY = "sk-very-secret-0123456789"
POOL = Pool([ModelCard(id="small", price=Price.per_million(1, 2, cached="0.5"))])
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
MESSAGE = {"role": "assistant", "content": "Paris"}
BODY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "up",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": USAGE,
}


# ---- the server -------------------------------------------------------------------------------


@dataclass
class Upstream:
    """What the server was asked, and the URL to ask it."""

    url: str = ""
    bodies: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    peers: list = field(default_factory=list)


@asynccontextmanager
async def serving(*handlers):
    """Serve each request by the next handler, and all further ones by the last."""
    upstream = Upstream()

    async def serve(request):
        handler = handlers[min(len(upstream.bodies), len(handlers) - 1)]
        body = await request.read()
        upstream.bodies.append(json.loads(body) if body else None)
        upstream.headers.append(request.headers)
        upstream.peers.append(request.transport.get_extra_info("peername"))
        return await handler(request)

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", serve)
    app.router.add_get("/v1/models", serve)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield upstream
    finally:
        await runner.cleanup()


def says(body=None, *, status=200, content_type="application/json", **headers):
    """Reply with `body`: an object as JSON, or bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(BODY if body is None else body).encode()

    async def handler(request):
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return web.Response(body=raw, status=status, content_type=content_type, headers=named)

    return handler


async def hangs(request):
    await asyncio.sleep(60)


def streams(*pieces, then="end"):
    """Stream `pieces`: chunks as events, bytes as they are; then end, cut or hang."""

    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece if isinstance(piece, bytes) else event(piece))
        if then == "cut":
            request.transport.abort()
        elif then == "hang":
            await asyncio.sleep(60)
        return response

    return handler


def event(chunk):
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def piece(finish_reason=None, logprob=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": "t", "logprob": logprob}]}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "up", "choices": [choice]}


LAST = {"id": "c1", "model": "up", "choices": [], "usage": USAGE}
DONE = b"data: [DONE]\n\n"
WHOLE = (
    piece(role="assistant", content=""), piece(content="Pa"), piece(content="ris"),
    piece("stop"), LAST, DONE,
)  # fmt: skip


# ---- the client -------------------------------------------------------------------------------


@dataclass
class Asked:
    """What became of one call."""

    reply: object = None
    error: BackendError | None = None
    deltas: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    upstream: Upstream = None


def quiet(backend, asked):
    """Make `backend` note its waits instead of waiting, without jitter."""

    async def note(seconds):
        asked.waits.append(seconds)

    backend._sleep = note
    backend._random = lambda: 1.0
    return backend


def ask(*handlers, stream=False, call=Call("small"), request=None, retries=2, **limits):
    """Make one call to a server that replies by `handlers`."""
    asked = Asked()
    trace = Trace(request or Request.of("capital of France?"), POOL)

    async def emit(delta):
        asked.deltas.append(delta)

    async def run():
        async with serving(*handlers) as asked.upstream:
            instance = Instance(
                **{"url": asked.upstream.url, "model": "up", "key_env": "UP_KEY", **limits}
            )
            backend = quiet(OpenAI(instances=(instance,), retries=retries), asked)
            try:
                asked.reply = await backend.complete(call, trace, emit if stream else None)
            except BackendError as error:
                asked.error = error
            finally:
                await backend.close()

    asyncio.run(run())
    return asked


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("UP_KEY", KEY)


@pytest.fixture(autouse=True, params=["aiohttp", "plain"])
def _transport(request, monkeypatch):
    """Make every backend of this file use one transport, then the other."""
    chosen = functools.partialmethod(OpenAI.__init__, transport=request.param)
    monkeypatch.setattr(OpenAI, "__init__", chosen)


# ---- what is sent -----------------------------------------------------------------------------


def test_it_is_registered_and_is_a_backend():
    assert load("backends", "openai") is OpenAI
    assert isinstance(OpenAI(instances=(Instance(url="http://x/v1"),)), Backend)


def test_messages_and_parameters_arrive_as_they_came():
    wire = [
        {"role": "system", "content": "Be brief.", "x_unknown": {"a": 1}},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this? é 😀"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "x": 1},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
        ]},
        {"role": "tool", "content": "4", "tool_call_id": "a1"},
    ]  # fmt: skip
    params = {
        "temperature": 0.25, "stop": ["\n"], "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "x_vendor": {"deep": [1, 2.5, None, True]}, "model": "evil", "stream": True,
    }  # fmt: skip
    messages = tuple(Message.from_json(message) for message in wire)
    asked = ask(says(), request=Request(id="q", messages=messages, params=params))
    (sent,) = asked.upstream.bodies
    assert json.dumps(sent.pop("messages")) == json.dumps(wire)
    del params["stream"]
    assert sent == {**params, "model": "up"}


def test_the_cards_id_is_asked_where_the_instance_names_no_model():
    asked = ask(says({**BODY, "model": "small"}), model=None)
    assert asked.upstream.bodies[0]["model"] == "small"
    assert asked.reply.answered_by is None


def test_the_key_and_further_headers_are_sent_and_a_query_stays():
    asked = ask(says(), headers={"X-Team": "blue"})
    assert asked.upstream.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert asked.upstream.headers[0]["X-Team"] == "blue"
    with_query = Instance(url="https://h.example/openai/?api-version=2024-10-21")
    assert str(with_query.endpoint("chat/completions")) == (
        "https://h.example/openai/chat/completions?api-version=2024-10-21"
    )


def test_a_large_body_arrives():
    text = "x" * (3 * 2**20)
    asked = ask(says(), request=Request.of(text))
    assert asked.upstream.bodies[0]["messages"][0]["content"] == text
    assert asked.reply.text == "Paris"


# ---- replies that are whole -------------------------------------------------------------------


def test_a_reply_has_everything_the_upstream_said():
    message = {**MESSAGE, "refusal": None, "annotations": [1]}
    choice = {
        "index": 0, "message": message, "finish_reason": "length",
        "logprobs": {"content": [{"token": "P", "logprob": -0.5}, {"logprob": -1}]},
    }  # fmt: skip
    body = {**BODY, "choices": [choice], "x_unknown": 7}
    reply = ask(says(body)).reply
    assert (reply.text, reply.finish_reason, reply.attempts) == ("Paris", "length", 1)
    assert reply.fields == {"refusal": None, "annotations": [1]}
    assert reply.logprobs == (-0.5, -1.0)
    assert reply.usage == Usage(input=9, output=3)
    assert reply.raw == body
    assert reply.answered_by is None
    assert reply.instance.startswith("127.0.0.1:")
    assert reply.first_token_s is None
    assert reply.seconds > 0


def test_tool_calls_without_text_are_a_reply():
    tool_calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
    body = {**BODY, "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    reply = ask(says(body)).reply
    assert (reply.text, reply.fields) == ("", {"tool_calls": tool_calls})


def test_who_answered_is_told_when_it_is_another_model():
    assert ask(says({**BODY, "model": "other"})).reply.answered_by == "other"
    assert ask(says({**BODY, "model": "/models/up.gguf"})).reply.answered_by is None


@pytest.mark.parametrize("usage", [
    None, {}, {**USAGE, "prompt_tokens_details": {"cached_tokens": 10}},
])  # fmt: skip
def test_usage_that_is_missing_or_lies_is_unknown(usage):
    assert ask(says({**BODY, "usage": usage})).reply.usage is None


def test_a_compressed_body_is_read():
    body = gzip.compress(json.dumps(BODY).encode())
    assert ask(says(body, Content_Encoding="gzip")).reply.text == "Paris"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [
    b"<html>hello</html>", b"", b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000, b"{}",
])  # fmt: skip
def test_a_body_that_is_no_completion_is_an_invalid_reply_that_may_be_billed(body, stream):
    for content_type in ("application/json", "text/html"):
        asked = ask(says(body, content_type=content_type), stream=stream)
        assert asked.error.failure_kind == "invalid_reply"
        assert asked.error.billed
        assert len(asked.upstream.bodies) == 1


def test_an_error_in_a_successful_body_is_an_error():
    error = ask(says({"error": {"message": "no capacity", "code": 502}})).error
    assert (error.failure_kind, error.status, error.billed) == ("unavailable", 502, True)
    assert "no capacity" in str(error)


def test_a_reply_beyond_the_limit_is_no_reply():
    async def endless(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(40):
            await response.write(b" " * 2**20)
        return response

    error = ask(endless).error
    assert (error.failure_kind, error.billed) == ("invalid_reply", True)
    assert "longer than 32 MiB" in str(error)


# ---- streams ----------------------------------------------------------------------------------


def chunks_of(delta):
    """Return the upstream's chunks, those that are told as texts written out."""
    if not delta.parts:
        return [delta.chunk]
    assert delta.text == "".join(delta.parts)
    (choice,) = delta.chunk["choices"]
    deltas = [{**choice["delta"], "content": text} for text in delta.parts]
    return [{**delta.chunk, "choices": [{**choice, "delta": each}]} for each in deltas]


def test_a_stream_is_passed_on_chunk_by_chunk_and_put_together():
    asked = ask(streams(*WHOLE), stream=True)
    reply = asked.reply
    assert (reply.text, reply.finish_reason) == ("Paris", "stop")
    assert reply.usage == Usage(input=9, output=3)
    assert [delta.text for delta in asked.deltas] == ["", "Pa", "ris", "", ""]
    assert [chunk for delta in asked.deltas for chunk in chunks_of(delta)] == list(WHOLE[:-1])
    assert 0 < reply.first_token_s <= reply.seconds
    assert asked.upstream.bodies[0]["stream_options"] == {"include_usage": True}


def test_a_stream_that_comes_byte_by_byte_with_comments_and_crlf_is_the_same():
    text = b": wait\r\n\r\n" + b"".join(map(event, WHOLE[:-1])) + DONE
    text = text.replace(b"\n\n", b"\r\n\r\n")
    reply = ask(streams(*(bytes([byte]) for byte in text)), stream=True).reply
    assert (reply.text, reply.usage) == ("Paris", Usage(input=9, output=3))


def test_a_stream_without_done_or_without_usage_is_whole_once_it_has_finished():
    assert ask(streams(*WHOLE[:-1]), stream=True).reply.usage == Usage(input=9, output=3)
    reply = ask(streams(*WHOLE[:4]), stream=True).reply
    assert (reply.ok, reply.text, reply.usage) == (True, "Paris", None)


def test_streamed_tool_calls_reasoning_refusal_and_logprobs_are_put_together():
    def call(index, **rest):
        return piece(tool_calls=[{"index": index, **rest}])

    reply = ask(
        streams(
            piece(role="assistant", content=None, reasoning_content="Let me"),
            piece(reasoning_content=" see"),
            piece(refusal="I "), piece(refusal="can't"),
            call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
            call(0, function={"arguments": "{\"x\""}),
            call(1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
            call(0, function={"arguments": ": 1}"}),
            piece(content="P", logprob=-1.5), piece(content="Q", logprob=-2),
            piece("tool_calls"), LAST, DONE,
        ),
        stream=True,
    ).reply  # fmt: skip
    assert reply.fields == {
        "reasoning_content": "Let me see",
        "refusal": "I can't",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert (reply.text, reply.logprobs) == ("PQ", (-1.5, -2.0))
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("then", ["cut", "end"])
def test_a_cut_stream_keeps_its_text_and_is_not_sent_again(then):
    asked = ask(streams(*WHOLE[:2], then=then), stream=True)
    reply = asked.reply
    assert (reply.text, reply.usage, reply.failure.kind) == ("Pa", None, "unavailable")
    assert [delta.text for delta in asked.deltas] == ["", "Pa"]
    assert len(asked.upstream.bodies) == 1


def test_the_usage_of_a_cut_stream_is_unknown_whatever_it_said_so_far():
    so_far = {**piece(content="Pa"), "usage": USAGE}
    assert ask(streams(so_far, then="cut"), stream=True).reply.usage is None


def test_a_stream_that_is_cut_before_it_says_anything_is_an_error_that_may_be_billed():
    asked = ask(streams(WHOLE[0], then="cut"), stream=True)
    assert (asked.error.failure_kind, asked.error.billed) == ("unavailable", True)
    assert asked.deltas == []
    assert len(asked.upstream.bodies) == 1


def test_a_cut_after_the_end_of_the_message_loses_only_the_usage():
    reply = ask(streams(*WHOLE[:4], then="cut"), stream=True).reply
    assert (reply.ok, reply.text, reply.usage) == (True, "Paris", None)


def test_an_error_inside_a_stream_keeps_the_text_and_says_what_the_upstream_said():
    broken = {"error": {"message": f"engine died, {KEY}", "code": 500}}
    reply = ask(streams(*WHOLE[:3], broken, DONE), stream=True).reply
    assert (reply.text, reply.usage) == ("Paris", None)
    assert (reply.failure.kind, reply.failure.status) == ("unavailable", 500)
    assert reply.failure.message.endswith("engine died, [redacted]")
    error = ask(
        streams({"error": {"message": "slow", "type": "rate_limit_error"}}), stream=True
    ).error
    assert (error.failure_kind, error.billed) == ("rate_limit", True)
    named = b'event: error\ndata: {"message": "gone"}\n\n'
    assert "gone" in ask(streams(*WHOLE[:2], named), stream=True).reply.failure.message


def test_garbage_inside_a_stream_keeps_the_text():
    reply = ask(streams(*WHOLE[:2], b"data: {oops\n\n"), stream=True).reply
    assert (reply.text, reply.failure.kind, reply.usage) == ("Pa", "invalid_reply", None)


def test_a_stream_of_nothing_but_its_end_is_no_completion():
    assert ask(streams(DONE), stream=True).error.failure_kind == "invalid_reply"
    assert ask(streams(LAST, DONE), stream=True).error.failure_kind == "invalid_reply"


def test_a_server_that_does_not_stream_is_read_whole():
    asked = ask(says(), stream=True)
    assert (asked.reply.text, asked.deltas) == ("Paris", [])


def test_connections_are_used_again_after_a_body_a_stream_and_an_error():
    async def ends_late(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(map(event, WHOLE[:-1])) + DONE)
        for _ in range(20):
            await asyncio.sleep(0)  # the client has read the last event before the end comes
        return response

    async def run():
        handlers = says(), ends_late, says(status=400), streams(*WHOLE), says()
        async with serving(*handlers) as upstream:
            backend = OpenAI(instances=(Instance(url=upstream.url, model="up"),), retries=0)
            for k in range(5):
                try:
                    await backend.complete(
                        Call("small"),
                        Trace(Request.of("x"), POOL),
                        no_emit if k in (1, 3) else None,
                    )
                except BackendError:
                    assert k == 2
            await backend.close()
            return upstream.peers

    async def no_emit(delta):
        pass

    assert len(set(asyncio.run(run()))) == 1


# ---- failures and what is sent again ----------------------------------------------------------


def test_a_5xx_is_sent_again_after_a_backoff():
    asked = ask(says(status=500), says(status=503), says())
    assert (asked.reply.text, asked.reply.attempts) == ("Paris", 3)
    assert asked.waits == [0.5, 1.0]


def test_a_5xx_is_sent_again_for_a_stream_too():
    asked = ask(says(status=500), streams(*WHOLE), stream=True)
    assert (asked.reply.text, asked.reply.attempts) == ("Paris", 2)


def test_retries_end():
    asked = ask(says({"error": {"message": "on fire"}}, status=500), retries=1)
    assert (asked.error.failure_kind, asked.error.status) == ("unavailable", 500)
    assert "on fire" in str(asked.error)
    assert not asked.error.billed
    assert len(asked.upstream.bodies) == 2


def test_retry_after_is_waited_for_in_seconds_and_as_a_date():
    assert ask(says(status=429, Retry_After="2"), says()).waits == [2.5]
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    (wait,) = ask(says(status=429, Retry_After=date), says()).waits
    assert 10 < wait <= 20.5


def test_a_long_retry_after_is_not_waited_for_but_passed_on():
    asked = ask(says(status=429, Retry_After="31"), says())
    assert isinstance(asked.error, RateLimitError)
    assert (asked.error.retry_after_s, asked.waits) == (31, [])


def test_a_wait_that_does_not_fit_into_the_time_is_not_begun():
    request = Request.of("x", budget=Budget(seconds=1.5))
    asked = ask(says(status=429, Retry_After="1"), says(), request=request)
    assert (asked.error.failure_kind, asked.waits) == ("rate_limit", [])
    asked = ask(says(status=429, Retry_After="1"), says(), total_s=1.2)
    assert (asked.error.failure_kind, asked.waits) == ("rate_limit", [])


@pytest.mark.parametrize(("status", "kind"), [
    (400, "bad_request"), (401, "auth"), (403, "auth"), (404, "bad_request"),
    (408, "bad_request"), (422, "bad_request"),
])  # fmt: skip
def test_a_4xx_is_never_sent_again(status, kind):
    asked = ask(says({"error": {"message": "no"}}, status=status))
    assert (asked.error.failure_kind, asked.error.status) == (kind, status)
    assert not asked.error.billed
    assert len(asked.upstream.bodies) == 1


def test_a_prompt_that_is_too_long_is_told_apart():
    error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    assert ask(says(error, status=400)).error.failure_kind == "context"


def test_a_redirect_is_not_followed():
    asked = ask(says(status=307, Location="http://elsewhere.invalid/"))
    assert asked.error.failure_kind == "bad_request"
    assert "redirects" in str(asked.error)


@pytest.mark.parametrize("stream", [False, True])
def test_silence_before_the_reply_times_out_and_may_be_billed(stream):
    limit = "first_token_s" if stream else "total_s"
    asked = ask(hangs, stream=stream, **{limit: 0.1})
    assert isinstance(asked.error, UpstreamTimeoutError)
    assert asked.error.billed
    assert "0.1 s" in str(asked.error)
    assert len(asked.upstream.bodies) == 1


def test_a_stream_that_says_nothing_times_out_before_its_first_token():
    asked = ask(streams(WHOLE[0], then="hang"), stream=True, first_token_s=0.1)
    assert isinstance(asked.error, UpstreamTimeoutError)
    assert asked.error.billed
    assert asked.deltas == []


def test_after_the_first_token_only_the_total_counts():
    async def pauses(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event(WHOLE[1]))
        await asyncio.sleep(0.4)
        await response.write(b"".join(map(event, WHOLE[2:5])))
        return response

    assert ask(pauses, stream=True, first_token_s=0.3).reply.text == "Paris"


def test_silence_in_the_middle_of_a_stream_times_out_and_keeps_the_text():
    asked = ask(streams(*WHOLE[:2], then="hang"), stream=True, total_s=0.25)
    assert (asked.reply.text, asked.reply.failure.kind) == ("Pa", "timeout")
    assert asked.reply.usage is None
    assert len(asked.upstream.bodies) == 1


def test_the_total_holds_for_a_body_that_trickles():
    async def trickles(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    asked = ask(trickles, total_s=0.15)
    assert isinstance(asked.error, UpstreamTimeoutError)
    assert asked.error.billed


def test_a_connection_cut_before_the_reply_may_be_billed_and_is_not_sent_again():
    async def hangs_up(request):
        request.transport.abort()

    asked = ask(hangs_up)
    assert (asked.error.failure_kind, asked.error.billed) == ("unavailable", True)
    assert len(asked.upstream.bodies) == 1


# ---- instances --------------------------------------------------------------------------------

CLOSED = "http://127.0.0.1:9/v1"
"""The discard port, on which nothing listens."""


def test_calls_take_the_instances_in_turn():
    async def run():
        async with serving(says()) as one, serving(says()) as two:
            instances = (
                Instance(url=one.url, model="up", name="one"),
                Instance(url=two.url, model="up", name="two"),
            )
            backend = OpenAI(instances=instances)
            trace = Trace(Request.of("x"), POOL)
            replies = [await backend.complete(Call("small"), trace) for _ in range(4)]
            await backend.close()
            return [reply.instance for reply in replies]

    assert asyncio.run(run()) == ["one", "two", "one", "two"]


def test_a_failed_connection_goes_on_to_the_next_instance_at_once():
    async def run():
        asked = Asked()
        async with serving(says()) as good:
            instances = (
                Instance(url=CLOSED, model="up", name="dead"),
                Instance(url=good.url, model="up", name="good"),
            )
            backend = quiet(OpenAI(instances=instances), asked)
            asked.reply = await backend.complete(Call("small"), Trace(Request.of("x"), POOL))
            await backend.close()
        return asked

    asked = asyncio.run(run())
    assert (asked.reply.instance, asked.reply.attempts, asked.waits) == ("good", 2, [])


def test_an_instance_that_cannot_be_reached_is_retried_and_named():
    asked = ask(says(), url=CLOSED, retries=1)
    assert (asked.error.failure_kind, asked.error.billed) == ("unavailable", False)
    assert asked.waits == [0.5]
    assert "127.0.0.1:9/v1" in str(asked.error)


def test_a_connection_that_takes_too_long_is_a_timeout_that_is_not_billed():
    async def run():
        # a listening socket whose queue is full answers no further connection
        async with full_queue() as port:
            url = f"http://127.0.0.1:{port}/v1"
            backend = OpenAI(instances=(Instance(url=url, connect_s=0.1),), retries=0)
            with pytest.raises(UpstreamTimeoutError, match=r"no connection within 0.1 s") as caught:
                await backend.complete(Call("small"), Trace(Request.of("x"), POOL))
            await backend.close()
            assert not caught.value.billed

    asyncio.run(run())


@asynccontextmanager
async def full_queue():
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    waiting = []
    for _ in range(4):
        other = socket.socket()
        other.setblocking(False)
        other.connect_ex(listening.getsockname())
        waiting.append(other)
    await asyncio.sleep(0)
    try:
        yield listening.getsockname()[1]
    finally:
        for open_socket in (*waiting, listening):
            open_socket.close()


@pytest.mark.parametrize(("wrong", "said"), [
    ({"url": "localhost:8000"}, "begins with http"),
    ({"url": "https://me:pass@h/v1"}, "key_env"),
    ({"url": "https://h/v1/chat/completions"}, "base URL"),
    ({"url": "https://h/v1", "total_s": 0}, "total_s"),
    ({"url": "https://h/v1", "key_env": "K", "headers": {"authorization": "x"}}, "drop one"),
    ({"url": "https://h/v1", "headers": {"X-A": "b\nc"}}, "control character"),
])  # fmt: skip
def test_an_instance_that_cannot_work_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Instance(**wrong)


def test_a_backend_needs_an_instance_and_no_negative_retries():
    with pytest.raises(ConfigError, match="one instance or more"):
        OpenAI(instances=())
    with pytest.raises(ConfigError, match="retries"):
        OpenAI(instances=(Instance(url="http://x/v1"),), retries=-1)


# ---- keys -------------------------------------------------------------------------------------


def test_a_missing_key_names_the_variable_and_the_remedy(monkeypatch):
    monkeypatch.delenv("UP_KEY")
    asked = ask(says())
    assert asked.error.failure_kind == "auth"
    assert "export UP_KEY=" in str(asked.error)
    assert asked.upstream.bodies == []
    instances = (Instance(url="http://x", key_env="UP_KEY"), Instance(url="http://y"))
    assert OpenAI(instances=(*instances, *instances)).missing_keys() == ("UP_KEY",)
    monkeypatch.setenv("UP_KEY", "x")
    assert OpenAI(instances=instances).missing_keys() == ()


def test_a_key_that_no_header_can_carry_is_named_and_not_shown(monkeypatch):
    monkeypatch.setenv("UP_KEY", "sk-secret\nX-Evil: 1")
    error = ask(says()).error
    assert error.failure_kind == "auth"
    assert "UP_KEY" in str(error)
    assert "secret" not in str(error)


@pytest.mark.slow  # real backoff between attempts
def test_the_key_is_in_no_error_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"bad key {KEY} " + "x" * 9_000, "code": KEY}}
    header = "hunter2-and-more"
    handlers = {
        "auth": says(echo, status=401),
        "unavailable": says(echo, status=500),
        "rate_limit": says(echo, status=429),
        "invalid_reply": says(f"{KEY} {header}".encode()),
    }
    seen = []
    for kind, handler in handlers.items():
        error = ask(handler, headers={"X-Token": header}).error
        assert error.failure_kind == kind
        assert len(str(error)) < 600
        seen += [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]

    async def not_http(request):
        request.transport.write(b"nonsense\r\n\r\n")
        request.transport.close()

    error = ask(not_http, headers={"X-Token": header}).error
    seen += [str(error), repr(error.__context__), repr(error.__cause__)]
    instance = Instance(url="http://x/v1?token=abc", key_env="UP_KEY", headers={"X-Token": header})
    seen += [repr(instance), repr(OpenAI(instances=(instance,))), caplog.text]
    assert "attempt 1 failed" in caplog.text
    assert not [text for text in seen if KEY in text or header in text or "abc" in text]
    assert any("***" in text for text in seen)


# ---- probes -----------------------------------------------------------------------------------


def test_a_probe_says_of_each_instance_what_it_serves_or_what_is_wrong(monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    listed = {"object": "list", "data": [{"id": "up"}, {"id": "big"}]}

    async def run():
        async with (
            serving(says(listed)) as good,
            serving(says({"error": {"message": f"no {KEY}"}}, status=401)) as locked,
            serving(says(b"<html>", content_type="text/html")) as page,
        ):
            urls = {"good": good.url, "locked": locked.url, "page": page.url, "dead": CLOSED}
            instances = [
                Instance(url=url, name=name, model="up", key_env="UP_KEY")
                for name, url in urls.items()
            ]
            instances.append(Instance(url=good.url, name="lacks", model="gone"))
            instances.append(Instance(url=good.url, name="keyless", key_env="NO_KEY"))
            backend = OpenAI(instances=tuple(instances))
            probes = await backend.probe()
            await backend.close()
            return {probe.instance: probe for probe in probes}

    probes = asyncio.run(run())
    assert [name for name, probe in probes.items() if probe.ok] == ["good", "lacks"]
    assert probes["good"].models == ("up", "big")
    assert (probes["good"].message, probes["good"].seconds > 0) == ("", True)
    assert "'gone'" in probes["lacks"].message
    assert probes["locked"].message == "HTTP 401: no [redacted]"
    assert "no JSON" in probes["page"].message
    assert "NO_KEY" in probes["keyless"].message
    assert "Connect" in probes["dead"].message


# ---- the life of a backend --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_call_is_cancelled_upstream(stream):
    async def run():
        begun, gone = asyncio.Event(), asyncio.Event()

        async def notices(request):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            try:
                if stream:
                    await response.prepare(request)
                    await response.write(event(WHOLE[1]))
                begun.set()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                gone.set()
                raise

        async def emit(delta):
            pass

        async with serving(notices) as upstream:
            backend = OpenAI(instances=(Instance(url=upstream.url),))
            trace = Trace(Request.of("x"), POOL)
            task = asyncio.create_task(
                backend.complete(Call("small"), trace, emit if stream else None)
            )
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 10)
            await backend.close()

    asyncio.run(run())


def test_it_can_be_closed_twice_and_used_after():
    async def run():
        async with serving(says()) as upstream:
            backend = OpenAI(instances=(Instance(url=upstream.url),))
            await backend.close()
            for _ in range(2):
                await backend.complete(Call("small"), Trace(Request.of("x"), POOL))
                await backend.close()
                await backend.close()

    asyncio.run(run())


def test_another_event_loop_is_told_so():
    backend = OpenAI(instances=(Instance(url=CLOSED),), retries=0)
    trace = Trace(Request.of("x"), POOL)
    first = asyncio.new_event_loop()
    with pytest.raises(BackendError):
        first.run_until_complete(backend.complete(Call("small"), trace))
    with pytest.raises(BackendError, match="another event loop") as caught:
        asyncio.run(backend.complete(Call("small"), trace))
    assert caught.value.failure_kind == "backend"
    first.run_until_complete(backend.close())
    first.close()


def test_more_than_a_hundred_calls_run_at_once():
    async def run():
        everyone = asyncio.Event()
        here = []

        async def waits_for_all(request):
            here.append(request)
            if len(here) == 120:
                everyone.set()
            await everyone.wait()
            return await says()(request)

        async with serving(waits_for_all) as upstream:
            backend = OpenAI(instances=(Instance(url=upstream.url, model="up"),))
            trace = Trace(Request.of("x"), POOL)
            calls = [backend.complete(Call("small"), trace) for _ in range(120)]
            replies = await asyncio.gather(*calls)
            await backend.close()
            return replies

    assert {reply.text for reply in asyncio.run(run())} == {"Paris"}


# ---- through the loop -------------------------------------------------------------------------


def episode(*handlers, stream=False, budget=None, **limits):
    request = Request.of("capital of France?", budget=budget or Budget())

    async def run():
        async with serving(*handlers) as upstream:
            instance = Instance(url=upstream.url, model="up", **limits)
            backend = OpenAI(instances=(instance,), retries=0)
            try:
                if not stream:
                    return await run_episode(Fixed("small"), backend, request, POOL)
                return [e async for e in stream_episode(Fixed("small"), backend, request, POOL)]
            finally:
                await backend.close()

    return asyncio.run(run())


def test_an_episode_has_an_exact_bill():
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 4}}
    trace = episode(says({**BODY, "usage": usage}))
    assert trace.answer == "Paris"
    assert trace.usd == Decimal("0.000013")  # (5 * 1 + 4 * 0.5 + 3 * 2) / 10**6


def test_an_episode_streams():
    *_, replied, finished = events = episode(streams(*WHOLE), stream=True)
    assert isinstance(replied, Replied)
    assert isinstance(finished, Finished)
    assert "".join(e.delta.text for e in events if isinstance(e, Streamed)) == "Paris"
    assert finished.trace.answer == "Paris"


def test_a_failed_episode_has_a_typed_failure_and_an_unknown_bill_only_where_it_is_unknown():
    trace = episode(says(status=500))
    assert (trace.failure.kind, trace.usd) == ("unavailable", Decimal(0))
    trace = episode(hangs, total_s=0.1)
    assert (trace.failure.kind, trace.usd) == ("timeout", None)


def test_the_budget_of_an_episode_ends_a_call_that_hangs():
    trace = episode(hangs, budget=Budget(seconds=0.2))
    assert (trace.failure.kind, trace.usd) == ("timeout", None)
