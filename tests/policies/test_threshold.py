import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyroute import Message, ModelCard, Pool, Request, Trace
from polyroute.backends.scripted import Scripted
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError, UnknownModelError
from polyroute.policies.threshold import Threshold

POOL = Pool(
    [
        ModelCard(id="other"),
        ModelCard(id="small", modalities=frozenset({"text", "image"})),
        ModelCard(id="large"),
    ]
)


def policy(quality, threshold=0.5):
    return Threshold("large", "small", quality, threshold)


def asked(policy, request=None):
    decision = asyncio.run(policy.decide(Trace(request or Request.of("Why?"), POOL)))
    return decision.calls[0].model, decision.reason


def test_the_strong_model_is_asked_from_the_threshold_on(told):
    assert asked(policy(told(large=0.8, small=0.6), 0.6)) == (
        "large",
        "win rate of 'large' 0.600 >= 0.6",
    )
    assert asked(policy(told(large=0.8, small=0.61), 0.6))[0] == "small"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_win_rate_is_that_of_counting_wins_and_half_the_ties(told, pairs):
    strong, weak = np.array(pairs, float).T
    counted = (strong > weak).mean() + (strong == weak).mean() / 2
    quality = told(large=strong.mean(), small=weak.mean())
    rate = policy(quality).win_rates([Request.of("Why?")], POOL)[0]
    assert rate == pytest.approx(counted)


def test_what_is_unknown_goes_to_the_strong_model(told):
    assert asked(policy(told(small=0.9), 0.9)) == ("large", "win rate of 'large' unknown >= 0.9")


def test_the_other_one_is_asked_when_the_first_fails(told):
    def say(model, prompt):
        if model == "large":
            raise BackendError("down")
        return "well"

    quality = told(large=0.9, small=0.1)
    trace = asyncio.run(run_episode(policy(quality), Scripted(say), Request.of("Why?"), POOL))
    assert [call.model for call in trace.calls] == ["large", "small"]
    assert trace.answer == "well"


def test_a_picture_goes_to_the_one_that_sees(told):
    picture = ({"type": "image_url", "image_url": {"url": "data:,"}},)
    request = Request(id="q", messages=(Message("user", picture),))
    assert asked(policy(told(large=0.9, small=0.1)), request)[0] == "small"


def test_a_request_may_leave_one_of_them_out(told):
    pool = POOL.only(["other", "small"])
    decision = asyncio.run(
        policy(told(large=0.9, small=0.1)).decide(Trace(Request.of("Why?"), pool))
    )
    assert decision.calls[0].model == "small"


def test_two_models_of_the_pool_are_needed(told):
    with pytest.raises(ConfigError, match="two models"):
        Threshold("a", "a", told())
    with pytest.raises(ConfigError, match="threshold"):
        policy(told(), -0.1)
    with pytest.raises(UnknownModelError):
        asked(Threshold("gone", "absent", told()))
