import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Request
from polyroute.policies.decompose import read_plan
from polyroute.policies.decompose.spans import cuts, span_grammar


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        (
            "What is the population of the capital of Peru?",
            ("What is the capital of Peru?", "What is the population of #1?"),
        ),
        (
            "What is 15 plus the atomic number of oxygen?",
            ("What is the atomic number of oxygen?", "What is 15 plus #1?"),
        ),
        (
            "On which continent is the country whose capital is Lima?",
            ("What is the country whose capital is Lima?", "On which continent is #1?"),
        ),
        (
            "Which language is spoken in the country where Oslo is?",
            ("What is the country where Oslo is?", "Which language is spoken in #1?"),
        ),
        (
            "How many people live in the capital of the country whose currency is the yen?",
            (
                "What is the country whose currency is the yen?",
                "What is the capital of #1?",
                "How many people live in #2?",
            ),
        ),
        (
            "Which is larger: the population of Peru or the population of Chile?",
            (
                "What is the population of Peru?",
                "What is the population of Chile?",
                "Which is larger: #1 or #2?",
            ),
        ),
    ],
)
def test_the_wanted_cut_is_among_the_cuts(question, wanted):
    assert wanted in cuts(Request.of(question))


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote the play Hamlet?",
        "What is the capital of France?",
        "What is 17 times 23?",
        "How many people live in the Netherlands?",
        "Wie heißt die Hauptstadt von Peru?",
        "Who had the #1 hit of the summer of 1969?",
        "the x of " * 100,
        "",
    ],
)
def test_a_question_of_one_hop_stays_whole(question):
    assert cuts(Request.of(question)) == [(" ".join(question.split()),)]


@given(
    st.lists(
        st.sampled_from(["What", "is", "the", "of", "in", "whose", "x", "y?", "or"]), max_size=12
    ).map(" ".join),
    st.integers(1, 4),
)
def test_every_cut_put_together_again_is_the_question(question, most):
    for way in cuts(Request.of(question), most=most):
        assert len(way) <= most
        whole = way[-1]
        for number in range(len(way) - 1, 0, -1):
            piece = way[number - 1].removeprefix("What is ").removesuffix("?")
            whole = re.sub(rf"#{number}(?!\d)", lambda _, piece=piece: piece, whole)
        assert whole == " ".join(question.split())


def test_the_number_of_cuts_is_bounded():
    question = "Is " + "the x of y in " * 20 + "z?"
    assert len(cuts(Request.of(question))) <= 64


def test_a_text_of_the_grammar_is_a_plan_without_problems():
    request = Request.of('What is "2:1" times the number of the "a\\b"?')
    names = ["geography", "llama3:8b"]
    text = span_grammar(request, names)
    assert text.splitlines()[1] == 'name ::= "geography" | "llama3:8b"'
    offered = Pool(ModelCard(id=name) for name in names)
    for way in cuts(request):
        lines = "\n".join(f"{k}. {part} (llama3:8b)" for k, part in enumerate(way, 1))
        plan = read_plan(lines, offered, question=request.prompt)
        assert plan.usable
        assert plan.problems == ()
        assert [part.question for part in plan.parts] == list(way)
