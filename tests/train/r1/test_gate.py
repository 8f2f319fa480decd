"""What opens the gate before reinforcement, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.train.r1.gate import short_of

TEACHERS = {"outcome": 0.82, "gave_up": 0.08}


def test_giving_up_somewhat_more_often_than_the_teachers_is_no_fault():
    wanted = 0.85 * TEACHERS["outcome"]
    found = {"outcome": 0.67, "gave_up": 0.19}
    assert found["outcome"] < wanted
    assert short_of(found, TEACHERS, 0.85) == []


def test_one_that_hardly_tries_stays_outside_however_good_it_is_then():
    short = short_of({"outcome": 0.5, "gave_up": 0.5}, TEACHERS, 0.85)
    assert [line.split(" of ")[0] for line in short] == ["it tries 0.500"]


@pytest.mark.parametrize("outcome", [0.0, 0.31, 0.6])
def test_one_that_is_often_wrong_stays_outside(outcome):
    assert "quality" in short_of({"outcome": outcome, "gave_up": 0.08}, TEACHERS, 0.85)[0]


def test_one_that_always_gives_up_fails_in_both():
    assert len(short_of({"outcome": 0.0, "gave_up": 1.0}, TEACHERS, 0.85)) == 2


_JUDGED = st.integers(0, 100).flatmap(
    lambda up: st.builds(
        lambda right: {"outcome": right / 100, "gave_up": up / 100}, st.integers(0, 100 - up)
    )
)


@given(found=_JUDGED, teachers=_JUDGED, share=st.floats(0, 1), less=st.floats(0, 1))
def test_what_is_enough_is_enough_for_a_lower_share(found, teachers, share, less):
    if not short_of(found, teachers, share):
        assert not short_of(found, teachers, share * less)


@given(teachers=_JUDGED, share=st.floats(0, 1))
def test_one_that_is_its_teachers_equal_passes(teachers, share):
    assert not short_of(teachers, teachers, share)
