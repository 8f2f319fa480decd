import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Request, Trace
from polyroute.backends.scripted import Scripted
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.conformal import Conformal

POOL = Pool([ModelCard(id="a"), ModelCard(id="b"), ModelCard(id="c")])
REQUEST = Request.of("Why?")


def run(policy, said, pool=POOL):
    def say(model, prompt):
        if said[model] is None:
            raise BackendError("down")
        return said[model]

    return asyncio.run(run_episode(policy, Scripted(say), REQUEST, pool))


def asked(policy):
    route = asyncio.run(policy.decide(Trace(REQUEST, POOL)))
    return [call.model for call in route.calls], route.final


def test_the_set_grows_until_the_mass_is_passed(told):
    quality = told(a=0.5, b=0.8, c=0.6)  # mass before: b 0, c 0.8, a 1 - 0.2 * 0.4 = 0.92
    assert asked(Conformal(quality, mass=0.79)) == (["b"], True)
    assert asked(Conformal(quality, mass=0.80)) == (["b", "c"], False)
    assert asked(Conformal(quality, mass=0.92)) == (["b", "c", "a"], False)
    assert asked(Conformal(quality, mass=0.92, most=2)) == (["b", "c"], False)
    assert asked(Conformal(quality, mass=0.99, models=("a", "gone"))) == (["a"], True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    q=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    right=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_score_is_the_least_mass_whose_set_holds_a_right_answer(told, q, right):
    policy = Conformal(told(**dict(zip("abc", q, strict=True))))
    score = policy.scores([REQUEST], np.array([right]), POOL)[0]
    if not any(right):
        assert score == np.inf
        return
    members, _ = asked(Conformal(policy.quality, mass=score))
    assert any(right["abc".index(name)] for name in members)
    if score > 0:
        members, _ = asked(Conformal(policy.quality, mass=np.nextafter(score, 0)))
        assert not any(right["abc".index(name)] for name in members)


def test_the_majority_answers_in_the_words_of_its_best_member(told):
    policy = Conformal(told(a=0.9, b=0.8, c=0.7), mass=1.0)
    trace = run(policy, {"a": "Rome", "b": "The Paris!", "c": "paris"})
    assert trace.answer == "The Paris!"
    assert trace.steps[-1].decision.reason == "b: 2 of 3 agree"


def test_the_best_answers_where_no_two_agree(told):
    policy = Conformal(told(a=0.7, b=0.9, c=0.8), mass=1.0)
    assert run(policy, {"a": "1", "b": "2", "c": "3"}).answer == "2"
    assert run(policy, {"a": "1", "b": "", "c": "3"}).answer == "3"
    assert run(policy, {"a": None, "b": None, "c": "3"}).answer == "3"


def test_the_next_is_asked_when_the_whole_set_fails(told):
    trace = run(Conformal(told(a=0.1, b=0.9, c=0.8), mass=0.9), {"a": "1", "b": None, "c": None})
    assert [call.model for call in trace.calls] == ["b", "c", "a"]
    assert trace.answer == "1"


def test_answers_are_read_as_the_policy_is_told(told):
    policy = Conformal(told(a=0.9, b=0.8, c=0.7), mass=1.0, answer="number")
    trace = run(policy, {"a": "It is 7.", "b": "So it is 1,000.00", "c": "1000 it is"})
    assert trace.answer == "So it is 1,000.00"


def test_parameters_out_of_range_are_refused(told):
    with pytest.raises(ConfigError, match="mass"):
        Conformal(told(), mass=1.1)
    with pytest.raises(ConfigError, match="most"):
        Conformal(told(), most=0)
