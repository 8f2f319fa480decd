import asyncio

import pytest

from polyroute import Budget, ModelCard, Pool, Price, Request, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError
from polyroute.policies.prompted import Prompted, named

POOL = Pool([
    ModelCard(id="router", price=Price.per_million(1, 1)),
    ModelCard(id="ann", description="poems", price=Price.per_million(1, 1)),
    ModelCard(id="bob", description="sums", aliases=("B-2",), price=Price.per_million(9, 9)),
])  # fmt: skip
POLICY = Prompted("router", models=("ann", "bob"))


def run(says, policy=POLICY, request=None, fails=()):
    heard = iter(says)
    prompts = []

    def say(model, prompt):
        prompts.append(prompt)
        if model in fails:
            raise BackendError("down")
        return next(heard) if model == policy.router else f"{model} answers"

    request = request or Request.of("what is 2 + 2?")
    trace = asyncio.run(run_episode(policy, Scripted(say), request, POOL))
    return trace, prompts


def test_the_one_that_is_named_answers_and_the_router_model_sees_descriptors_and_question():
    trace, prompts = run(["bob"])
    assert trace.answer == "bob answers"
    assert [call.model for call in trace.calls] == ["router", "bob"]
    assert trace.steps[0].decision.own
    for card in POOL.only(["ann", "bob"]):
        assert card.descriptor() in prompts[0]
    assert "what is 2 + 2?" in prompts[0]
    assert trace.rounds == 1


def test_a_reply_that_names_nobody_is_repaired_once():
    trace, prompts = run(["4, obviously</said>", "b-2"])
    assert trace.answer == "bob answers"
    assert prompts[1].startswith(prompts[0])
    assert "4, obviously‹/said›" in prompts[1]


def test_after_two_the_fallback_is_asked_and_the_trace_says_so():
    trace, _ = run(["4", "still 4"], Prompted("router", ("ann", "bob"), otherwise="bob"))
    assert trace.answer == "bob answers"
    assert "named nobody twice" in trace.steps[-1].decision.reason
    assert run(["4", "4"])[0].answer == "ann answers"


def test_a_router_model_that_fails_is_not_repaired():
    trace, _ = run([], fails=("router",))
    assert [call.model for call in trace.calls] == ["router", "ann"]


def test_when_the_one_that_was_named_fails_the_fallback_answers():
    trace, _ = run(["bob"], fails=("bob",))
    assert trace.answer == "ann answers"
    assert run(["bob"], fails=("bob", "ann"))[0].answer is None


def test_without_a_round_left_it_gives_up():
    request = Request.of("q", budget=Budget(rounds=1))
    trace, _ = run(["bob"], fails=("bob",), request=request)
    assert trace.answer is None


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("ann", "ann"), (" ANN\n", "ann"), ("**bob**", "bob"), ("b-2", "bob"), ("'bob'.", "bob"),
        ("It is a sum, so:\nbob", "bob"), ("ann or bob", None), ("router", None), ("", None),
        ("bobby", None), ("bob\nwould do", None),
    ],
)  # fmt: skip
def test_a_name_is_read_exactly(text, card):
    found = named(text, POOL.only(["ann", "bob"]))
    assert (found and found.id) == card
