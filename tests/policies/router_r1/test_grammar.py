import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool
from polyroute.policies.router_r1 import Search, grammar, read_turn

OFFERED = Pool(
    [ModelCard(id="geo", aliases=("geography",)), ModelCard(id="llama3"), ModelCard(id="llama3:8b")]
)
words = st.text(string.ascii_letters + string.digits + " .,:?'/()-é漢🙂", min_size=1).filter(
    lambda text: text.strip()
)
queries = words.map(str.strip).filter(lambda query: query.strip(": "))
pieces = st.sampled_from(
    [
        f"<{slash}{tag}>"
        for tag in ("think", "search", "answer", "information")
        for slash in ("", "/")
    ]
    + ["geo: x", "llama3:8b: y", "gee: z", "42", " ", "\n", "<", "</", "<sear", "search>", "..."]
)
soup = st.lists(pieces, max_size=12).map("".join)


def search(model, query):
    return Search(model=model, query=query)


@given(thoughts=st.lists(words, max_size=3), query=queries, name=st.sampled_from(["geo", "llama3"]))
def test_what_is_written_is_what_is_read(thoughts, query, name):
    turn = "".join(f"<think>{thought}</think>\n" for thought in thoughts)
    turn += f"<search> {name} : {query} </search>"
    read = read_turn(turn, OFFERED)
    if name == "llama3" and query.lstrip().startswith("8b:"):
        return  # that is the other candidate's name
    if read.invalid and "placeholder" in read.invalid:
        assert any(word in query.lower() for word in ("llm-name", "your-query", "your query"))
        return
    assert read.well_formed or "thought" in str(read.faults)
    assert read.searches == (search(name, query),)
    assert read.thoughts == tuple(thought.strip() for thought in thoughts)
    assert read.text == turn


@given(answer=words)
def test_an_answer_is_read_as_it_is(answer):
    read = read_turn(f"<think>so</think><answer>{answer}</answer>", OFFERED)
    assert read.answer == answer.strip()
    assert read.well_formed


def test_several_searches_of_a_turn_are_lines():
    read = read_turn("<search>\ngeo: a\n\n geography : b \nllama3:8b: c\n</search>", OFFERED)
    assert read.searches == (search("geo", "a"), search("geo", "b"), search("llama3:8b", "c"))


def test_the_longest_name_that_fits_is_meant():
    assert read_turn("<search>llama3:8b: x</search>", OFFERED).searches[0].model == "llama3:8b"
    assert read_turn("<search>llama3: 8b: x</search>", OFFERED).searches == (
        search("llama3", "8b: x"),
    )


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ("", "no action"),
        ("Lima.", "no action"),
        ("<think>Lima.</think>", "no action"),
        ("<think>Lima.", "<think> is never closed"),
        ("<search>geo: capital", "<search> is never closed"),
        ("<search></search>", "the search is empty"),
        ("<search>geo capital</search>", "no colon"),
        ("<search>geo: </search>", "geo is asked nothing"),
        ("<search>geo: a\nmore of it</search>", "no colon"),
        ("<search>geo: a\ngee: b</search>", "'gee' is not one of geo, llama3, llama3:8b"),
        ("<search>Geo: a</search>", "'Geo' is not one of"),
        ("<search>LLM-Name:Your-Query</search>", "'LLM-Name' is not one of"),
        ("<search>geo: Your-Query</search>", "placeholder"),
        ("<search>geo: <answer>x</answer></search>", "a tag inside <search>"),
        ("<answer> </answer>", "the answer is empty"),
        ("<information>geo: Lima</information><answer>Lima</answer>", "not the router's to write"),
        ("<search>" + "geo: a\n" * 9 + "</search>", "9 searches"),
    ],
)
def test_an_invalid_turn_says_why(turn, why):
    read = read_turn(turn, OFFERED)
    assert why in read.invalid
    assert not read.searches
    assert read.answer is None
    assert not read.well_formed


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ("Let me see. <answer>x</answer>", "words outside of the tags"),
        ("<think></think><answer>x</answer>", "a thought is empty"),
        ("<think>...</think><answer>x</answer>", "a thought is empty"),
        ("</think><answer>x</answer>", "</think> closes nothing"),
        ("<think>a <answer> b</think><answer>x</answer>", "a tag inside a thought"),
    ],
)
def test_a_fault_leaves_a_clear_action(turn, fault):
    read = read_turn(turn, OFFERED)
    assert read.answer == "x"
    assert fault in str(read.faults)
    assert not read.well_formed


def test_a_turn_ends_with_its_first_action():
    read = read_turn("<answer>x</answer><search>geo: y</search>", OFFERED)
    assert read.answer == "x"
    assert not read.searches
    assert read.text == "<answer>x</answer>"


def test_white_space_that_a_last_token_brought_along_stays():
    assert read_turn("<answer>x</answer>\n", OFFERED).text == "<answer>x</answer>\n"


def test_when_nobody_can_be_asked_a_search_is_invalid_and_an_answer_is_not():
    assert "must answer" in read_turn("<search>geo: x</search>", OFFERED, may_search=False).invalid
    assert read_turn("<answer>x</answer>", OFFERED, may_search=False).answer == "x"


@pytest.mark.parametrize("dialect", ["paper", "code"])
def test_the_dialects_of_the_paper_want_a_thought_and_one_search(dialect):
    assert read_turn("<answer>x</answer>", OFFERED, dialect=dialect).faults
    read = read_turn("<think>t</think><search>geo: a\ngeo: b</search>", OFFERED, dialect=dialect)
    assert read.searches == (search("geo", "a\ngeo: b"),)


def test_the_code_takes_the_first_whole_pair_wherever_it_is():
    turn = "<think>first <search>geo: a</search> then</think><search>geo: b</search>"
    assert read_turn(turn, OFFERED, dialect="code").searches == (search("geo", "a"),)
    nested = "<search>never closed <answer>Lima</answer>"
    assert read_turn(nested, OFFERED, dialect="code").answer == "Lima"
    assert "a tag inside" in read_turn(nested, OFFERED, dialect="paper").invalid


def test_only_the_faithful_code_accepts_an_empty_answer():
    turn = "<think>t</think><answer></answer>"
    assert read_turn(turn, OFFERED, dialect="code").answer is None
    assert read_turn(turn, OFFERED, dialect="code", faithful=True).answer == ""


@given(text=soup)
@pytest.mark.parametrize("dialect", ["polyroute", "paper", "code"])
def test_any_text_is_read_and_has_at_most_one_kind_of_action(dialect, text):
    read = read_turn(text, OFFERED, dialect=dialect)
    said = [bool(read.searches), read.answer is not None, bool(read.invalid)]
    assert sum(said) == 1
    assert text.startswith(read.text)
    assert all(each.model in OFFERED.ids and each.query for each in read.searches)


@given(text=soup)
def test_reading_the_read_turn_again_gives_the_same(text):
    read = read_turn(text, OFFERED)
    assert read_turn(read.text, OFFERED) == read


@given(text=soup)
def test_a_well_formed_turn_is_one_of_the_written_grammar(text):
    """An independent check: the grammar of the module's docstring as one regular expression."""
    no_tag = r"(?:(?!</?(?:think|search|answer|information)>).)*?"
    form = rf"(\s*<think>{no_tag}</think>)*\s*<(search|answer)>{no_tag}</\2>\s*"
    read = read_turn(text, OFFERED)
    if read.well_formed:
        assert re.fullmatch(form, read.text, re.DOTALL)


def test_the_grammar_for_constrained_generation_names_the_candidates_and_nobody_else():
    rules = grammar(["geo", 'odd"name\\'])
    assert r'name ::= "geo" | "odd\"name\\"' in rules
    assert "search" not in grammar(["geo"], may_search=False)
    assert '("\\n" line){0,3}' in rules
    assert (
        "{0,"
        not in grammar(["geo"], most_searches=1).partition("line ::=")[0].partition("<search>")[2]
    )
