"""The policy on a real, untrained model in this process: slow, and about the plumbing."""

import asyncio
import itertools
from decimal import Decimal

import pytest
from msgspec.structs import replace

from polyroute import Budget, ModelCard, Pool, Price, Request, Trace, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.backends.local import Local
from polyroute.backends.openai import Instance, OpenAI
from polyroute.backends.scripted import Scripted
from polyroute.decision import Call
from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import RouterR1, prompt_of, transcript, turns

pytestmark = pytest.mark.slow

SKILLS = {
    "geography": {"geography": 0.95},
    "elements": {"chemistry": 0.9},
    "calculator": {"arithmetic": 1.0},
    "calendar": {"dates": 0.97},
    "large": {"geography": 0.8, "chemistry": 0.75},
}
POOL = Pool(
    [
        ModelCard(id="smollm2", price=Price.per_million("0.1", "0.2"), max_output=128),
        *(
            ModelCard(id=name, price=Price(call=Decimal("0.00003")), skills=skills)
            for name, skills in SKILLS.items()
        ),
    ]
)
REQUEST = replace(
    Request.of("What is the population of the capital of Peru?"),
    budget=Budget(usd=Decimal("0.01"), usd_per_quality=0.002),
)


@pytest.fixture(scope="module")
def local():
    pytest.importorskip("xllamacpp", reason="needs the extra [local]")
    try:
        backend = Local(gguf="smollm2", context=1024, parallel=1)
    except ConfigError as error:
        pytest.skip(str(error))
    yield backend
    asyncio.run(backend.close())


def run(local, **policy):
    candidates = Scripted(lambda model, prompt: "Lima")
    backend = ByCard({**dict.fromkeys(POOL.ids, candidates), "smollm2": local})
    policy = RouterR1(router="smollm2", router_params={"max_tokens": 60}, **policy)
    return asyncio.run(run_episode(policy, backend, REQUEST, POOL))


def test_a_local_model_goes_on_from_a_prefix(local):
    call = Call("smollm2", "Count from one to ten in digits.", {"max_tokens": 6}, "1, 2, 3,")
    reply = asyncio.run(local.complete(call, Trace(REQUEST, POOL)))
    assert reply.text.startswith(" 4, 5")


def test_llama_cpps_server_goes_on_from_a_bare_prefix(local, monkeypatch):
    monkeypatch.setenv("LOCAL_KEY", local._key)
    url = f"{local._loaded().listening_address}/v1"
    call = Call("smollm2", "Count from one to ten in digits.", {"max_tokens": 6}, "1, 2, 3,")

    async def over_http():
        instance = Instance(url=url, key_env="LOCAL_KEY", continues="bare")
        backend = OpenAI(instances=(instance,))
        try:
            return await backend.complete(call, Trace(REQUEST, POOL))
        finally:
            await backend.close()

    in_process = asyncio.run(local.complete(call, Trace(REQUEST, POOL)))
    assert asyncio.run(over_http()).text == in_process.text


def test_the_brief_prompt_of_five_cards_has_at_most_120_tokens(local):
    trace = run(local, layout="brief", constrained="llama.cpp")
    assert local.count_tokens(prompt_of(trace)) <= 120


def test_a_constrained_turn_that_is_not_cut_has_an_action(local):
    trace = run(local, layout="brief", constrained="llama.cpp")
    read = [
        turn
        for turn, reply in zip(turns(trace), own(trace), strict=True)
        if reply.finish_reason == "stop"
    ]
    assert read
    assert all(turn.searches or turn.answer or "must answer" in turn.invalid for turn in read)


def test_the_transcript_is_computed_once(local):
    trace = run(local, layout="brief")
    replies = own(trace)
    assert len(replies) > 1
    for before, after in itertools.pairwise(replies):
        assert after.usage.cached > 0.8 * before.usage.prompt
    assert "".join(span.text for span in transcript(trace) if span.own)


def own(trace):
    return [reply for reply in trace.replies if reply.model == "smollm2"]
