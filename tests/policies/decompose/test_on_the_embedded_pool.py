"""The real thing: SmolLM2 chooses where to cut, the specialists answer."""

import asyncio

import pytest

from polyroute import Request, config, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.errors import ConfigError
from polyroute.policies.decompose import Decompose

TWO_HOPS = {
    "What is the population of the capital of Peru?": ["geography", "geography"],
    "What is the currency of the country whose capital is Nairobi?": ["geography", "geography"],
    "What is 15 plus the atomic number of oxygen?": ["elements", "calculator"],
    "On which continent is the country whose capital is Lima?": ["geography", "geography"],
    "What is the square root of the atomic number of iron?": ["elements", "calculator"],
}
ANSWERS = ["7737002", "Kenyan", "23", "South America", "5.09"]


@pytest.mark.slow
def test_two_hop_questions_are_answered_by_the_specialists():
    pytest.importorskip("xllamacpp", reason="the extra [local] is not installed")
    settings = config.read()
    settings = settings.model_copy(update={"records": config.RecordSettings(store="none")})
    try:
        setup = config.build(settings)
    except ConfigError as error:
        pytest.skip(f"the embedded pool is not installed: {error}")
    policy = Decompose(router="smollm2", split="spans", merge="last")

    async def episodes():
        backend = ByCard(setup.backends)
        try:
            return [
                await run_episode(policy, backend, Request.of(question), setup.pool)
                for question in TWO_HOPS
            ]
        finally:
            await backend.close()

    traces = asyncio.run(episodes())
    asked = [[call.model for call in trace.calls[1:]] for trace in traces]
    assert asked == list(TWO_HOPS.values())
    for trace, answer in zip(traces, ANSWERS, strict=True):
        assert answer in str(trace.answer)
