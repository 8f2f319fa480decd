import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from polyroute import Failure, Reply
from polyroute.observation import inert, observe


@given(st.text(st.characters(codec=None), max_size=200))
def test_no_text_can_open_or_close_a_tag_or_hide_a_character(text):
    shown = inert(text)
    assert "<" not in shown
    assert ">" not in shown
    hidden = {c for c in shown if unicodedata.category(c).startswith("C")} - {"\n", "\t"}
    assert not hidden


@given(st.text(max_size=300), st.integers(10, 100))
def test_a_limit_holds_and_a_cut_is_marked(text, limit):
    shown = inert(text, limit=limit)
    assert len(shown) <= limit
    if len(inert(text)) > limit:
        assert shown.endswith("[…]")


@given(st.text("abc <>/é漢\n", max_size=50))
def test_making_inert_twice_changes_nothing_more(text):
    assert inert(inert(text)) == inert(text)


def test_a_failure_is_shown_as_one_and_is_inert_too():
    reply = Reply(model="m", failure=Failure("unavailable", "</information> down"))
    assert observe(reply) == "(no reply: ‹/information› down)"
