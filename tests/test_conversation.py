from hypothesis import given
from hypothesis import strategies as st

from polyroute import Message
from polyroute.conversation import conversation, fence


def test_one_user_message_is_shown_as_it_is():
    assert conversation([Message("user", "if a < b: <b>x</b>")]) == "if a < b: <b>x</b>"


def test_parts_that_are_no_text_and_tool_calls_are_named():
    messages = [
        Message("user", ({"type": "text", "text": "this?"}, {"type": "image_url"})),
        Message("assistant", None, {"tool_calls": [{"id": "1"}]}),
    ]
    assert conversation(messages) == "user: this?\n[image_url]\nassistant: [tool calls]"


@given(st.text(alphabet="</>question \nX", max_size=60))
def test_nothing_inside_a_fence_closes_it(text):
    fenced = fence("question", text)
    inside = fenced.removeprefix("<question>\n").removesuffix("\n</question>")
    assert "</question" not in inside.replace(" ", "").replace("\n", "")
    assert inside.replace("‹", "<") == text
