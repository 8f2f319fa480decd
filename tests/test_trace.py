"""A reply as others see it."""

from polyroute import Reply


def test_what_the_upstream_said_besides_is_neither_shown_nor_compared():
    bare = Reply(model="a", text="42")
    whole = Reply(model="a", text="42", raw={"user": "someone@example.org"})
    assert whole == bare
    assert repr(whole) == repr(bare)
    assert "text='42'" in repr(whole)
    assert whole != Reply(model="a", text="43", raw=whole.raw)
