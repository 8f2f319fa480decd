import asyncio

from polyroute import ModelCard, Pool, Request, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import RateLimitError
from polyroute.policies.fixed import Fixed

POOL = Pool([ModelCard(id="big"), ModelCard(id="small")])


def run(say):
    return asyncio.run(run_episode(Fixed("small"), Scripted(say), Request.of("hi"), POOL))


def test_the_model_and_only_the_model_is_asked():
    trace = run(lambda model, prompt: f"{model}: {prompt}")
    assert trace.answer == "small: hi"
    assert [call.model for call in trace.calls] == ["small"]


def test_a_failure_is_not_sent_elsewhere():
    def fail(model, prompt):
        raise RateLimitError("slow down", status=429)

    trace = run(fail)
    assert trace.answer is None
    assert trace.failure.kind == "rate_limit"
    assert len(trace.calls) == 1
