"""Generalised advantage estimation against its definition, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.train.r1.advantages import gae, token_rewards, whiten


def by_definition(rewards, values, gamma, lam):
    """Equation 16 of arXiv:1506.02438: the weighted sum of all errors ahead, for each token."""
    count = len(rewards)
    following = [*values[1:], 0.0][:count]
    errors = [r + gamma * n - v for r, v, n in zip(rewards, values, following, strict=True)]
    return [
        sum((gamma * lam) ** (k - t) * errors[k] for k in range(t, count)) for t in range(count)
    ]


@st.composite
def episodes(draw):
    length = draw(st.integers(1, 8))
    number = st.floats(-3, 3, allow_nan=False)
    row = st.lists(number, min_size=length, max_size=length)
    mask = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    return draw(row), draw(row), mask


@settings(max_examples=60)
@given(episodes(), st.floats(0, 1), st.floats(0, 1))
def test_it_is_the_definition_on_the_policys_own_tokens_alone(episode, gamma, lam):
    rewards, values, mask = episode
    found = gae(np.array([rewards]), np.array([values]), np.array([mask]), gamma=gamma, lam=lam)
    own = [t for t, counted in enumerate(mask) if counted]
    expected = np.zeros(len(mask))
    expected[own] = by_definition([rewards[t] for t in own], [values[t] for t in own], gamma, lam)
    np.testing.assert_allclose(found.advantage_B_T[0], expected, atol=1e-9)
    returns = np.where(mask, expected + values, 0.0)
    np.testing.assert_allclose(found.return_B_T[0], returns, atol=1e-9)


def test_an_observation_of_any_length_and_value_changes_nothing():
    short = gae(np.array([[0.0, 1.0]]), np.array([[0.3, 0.6]]), np.array([[True, True]]), gamma=0.9)
    rewards, values = np.full((1, 102), 7.0), np.full((1, 102), -5.0)
    rewards[0, [0, -1]], values[0, [0, -1]] = [0.0, 1.0], [0.3, 0.6]
    mask = np.zeros((1, 102), bool)
    mask[0, [0, -1]] = True
    long = gae(rewards, values, mask, gamma=0.9)
    np.testing.assert_allclose(long.advantage_B_T[0, [0, -1]], short.advantage_B_T[0])


def test_with_the_papers_settings_an_advantage_is_the_return_less_the_value():
    values = np.array([[0.2, 0.4, 0.9]])
    found = gae(np.array([[0.0, 0.0, 1.0]]), values, np.ones((1, 3), bool))
    np.testing.assert_allclose(found.advantage_B_T, 1.0 - values)


def test_whitening_reads_nothing_outside_the_mask():
    values = np.array([[1.0, 1e9, 2.0, 6.0]])
    mask = np.array([[True, False, True, True]])
    found = whiten(values, mask)
    assert found[0, 1] == 0
    assert found[mask].mean() == pytest.approx(0)
    assert found[mask].std() == pytest.approx(1)


def test_the_reward_stands_on_the_last_own_token_and_only_own_tokens_are_charged():
    own = np.array([[True, False, True, False]])
    found = token_rewards(np.array([1.0]), own, own, np.array([[0.1, 5.0, 0.2, 5.0]]))
    np.testing.assert_allclose(found, [[-0.1, 0.0, 0.8, 0.0]])
