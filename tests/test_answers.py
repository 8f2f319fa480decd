from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.answers import CANONICAL


@pytest.mark.parametrize(
    ("name", "reply", "answer"),
    [
        ("text", "The Eiffel Tower!", "eiffel tower"),
        ("text", "an  answer,\nof A kind", "answer of kind"),
        ("text", "I think...\n<answer>Paris</answer> or <answer> Lyon. </answer>", "lyon"),
        ("text", '```json\n{"reasoning": "a \\"b\\"", "answer": "New York"}\n```', "new york"),
        ("text", "A.", "a"),
        ("text", " + ", "+"),
        ("text", "", None),
        ("exact", "<answer>-3.0 -  3.0i</answer>", "-3.0 - 3.0i"),
        ("exact", "<ANSWER>1 2\n3 4</ANSWER>", "1 2 3 4"),
        ("exact", '{"answer": "\\(x\\)"}', "\\(x\\)"),
        ("exact", "  ", None),
        ("number", "First 3, then 1,234.50 dollars.", "1234.5"),
        ("number", '{"reasoning": "2 + 2", "answer": 8.00}\nIn 3 steps.', "8"),
        ("number", '{"answer": "$1,000"}', "1000"),
        ("number", "-0.0", "0"),
        ("number", "from 10-12", "12"),
        ("number", "it is −5 °C", "-5"),
        ("number", ".50", "0.5"),
        ("number", "007", "7"),
        ("number", "version v2 of it", None),
        ("number", '4 steps, then {"answer": "cannot be determined"}', None),
        ("choice", "b", "B"),
        ("choice", "**(D)**", "D"),
        ("choice", "Answer: C", "C"),
        ("choice", "The answer is (A). Not option B? No: the answer is A.", "A"),
        ("choice", "The answer is a dog.", None),
        ("choice", "Between (B) and (C), I take (C).", "C"),
        ("choice", "K", None),
        ("choice", "I do not know.", None),
        ("choice", "I don't know", None),
        ("choice", "I’m not sure.", None),
        ("choice", "The answer I would give is none of these.", None),
        ("choice", "My answer: I cannot say.", None),
        ("choice", "I believe that B holds.", "B"),
        ("choice", "I think the answer is (I).", "I"),
        ("choice", "Answer: I", "I"),
        ("choice", "The answer is I, not J.", "I"),
        ("choice", "I is correct.", "I"),
        ("choice", "I because the others fail.", "I"),
        ("choice", "<answer>I</answer>", "I"),
        ("choice", "Hard to say.", None),
        ("boxed", r"so \boxed{1} no, \boxed{ \frac{1}{2} }.", r"\frac{1}{2}"),
        ("boxed", r"\boxed{open", None),
        ("boxed", "42", None),
    ],
)
def test_the_answer_is_read_from_the_reply(name, reply, answer):
    assert CANONICAL[name](reply) == answer


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 4))
def test_equal_numbers_have_one_canonical_form(value, zeros):
    written = f"{value:f}" + "0" * zeros
    with_commas = f"{value:,f}"
    canonical = CANONICAL["number"](written)
    assert Decimal(canonical) == value
    assert CANONICAL["number"](f"it costs {with_commas} or so") == canonical


@given(st.sampled_from(sorted(CANONICAL)), st.text())
def test_every_text_has_an_answer_or_none(name, reply):
    answer = CANONICAL[name](reply)
    assert answer is None or answer
