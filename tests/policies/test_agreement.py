import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import Budget, ModelCard, Pool, Request, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.agreement import Agreement

POOL = Pool(ModelCard(id=name) for name in ("ann", "bob", "cid", "eve"))
PAIR = Agreement(("ann", "bob"), "eve", extract="number")


def run(policy=PAIR, budget=None, **lines):
    def say(model, prompt):
        if lines.get(model) is None:
            raise BackendError("down")
        return lines[model]

    request = Request.of("how many?", budget=budget or Budget())
    return asyncio.run(run_episode(policy, Scripted(say), request, POOL))


def asked(trace):
    return [call.model for call in trace.calls]


def test_what_all_agree_on_is_answered_by_the_first_of_them():
    trace = run(ann="It is 4.", bob="so 4.0", eve="5")
    assert trace.answer == "It is 4."
    assert asked(trace) == ["ann", "bob"]


def test_where_they_differ_the_other_answers():
    trace = run(ann="3", bob="4", eve="5")
    assert (trace.answer, asked(trace)) == ("5", ["ann", "bob", "eve"])
    assert trace.steps[-1].decision.final


@pytest.mark.parametrize("silent", ["", "I do not know", None])
def test_a_reply_without_an_answer_agrees_with_nothing(silent):
    assert run(ann=silent, bob=silent, eve="5").answer == "5"
    assert run(ann=silent, bob="4", eve="5").answer == "5"


def test_a_quorum_is_enough():
    policy = Agreement(("ann", "bob", "cid"), "eve", "number", quorum=2)
    assert run(policy, ann="1", bob="2", cid="2.", eve="5").answer == "2"
    assert run(policy, ann="1", bob="2", cid="3", eve="5").answer == "5"


def test_a_member_that_decides_is_not_asked_again():
    policy = Agreement(("ann", "bob"), "bob", "number")
    trace = run(policy, ann="1", bob="2")
    assert (trace.answer, asked(trace)) == ("2", ["ann", "bob"])


def test_when_the_other_cannot_be_asked_the_commonest_answer_stands():
    policy = Agreement(("ann", "bob", "cid"), "eve", "number")
    assert run(policy, ann="1", bob="2", cid="2").answer == "2"
    assert run(policy, Budget(rounds=1), ann="1", bob="2", cid="2", eve="5").answer == "2"
    assert run(PAIR, ann=None, bob=None, eve=None).answer is None


@given(st.lists(st.sampled_from(["1", "2", "none", None]), min_size=3, max_size=3))
def test_the_other_is_asked_exactly_when_the_quorum_is_missed(said):
    policy = Agreement(("ann", "bob", "cid"), "eve", "number", quorum=2)
    trace = run(policy, **dict(zip(("ann", "bob", "cid"), said, strict=True)), eve="5")
    agreed = any(said.count(answer) >= 2 for answer in ("1", "2"))
    assert ("eve" in asked(trace)) == (not agreed)


@pytest.mark.parametrize(
    ("members", "quorum"), [(("ann",), None), (("ann", "ann"), None), (("ann", "bob"), 3)]
)
def test_numbers_that_do_not_fit_are_refused(members, quorum):
    with pytest.raises(ConfigError):
        Agreement(members, "eve", quorum=quorum)
