from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import Budget, Message, Request, Usage
from polyroute.errors import ConfigError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
wires = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"])},
    optional={
        "content": st.none()
        | st.text(max_size=9)
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)})),
        "name": st.text(max_size=5),
        "tool_calls": json_values,
        "x-unknown": json_values,
    },
)


@given(wires)
def test_a_message_keeps_every_field_it_came_with(wire):
    assert Message.from_json(wire).to_json() == {"content": None, **wire}


@pytest.mark.parametrize("wire", [None, "hi", {}, {"role": 1}, {"role": "user", "content": 3}])
def test_what_is_no_message_is_refused(wire):
    with pytest.raises(ConfigError):
        Message.from_json(wire)


def test_the_prompt_is_the_text_of_the_last_user_message():
    parts = (
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "this?"},
    )
    messages = (Message("user", "no"), Message("user", parts), Message("assistant", "hm"))
    assert Request(id="q", messages=messages).prompt == "what is\nthis?"
    assert messages[1].has_image
    assert not messages[0].has_image


@pytest.mark.parametrize(
    "limits",
    [{"usd": Decimal(-1)}, {"seconds": -1.0}, {"rounds": 0}, {"tokens": -1}],
)
def test_a_limit_that_makes_no_sense_is_refused(limits):
    with pytest.raises(ConfigError, match=next(iter(limits))):
        Budget(**limits)


def test_usages_add_up_count_by_count():
    total = Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40)
    assert total == Usage(11, 22, 33, 44)
    assert (total.prompt, total.completion, total.total) == (44, 66, 110)
