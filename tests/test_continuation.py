import pytest

from polyroute.continuation import with_end
from polyroute.trace import Reply

TAGS = ("</search>", "</answer>")


@pytest.mark.parametrize(("text", "finish", "fields", "read"), [
    ("<search>m: q", "stop", {}, "<search>m: q</search>"),
    ("<answer>x", "stop", {}, "<answer>x</answer>"),
    ("<answer>x</answer> and", "stop", {}, "<answer>x</answer> and"),
    ("<search>m: q", "length", {}, "<search>m: q"),
    ("<search>m: q", "stop", {"stop": "</answer>"}, "<search>m: q</answer>"),
    ("<search>m: q", "stop", {"stop": None}, "<search>m: q"),
    ("<search>m: q", "stop", {"stop": "\n\n"}, "<search>m: q"),
    ("nothing", "stop", {}, "nothing"),
])  # fmt: skip
def test_the_tag_that_ended_a_turn_belongs_to_it(text, finish, fields, read):
    reply = Reply(model="m", text=text, finish_reason=finish, fields=fields)
    assert with_end(reply, TAGS) == read
