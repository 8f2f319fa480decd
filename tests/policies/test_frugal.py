"""The learned cascade: it stops where the estimator says so, and copes where it says nothing."""

import asyncio

import numpy as np
import pytest
from msgspec.structs import replace

from polyroute import Budget, ModelCard, Pool, Request, Trace
from polyroute.backends.scripted import Scripted
from polyroute.decision import Answer
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError, PolicyError
from polyroute.policies.frugal import Frugal, with_reply

POOL = Pool([ModelCard(id=name) for name in "abc"])


class Judge:
    """An estimator that reads the quality off the reply: ``0.7`` is worth 0.7."""

    method = Frugal.method

    def fit(self, requests, target_NM, pool):
        return self

    def predict(self, requests, pool):
        said = [request.prompt.rpartition("\n")[2] for request in requests]
        return np.array([[float(word)] * len(pool) for word in said])

    def state(self):
        raise NotImplementedError

    def restore(self, state):
        return self


def run(said, *, order="abc", thresholds=(0.5, 0.5), rounds=4):
    def say(model, prompt):
        if isinstance(said[model], Exception):
            raise said[model]
        return said[model]

    request = replace(Request.of("why?"), budget=Budget(rounds=rounds))
    policy = Frugal(tuple(order), thresholds, Judge())
    return asyncio.run(run_episode(policy, Scripted(say), request, POOL))


def asked(trace):
    return "".join(reply.model for reply in trace.replies)


def test_the_first_reply_that_reaches_its_threshold_is_the_answer():
    assert asked(run({"a": "0.6", "b": "0.9", "c": "1"})) == "a"
    trace = run({"a": "0.4", "b": "0.5", "c": "1"})
    assert (asked(trace), trace.answer) == ("ab", "0.5")


def test_every_stage_has_its_own_threshold():
    assert asked(run({"a": "0.4", "b": "0.8", "c": "1"}, thresholds=(0.3, 0.9))) == "a"
    assert asked(run({"a": "0.2", "b": "0.8", "c": "1"}, thresholds=(0.3, 0.9))) == "abc"


def test_the_last_stage_is_relayed_unjudged():
    trace = run({"a": "0.1", "b": "0.1", "c": "0.0"})
    assert (asked(trace), trace.answer) == ("abc", "0.0")
    assert trace.steps[-1].decision.final


def test_what_the_estimator_does_not_know_is_not_accepted():
    assert asked(run({"a": "nan", "b": "0.9", "c": "1"})) == "ab"


def test_a_failed_stage_is_followed_by_the_next():
    trace = run({"a": BackendError("down"), "b": "0.9", "c": "1"})
    assert (asked(trace), trace.answer) == ("ab", "0.9")


def test_when_the_last_stage_fails_the_best_reply_is_the_answer():
    trace = run({"a": "0.4", "b": "0.3", "c": BackendError("down")})
    assert trace.answer == "0.4"
    assert "best reply so far ('a')" in trace.steps[-1].decision.reason


def test_the_last_round_is_not_wasted_on_judging():
    trace = run({"a": "0.1", "b": "0.2", "c": "1"}, rounds=2)
    assert (asked(trace), trace.answer) == ("ab", "0.2")
    assert not isinstance(trace.steps[-1].decision, Answer)


def test_a_long_reply_keeps_both_ends():
    text = with_reply(Request.of("q"), "x" * 3_000 + "y" * 3_000).prompt
    assert text.startswith("q\n---\nxxx")
    assert text.endswith("yyy")
    assert len(text) < 4_100


def test_an_estimator_that_was_never_fitted_breaks_the_policy():
    from polyroute.estimators.mean import Mean

    policy = Frugal(("a", "b"), (0.5,), Mean())
    backend = Scripted(lambda model, prompt: "x")
    with pytest.raises(PolicyError, match="fit"):
        asyncio.run(run_episode(policy, backend, Request.of("q"), POOL))


@pytest.mark.parametrize(
    ("order", "thresholds"),
    [((), ()), (("a", "a"), (0.5,)), (("a", "b"), ()), (("a", "b"), (-1.0,))],
)
def test_an_order_or_thresholds_that_do_not_fit_are_refused(order, thresholds):
    with pytest.raises(ConfigError, match=r"order|thresholds"):
        Frugal(order, thresholds, Judge())


def test_candidates_are_the_stages_that_the_pool_has():
    policy = Frugal(("c", "z"), (0.5,), Judge())
    assert [card.id for card in policy.candidates(POOL)] == ["c"]
    assert Trace(Request.of("x"), POOL).steps == ()
