import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool
from polyroute.policies.decompose import grammar, read_plan

OFFERED = Pool(
    [
        ModelCard(id="geography", aliases=("geo",)),
        ModelCard(id="calculator"),
        ModelCard(id="llama3"),
        ModelCard(id="llama3:8b"),
        ModelCard(id="gpt-4"),
    ]
)


def lines(text, **options):
    return [(part.model, part.question) for part in read_plan(text, OFFERED, **options).parts]


def test_a_plan_of_two_hops():
    plan = read_plan(
        "1. What is the capital of France? (geography)\n2. Population of #1? (geography)", OFFERED
    )
    assert plan.usable
    assert plan.problems == ()
    assert [part.needs for part in plan.parts] == [frozenset(), {1}]
    assert plan.last_is_the_answer


@pytest.mark.parametrize(
    ("line", "model", "question"),
    [
        ("1. gpt-4: Who directed Mission: Impossible 2?", "gpt-4", None),
        ("1. llama3:8b: What is 10:30 in words?", "llama3:8b", "What is 10:30 in words?"),
        ("1. llama3: 8b or 70b: which?", "llama3", "8b or 70b: which?"),
        ("1) geography : https://x.org/a?b=c is where?", "geography", None),
        ("1. geo: Where is Rome?", "geography", "Where is Rome?"),
        ("- 1. **geography**: Where is Rome?", "geography", "Where is Rome?"),
        ("**1.** `geography`: Where is Rome?", "geography", "Where is Rome?"),
        ("1. **geography:** Where is Rome?", "geography", "Where is Rome?"),
        ("geography: Where is Rome?", "geography", "Where is Rome?"),
    ],
)
def test_the_first_colon_after_an_exact_name_splits(line, model, question):
    question = question or line.split(":", 1)[1].strip()
    assert lines(line) == [(model, question)]


@pytest.mark.parametrize("name", ["gpt", "gpt-4-turbo", "Geography", "geographer", "llama3:70b"])
def test_a_near_name_is_nobody(name):
    plan = read_plan(f"1. {name}: Where is Rome?", OFFERED)
    if name == "llama3:70b":  # an exact name, and a question that begins with a colon's right side
        assert plan.parts[0].model == "llama3"
        return
    assert plan.parts[0].model is None
    assert f"{name!r} is not one of" in plan.problems[0]
    assert plan.usable


@pytest.mark.parametrize(
    ("line", "model", "question"),
    [
        ("1. Who directed Mission: Impossible 2? (gpt-4)", "gpt-4", None),
        ("1. What is 2 * (3 + 4) (calculator)", "calculator", None),
        ("1. Where is Rome (the city)? (llama3:8b)", "llama3:8b", None),
        ("1. geography: is it a science? (gpt-4)", "gpt-4", None),
        ("2) Where is Rome?  (geo)**", "geography", "Where is Rome?"),
        ("Where is Rome? (geo)", "geography", "Where is Rome?"),
        ("1. What is a tree (plant)", None, "What is a tree (plant)"),
        ("1. Where is Rome? (gpt)", None, "Where is Rome? (gpt)"),
    ],
)
def test_the_last_parentheses_name_the_candidate(line, model, question):
    question = question or line.removeprefix("1. ").rpartition(" (")[0]
    assert lines(line) == [(model, question)]


def test_a_line_without_a_name_keeps_its_colons():
    assert lines("1. Who directed Mission: Impossible 2?") == [
        (None, "Who directed Mission: Impossible 2?")
    ]


def test_what_is_no_line_of_a_plan_is_passed_over():
    text = (
        "<think>1. calculator: no\n</think>Here is the plan:\n\n1. geography: a?\n\n"
        "2. calculator: b?\nThat is all.\nQuestion: next\n3. geography: c?"
    )
    assert lines(text) == [("geography", "a?"), ("calculator", "b?")]


@pytest.mark.parametrize("text", ["", "I do not know.", "Paris: the capital of France", "# 1"])
def test_a_text_without_a_plan_has_no_parts(text):
    plan = read_plan(text, OFFERED)
    assert plan.parts == ()
    assert not plan.usable


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1. geo: Capital of #1?", "line 1 refers to itself or to a later line"),
        ("1. geo: Capital of #2?\n2. geo: x?", "line 1 refers to itself or to a later line"),
        ("1. geo: Capital of #0?", "line 1 refers to itself or to a later line"),
        ("1. geo: x?\n3. geo: Capital of #1?", "the lines are not numbered 1, 2, 3"),
        ("1. geo:  ", "line 1 asks nothing"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_says_why(text, problem):
    plan = read_plan(text, OFFERED)
    assert not plan.usable
    assert any(problem in said for said in plan.problems)


def test_wrong_numbers_do_no_harm_where_nothing_refers_to_them():
    plan = read_plan("1. geo: a?\n1. geo: b?", OFFERED)
    assert plan.usable
    assert plan.problems == ()


def test_a_number_sign_of_the_users_own_is_no_reference():
    plan = read_plan("1. geo: Who had the #1 hit?", OFFERED, question="Who had the #1 hit?")
    assert plan.usable
    assert plan.parts[0].needs == frozenset()


def test_lines_beyond_the_limit_are_left_out_and_that_is_a_problem():
    plan = read_plan("\n".join(f"{k}. geo: {k}?" for k in range(1, 9)), OFFERED, most=3)
    assert len(plan.parts) == 3
    assert plan.problems == ("there are 8 lines, at most 3 are allowed",)


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("1. geo: a?\n2. geo: b?", False),
        ("1. geo: a?\n2. geo: b?\n3. geo: #1 or #2?", True),
        ("1. geo: a?\n2. geo: #1?\n3. geo: #2?", True),
        ("1. geo: a?\n2. geo: #1?\n3. geo: #1?", False),
    ],
)
def test_the_last_part_is_the_answer_when_it_rests_on_all_others(text, chain):
    assert read_plan(text, OFFERED).last_is_the_answer is chain


@given(st.text(max_size=200) | st.from_regex(r"([0-9][.)] ?(geo|gpt-4|x): [#a-z0-9 ]*\n){0,5}"))
def test_any_text_is_read_without_an_error_and_usable_plans_can_be_filled(text):
    plan = read_plan(text, OFFERED, most=9)
    for number, part in enumerate(plan.parts, 1):
        if plan.usable:
            assert all(0 < k < number for k in part.needs)
            part.filled(dict.fromkeys(part.needs, "x"))


def test_references_are_filled_once_and_not_inside_the_answers():
    plan = read_plan("1. geo: a?\n2. geo: b #1?\n3. calculator: #1 + #2 + #12", OFFERED)
    part = read_plan("1. geo: a?\n2. geo: b?\n3. calculator: #1 + #2", OFFERED).parts[2]
    assert part.filled({1: "#2", 2: "two"}) == "#2 + two"
    assert not plan.usable  # there is no line 12


def as_regex(gbnf):
    """Translate the small part of GBNF that `grammar` uses; an independent reading of it."""
    rules = dict(line.split(" ::= ", 1) for line in gbnf.strip().splitlines())

    def expand(body):
        tokens = re.findall(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\w+|\{[\d,]+\}|[()|?]', body)
        pieces = []
        for token in tokens:
            if token.startswith('"'):
                text = token[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
                pieces.append(re.escape(text))
            elif token[0] in "[{()|?":
                pieces.append(token)
            else:
                pieces.append(f"({expand(rules[token])})")
        return "".join(pieces)

    return re.compile(expand(rules["root"]))


NAMES = ["geography", "llama3:8b", 'odd "name"\\']


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("1. Where is Rome? (geography)", True),
        ("1. Who directed Mission: Impossible 2? (llama3:8b)", True),
        ('1. Who? (odd "name"\\)', True),
        ("1. abc (geography)\n2. of #1? (geography)\n3. #1 and #2 (geography)", True),
        ("1. Where? (geo)", False),
        ("2. Where? (geography)", False),
        ("1. Where?", False),
        ("1. abc (geography)\n3. abc (geography)", False),
        ("1. of #1? (geography)", False),
        ("1. abc (geography)\n2. of #2? (geography)", False),
        ("1. a (geography)\n", False),
        ("\n".join(f"{k}. abc (geography)" for k in range(1, 5)), False),
    ],
)
def test_the_grammar_allows_plans_and_nothing_else(text, allowed):
    assert (as_regex(grammar(NAMES, most=3)).fullmatch(text) is not None) is allowed


@pytest.mark.parametrize("most", range(1, 10))
def test_what_the_grammar_allows_is_a_usable_plan(most):
    offered = Pool([ModelCard(id="geography"), ModelCard(id="llama3:8b")])
    text = "\n".join(
        f"{k}. next to #{k - 1}? (llama3:8b)" if k > 1 else "1. start: here? (geography)"
        for k in range(1, most + 1)
    )
    assert as_regex(grammar(offered.ids, most=most)).fullmatch(text)
    plan = read_plan(text, offered, most=most)
    assert plan.usable
    assert plan.problems == ()
    assert len(plan.parts) == most
