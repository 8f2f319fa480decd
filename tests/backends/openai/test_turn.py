"""Going on from the beginning of a turn, over a real connection to servers that do it their way."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from polyroute import ModelCard, Pool, Request, Trace, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.backends.openai import Instance, OpenAI
from polyroute.backends.scripted import Scripted
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.router_r1 import RouterR1, turns

POOL = Pool([ModelCard(id="r"), ModelCard(id="geo", description="Capitals.")])
SCRIPT = "<think>Peru.</think><search>geo: capital of Peru?</search>"
REST = "<think>Known.</think><answer>Lima</answer>"
TEMPLATE = "<|user|>{prompt}<|end|><|assistant|>"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def next_turn(start, stops):
    """Return what a model that knows `SCRIPT` and `REST` adds to `start`, and what stopped it."""
    text = REST if "Lima" in start else SCRIPT
    ends = [(text.find(stop), stop) for stop in stops if stop in text]
    end, stop = min(ends, default=(len(text), None))
    return text[:end], stop


def begun(body):
    """Return the beginning of the turn that a body asks to go on from, and what is repeated."""
    last = body["messages"][-1]
    if body["model"] == "llama.cpp":
        start = last["content"] if last["role"] == "assistant" else ""
        return start, start
    goes_on = body.get("continue_final_message") and not body.get("add_generation_prompt", True)
    return last["content"] if goes_on else "", ""


@asynccontextmanager
async def vllm(bodies):
    """Serve as vLLM does: chat turns that are gone on with when told so, and raw completions."""

    def said(body, start):
        text, stop = next_turn(start, body.get("stop", []))
        return text, {"index": 0, "finish_reason": "stop", "stop_reason": stop}

    async def chat(request):
        body = await request.json()
        bodies.append(body)
        start, repeated = begun(body)
        text, choice = said(body, start)
        if not body.get("stream"):
            message = {"role": "assistant", "content": repeated + text}
            return web.json_response({"choices": [{**choice, "message": message}], "usage": USAGE})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]}]
        chunks += [{"choices": [{**choice, "delta": {}}]}, {"choices": [], "usage": USAGE}]
        for chunk in chunks:
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def completions(request):
        body = await request.json()
        bodies.append(body)
        text, choice = said(body, body["prompt"].partition("<|assistant|>")[2])
        logprobs = {"tokens": [text], "token_logprobs": [-0.25]}
        choices = [{**choice, "text": text, "logprobs": logprobs}]
        if not body.get("stream"):
            return web.json_response({"choices": choices, "usage": USAGE})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in ({"choices": choices}, {"choices": [], "usage": USAGE}):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", completions)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def episode(**instance):
    """Run a whole episode of a router model behind an instance; return trace and bodies."""
    bodies = []

    async def run():
        async with vllm(bodies) as url:
            router = OpenAI(instances=(Instance(url=url, **instance),))
            backend = ByCard({"r": router, "geo": Scripted(lambda model, prompt: "Lima")})
            try:
                request = Request.of("Capital of Peru?")
                return await run_episode(RouterR1(router="r"), backend, request, POOL)
            finally:
                await backend.close()

    return asyncio.run(run()), bodies


def complete(call, *, stream=False, **instance):
    bodies = []

    async def run():
        async with vllm(bodies) as url:
            backend = OpenAI(instances=(Instance(url=url, **instance),))
            pieces = []

            async def emit(delta):
                pieces.append(delta.text)

            try:
                trace = Trace(Request.of("Capital of Peru?"), POOL)
                reply = await backend.complete(call, trace, emit if stream else None)
                return reply, "".join(pieces)
            finally:
                await backend.close()

    return *asyncio.run(run()), bodies


@pytest.mark.parametrize(
    "instance",
    [
        {"continues": "flags"},
        {"continues": "bare", "model": "llama.cpp"},
        {"continues": "completions", "template": TEMPLATE},
    ],
)
def test_an_episode_goes_on_from_its_transcript_over_the_wire(instance):
    trace, bodies = episode(**instance)
    assert trace.answer == "Lima"
    assert all(turn.well_formed for turn in turns(trace))
    assert len(bodies) == 2


def test_the_flags_of_vllm_are_sent_with_a_prefix_and_only_then():
    _, (first, second) = episode(continues="flags")
    assert "continue_final_message" not in first
    assert second["continue_final_message"] is True
    assert second["add_generation_prompt"] is False
    assert second["messages"][-1]["role"] == "assistant"
    assert second["messages"][-1]["content"].startswith(SCRIPT)


def test_a_bare_instance_ends_its_messages_with_the_prefix():
    _, _, (body,) = complete(Call("r", "Count.", prefix="1, 2,"), continues="bare")
    assert body["messages"][-1] == {"role": "assistant", "content": "1, 2,"}
    assert "continue_final_message" not in body


def test_a_prefix_that_the_server_repeats_is_no_part_of_the_reply():
    call = Call("r", "Capital?", prefix="It ")
    reply, _, (body,) = complete(call, continues="bare", model="llama.cpp")
    assert body["messages"][-1]["content"] == "It "
    assert reply.text == SCRIPT
    streamed, pieces, _ = complete(call, stream=True, continues="bare", model="llama.cpp")
    assert pieces == streamed.text == SCRIPT


def test_a_template_is_filled_in_exactly():
    call = Call("r", "Say {prompt} twice.", {"logprobs": True}, "He said")
    reply, _, (body,) = complete(call, continues="completions", template=TEMPLATE)
    assert body["prompt"] == "<|user|>Say {prompt} twice.<|end|><|assistant|>He said"
    assert "messages" not in body
    assert body["logprobs"] == 1
    assert reply.logprobs == (-0.25,)
    assert reply.usage.completion == 3


@pytest.mark.parametrize(
    "instance", [{"continues": "flags"}, {"continues": "completions", "template": TEMPLATE}]
)
def test_a_streamed_turn_is_the_same_turn(instance):
    call = Call("r", "Capital?", {"stop": ["</search>"]}, "It ")
    whole, _, _ = complete(call, **instance)
    streamed, pieces, _ = complete(call, stream=True, **instance)
    assert pieces == streamed.text == whole.text == SCRIPT.removesuffix("</search>")
    assert streamed.fields == whole.fields == {"stop": "</search>"}


def test_the_reply_says_which_stop_string_ended_it_and_only_where_one_was_asked_for():
    ended, _, _ = complete(Call("r", "Lima", {"stop": ["</answer>"]}, "Lima"), continues="flags")
    assert ended.fields == {"stop": "</answer>"}
    by_itself, _, _ = complete(Call("r", "x", {"stop": ["never"]}), continues="flags")
    assert by_itself.fields == {"stop": None}
    not_asked, _, _ = complete(Call("r", "x"), continues="flags")
    assert not_asked.fields == {}


def test_an_instance_that_does_not_say_how_it_goes_on_is_not_asked():
    with pytest.raises(BackendError, match="set `continues`") as caught:
        complete(Call("r", "Count.", prefix="1,"))
    assert caught.value.failure_kind == "bad_request"


def test_a_template_takes_one_message_of_text_and_nothing_else():
    bodies = []

    async def run():
        async with vllm(bodies) as url:
            instance = Instance(url=url, continues="completions", template=TEMPLATE)
            backend = OpenAI(instances=(instance,))
            messages = (*Request.of("a").messages, *Request.of("b").messages)
            trace = Trace(Request(id="q", messages=messages), POOL)
            try:
                await backend.complete(Call("r"), trace)
            finally:
                await backend.close()

    with pytest.raises(BackendError, match="one user message"):
        asyncio.run(run())
    assert bodies == []


def test_a_template_and_the_mode_that_needs_it_go_together():
    url = "http://127.0.0.1:1/v1"
    with pytest.raises(ConfigError, match="needs one"):
        Instance(url=url, continues="completions")
    with pytest.raises(ConfigError, match="goes with"):
        Instance(url=url, template=TEMPLATE)
    with pytest.raises(ConfigError, match=r"holds \{prompt\}"):
        Instance(url=url, continues="completions", template="<|user|>")
