import asyncio
import http.client
import json
import subprocess
import sys
import threading
import urllib.parse

import pytest

from polyroute.backends.local.backend import Local
from polyroute.backends.local.weights import find
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError
from polyroute.ledger import prompt_bound
from polyroute.pool import ModelCard, Pool
from polyroute.trace import Trace
from polyroute.types import Message, Request

POOL = Pool([ModelCard(id="small", aliases=("little",))])
FRANCE = "What is the capital of France?"


class Watched:
    """A server that counts what goes through it."""

    def __init__(self, server):
        self._server = server
        self.returned = threading.Event()
        self.pieces = 0
        self.bodies = []

    @property
    def listening_address(self):
        return self._server.listening_address

    def handle_chat_completions(self, body, callback):
        self.bodies.append(body)

        def counted(chunk):
            self.pieces += 1
            return callback(chunk)

        try:
            return self._server.handle_chat_completions(body, counted)
        finally:
            self.returned.set()


class WatchedLocal(Local):
    def _load(self):
        self.watch = Watched(super()._load())
        return self.watch


@pytest.fixture(scope="module")
def local():
    pytest.importorskip("xllamacpp", reason="needs the extra [local]")
    try:
        find("smollm2")
    except ConfigError as error:
        pytest.skip(str(error))
    backend = WatchedLocal(gguf="smollm2", context=512, system="You are a helpful assistant.")
    yield backend
    asyncio.run(backend.close())


def ask(backend, prompt=FRANCE, emit=None, *, request=None, **params):
    trace = Trace(request or Request.of(FRANCE), POOL)
    return backend.complete(Call("small", prompt, params), trace, emit)


def say(backend, prompt=FRANCE, **params):
    return asyncio.run(ask(backend, prompt, **params))


# with the real model


def test_the_model_knows_the_capital_of_france(local):
    reply = say(local)
    assert "Paris" in reply.text
    assert reply.finish_reason == "stop"
    assert reply.usage.completion == len(reply.logprobs) + 1  # the end of the turn is a token too


def test_every_token_of_a_cut_reply_has_a_log_probability(local):
    reply = say(local, max_tokens=6)
    assert reply.finish_reason == "length"
    assert reply.usage.completion == len(reply.logprobs) == 6
    assert all(logprob <= 0 for logprob in reply.logprobs)


def test_cached_prompt_tokens_are_counted_once(local):
    first = say(local, "Count to three.", max_tokens=2)
    again = say(local, "Count to three.", max_tokens=2)
    assert again.usage.cached > 0
    assert again.usage.prompt == first.usage.prompt
    assert again.usage.total == again.usage.prompt + 2


def test_the_ledger_bounds_what_the_template_and_the_system_message_add(local):
    for prompt in ("a", "?" * 20):
        usage = say(local, prompt, max_tokens=1).usage
        assert usage.prompt <= prompt_bound([Message("user", prompt)], {})


def test_a_seed_repeats_a_reply_and_another_seed_does_not(local):
    def draw(seed):
        return say(local, "Tell me a story.", temperature=1.5, seed=seed, max_tokens=6).text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in (2, 3, 4)}) > 1


def test_streamed_pieces_are_the_whole_text(local):
    pieces = []

    async def run():
        async def emit(delta):
            pieces.append(delta)

        return await ask(local, emit=emit)

    reply = asyncio.run(run())
    assert "".join(piece.text for piece in pieces) == reply.text == say(local).text
    assert len(pieces) > 5
    assert {piece.chunk["model"] for piece in pieces} == {"small"}
    assert pieces[-1].chunk["choices"][0]["finish_reason"] == "stop"
    assert reply.first_token_s <= reply.seconds


def test_log_probabilities_are_relayed_only_when_asked_for(local):
    untold = say(local, max_tokens=2)
    assert 'logprob"' not in json.dumps(untold.raw)
    assert untold.raw["model"] == "small"
    assert untold.raw["choices"][0]["message"]["content"] == untold.text
    told = say(local, max_tokens=2, logprobs=True, top_logprobs=3).raw["choices"][0]["logprobs"]
    assert [len(token["top_logprobs"]) for token in told["content"]] == [3, 3]
    # a cached prompt is rounded otherwise than a computed one, in the seventh digit
    assert [token["logprob"] for token in told["content"]] == pytest.approx(
        untold.logprobs, abs=1e-4
    )


def test_a_grammar_and_a_schema_bind_the_reply(local):
    assert say(local, "Is Paris in France?", grammar='root ::= "yes" | "no"').text in ("yes", "no")
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wire = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert json.loads(say(local, response_format=wire, max_tokens=20).text)["yes"] in (True, False)


def test_several_choices_share_one_prompt(local):
    reply = say(local, n=2, temperature=1.0, seed=5, max_tokens=4)
    texts = [choice["message"]["content"] for choice in reply.raw["choices"]]
    assert len(texts) == 2
    assert texts[0] == reply.text
    assert reply.usage.completion == 8
    assert reply.usage.prompt == say(local, max_tokens=1).usage.prompt


def test_tools_are_passed_on(local):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert say(local, tools=[tool], max_tokens=4).text


def test_a_prompt_beyond_the_window_says_how_far(local):
    with pytest.raises(BackendError, match=r"the prompt has \d{3} tokens.*small is 512") as error:
        say(local, "word " * 600)
    assert error.value.failure_kind == "context"


@pytest.mark.parametrize(
    ("prompt", "params"),
    [
        ("a lone surrogate \ud800", {}),
        (FRANCE, {"temperature": "hot"}),
        (FRANCE, {"n": 99}),
        (FRANCE, {"max_tokens": 0}),
        (FRANCE, {"response_format": {"type": "poem"}}),
    ],
)
def test_what_llama_cpp_rejects_is_a_bad_request(local, prompt, params):
    with pytest.raises(BackendError) as error:
        say(local, prompt, **params)
    assert error.value.failure_kind == "bad_request"


def test_an_image_is_a_bad_request(local):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    request = Request(id="q", messages=(Message("user", (image,)),))
    with pytest.raises(BackendError, match="reads text only") as error:
        say(local, None, request=request)
    assert error.value.failure_kind == "bad_request"


def test_a_cancelled_call_ends_the_generation(local):
    async def run():
        started = asyncio.Event()

        async def emit(delta):
            started.set()

        local.watch.returned.clear()
        local.watch.pieces = 0
        task = asyncio.create_task(ask(local, "Write a long story.", emit, max_tokens=400))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    say(local, max_tokens=1)  # the model is loaded
    asyncio.run(run())
    assert local.watch.returned.wait(30)
    assert local.watch.pieces < 100


def test_a_call_cancelled_during_a_long_prompt_does_not_read_it_to_the_end(local):
    async def run():
        task = asyncio.create_task(ask(local, "number " * 450))
        while local.watch.pieces < 2:  # the first says 0 tokens
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    say(local, max_tokens=1)  # the model is loaded
    local.watch.returned.clear()
    local.watch.pieces = 0
    asyncio.run(run())
    assert local.watch.returned.wait(30)
    assert local.watch.pieces <= 4  # of 8 batches


def test_calls_at_once_share_the_batches(local):
    order = []

    async def one(k):
        async def emit(delta):
            order.append(k)

        return await ask(local, f"Tell me about the number {k}.", emit, max_tokens=6)

    async def run():
        return await asyncio.gather(*(one(k) for k in range(4)))

    replies = asyncio.run(run())
    assert all(reply.usage.completion == 6 for reply in replies)
    first = {k: order.index(k) for k in range(4)}
    last = {k: len(order) - 1 - order[::-1].index(k) for k in range(4)}
    assert max(first.values()) < min(last.values())


def test_nobody_else_may_use_the_model(local):
    local.count_tokens("x")
    url = urllib.parse.urlsplit(local.watch.listening_address)
    assert url.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request("POST", "/v1/chat/completions", '{"messages": []}')
    assert connection.getresponse().status == 401
    connection.close()


def test_tokens_are_counted_as_the_model_counts_them(local):
    # 1234 $5 -> 33 34 35 36 1885 37, by llama.cpp's and by Hugging Face's tokenizer
    assert local.count_tokens("1234 $5") == 6
    more = say(local, "hello hello", max_tokens=1).usage.prompt
    less = say(local, "hello", max_tokens=1).usage.prompt
    assert more - less == local.count_tokens("hello hello") - local.count_tokens("hello")


@pytest.mark.slow
def test_loading_leaves_the_terminal_and_ctrl_c_alone(local):
    program = """
import asyncio, os, signal
from polyroute.backends.local.backend import Local
backend = Local(gguf="smollm2", context=256, parallel=1)
backend.count_tokens("hello")
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    asyncio.run(backend.close())
    raise SystemExit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@pytest.mark.slow
def test_a_damaged_model_is_a_typed_failure(local, tmp_path):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(find("smollm2").read_bytes()[:1_000_000])
    backend = Local(gguf=str(path))
    with pytest.raises(BackendError, match="cannot load") as error:
        say(backend)
    assert error.value.failure_kind == "unavailable"
    asyncio.run(backend.close())


# with a scripted server: no model, no xllamacpp


class Served:
    """Streams `chunks` of one reply, then waits to be stopped when `endless`."""

    def __init__(self, *chunks, endless=False):
        self.chunks = chunks
        self.endless = endless
        self.given = 0
        self.body = None
        self.stopped = threading.Event()
        self.loads = 0

    def handle_chat_completions(self, body, callback):
        self.body = body
        for chunk in self.chunks:
            self.given += 1
            if callback(chunk):
                self.stopped.set()
                return
        while self.endless:
            self.given += 1
            if callback(piece("x")):
                self.stopped.set()
                return


def piece(text="", finish=None):
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return {"choices": [choice], "object": "chat.completion.chunk"}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
WHOLE = (piece("Par"), piece("is"), piece(finish="stop"), USAGE)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Return what makes a `Local` around a scripted server."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())

    def make(served, **settings):
        def load(self):
            served.loads += 1
            return served

        monkeypatch.setattr(Local, "_load", load)
        return Local(gguf=str(path), **settings)

    return make


def test_the_model_is_loaded_once_at_the_first_call(serve):
    served = Served(*WHOLE)
    backend = serve(served)
    assert served.loads == 0

    async def run():
        await asyncio.gather(*(ask(backend) for _ in range(8)))

    asyncio.run(run())
    assert served.loads == 1


def test_defaults_are_temperature_0_and_the_configured_limit(serve):
    served = Served(*WHOLE)
    say(serve(served, max_tokens=99))
    assert served.body["temperature"] == 0
    assert "seed" not in served.body
    assert served.body["max_tokens"] == 99
    assert served.body["messages"] == [{"role": "user", "content": FRANCE}]


def test_a_call_without_a_seed_gets_that_of_the_request(serve):
    served = Served(*WHOLE)
    request = Request(id="q", messages=(Message("user", "x"),), seed=-1, params={"temperature": 1})
    say(serve(served), None, request=request)
    assert served.body["seed"] == 2**32 - 2  # -1, and never llama.cpp's "choose one"
    say(serve(served), None, request=request, seed=3)
    assert served.body["seed"] == 3


def test_the_lowest_limit_holds(serve):
    served = Served(*WHOLE)
    backend = serve(served)
    say(backend, max_tokens=50, max_completion_tokens=20)
    assert served.body["max_tokens"] == 20
    assert "max_completion_tokens" not in served.body
    trace = Trace(Request.of("x"), Pool([ModelCard(id="small", max_output=10)]))
    asyncio.run(backend.complete(Call("small"), trace))
    assert served.body["max_tokens"] == 10


def test_a_system_message_is_added_only_where_there_is_none(serve):
    served = Served(*WHOLE)
    backend = serve(served, system="Be brief.")
    say(backend)
    assert served.body["messages"][0] == {"role": "system", "content": "Be brief."}
    own = Request(id="q", messages=(Message("system", "Be long."), Message("user", "x")))
    say(backend, None, request=own)
    assert [m["content"] for m in served.body["messages"]] == ["Be long.", "x"]


def test_parameters_pass_through_and_cannot_replace_ours(serve):
    served = Served(*WHOLE)
    say(serve(served), mirostat=2, stream=False, model="other", messages=[], top_p=None)
    assert served.body["mirostat"] == 2
    assert served.body["stream"] is True
    assert served.body["messages"] == [{"role": "user", "content": FRANCE}]
    assert not {"model", "top_p"} & set(served.body)


def test_an_alias_is_answered_under_the_id(serve):
    trace = Trace(Request.of("x"), POOL)
    reply = asyncio.run(serve(Served(*WHOLE)).complete(Call("little"), trace))
    assert (reply.model, reply.raw["model"]) == ("little", "small")


def test_the_usage_is_streamed_when_asked_for(serve):
    def streamed(**params):
        chunks = []

        async def emit(delta):
            chunks.append(delta.chunk)

        say(serve(Served(*WHOLE)), emit=emit, **params)
        return [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")]

    assert streamed() == []
    assert streamed(stream_options={"include_usage": True}) == [9]


def test_a_cut_stream_keeps_its_text(serve):
    async def emit(delta):
        pass

    served = Served(piece("Par"), {"error": {"code": 500, "message": "out of memory"}})
    reply = say(serve(served), emit=emit)
    assert (reply.text, reply.usage, reply.failure.kind) == ("Par", None, "backend")
    with pytest.raises(BackendError, match="out of memory"):
        say(serve(served))


def test_a_stream_without_an_end_is_no_reply(serve):
    with pytest.raises(BackendError, match="before it was finished"):
        say(serve(Served(piece("Par"))))


def test_a_slow_reader_holds_up_the_stream(serve):
    served = Served(endless=True)
    backend = serve(served)
    ahead = []

    async def run():
        reading, blocked = asyncio.Event(), asyncio.Event()

        async def emit(delta):
            reading.set()
            await blocked.wait()

        task = asyncio.create_task(ask(backend, emit=emit))
        await reading.wait()
        given = -1
        while given != served.given:  # until the thread waits
            given = served.given
            await asyncio.sleep(0.05)
        ahead.append(given)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert ahead[0] <= 66
    assert served.stopped.wait(10)


def test_closing_ends_running_and_waiting_calls_with_a_typed_failure(serve):
    served = Served(endless=True)
    backend = serve(served, parallel=1)

    async def run():
        running = asyncio.Event()

        async def emit(delta):
            running.set()

        calls = [asyncio.create_task(ask(backend, emit=emit)) for _ in range(3)]
        await running.wait()
        await backend.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    ended = asyncio.run(run())
    assert [type(error) for error in ended] == [BackendError] * 3
    assert all("is closed" in str(error) for error in ended)
    asyncio.run(backend.close())
    with pytest.raises(BackendError, match="is closed"):
        say(backend)


@pytest.mark.parametrize(
    "setting", [{"context": 0}, {"parallel": -1}, {"threads": 0}, {"system": "x" * 33}]
)
def test_a_setting_out_of_range_is_named(serve, setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        serve(Served(), **setting)


def test_without_xllamacpp_the_command_is_given(serve, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'polyroute\[local\]'"):
        serve(Served())


def test_a_prompt_that_no_tokenizer_could_fit_is_refused_without_reading_it(serve):
    served = Served(*WHOLE)
    with pytest.raises(BackendError, match="cannot be fewer than") as caught:
        say(serve(served), "word " * 4_000_000)
    assert caught.value.failure_kind == "context"
    assert served.loads == 0
