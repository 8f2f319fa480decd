import pytest

from polyroute.errors import ConfigError
from polyroute.evaluate.metrics.collapse import call_entropy, most_used_share, regret_to_constant


def test_a_router_that_always_calls_one_model_is_collapsed():
    assert most_used_share([0, 12, 0]) == 1
    assert call_entropy([0, 12, 0]) == 0


def test_shares_and_entropy_by_hand():
    assert most_used_share([1, 1, 2]) == 0.5
    assert call_entropy([1, 1, 2]) == pytest.approx(1.5)
    assert call_entropy([3] * 8) == pytest.approx(3)


def test_regret_is_negative_where_the_router_beats_the_constant():
    assert regret_to_constant([1, 1, 0], [1, 0, 0]) == pytest.approx(-1 / 3)


def test_without_a_call_there_is_nothing_to_count():
    with pytest.raises(ConfigError, match="no call"):
        call_entropy([0, 0])
