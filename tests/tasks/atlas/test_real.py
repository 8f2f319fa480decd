import itertools
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute import Call, Trace, registry
from polyroute.errors import ConfigError
from polyroute.tasks.atlas.real import NAMES, UNSEEN_NAMES, Atlas, World, question
from polyroute.tasks.atlas.relations import HELD_RELATION, RELATIONS, group, subjects
from polyroute.tasks.atlas.specialists import ADMITS, ANYTHING, UNKNOWN, quality

TOOLS = {name: registry.load("tools", name) for name in {r.tool for r in RELATIONS if r.tool}}


def questions(split, hops, n, *, held=False):
    draw = random.Random(f"{split} {hops}")
    return [question(draw, hops, split, held=held) for _ in range(n)]


def ask(problem, model, query):
    coroutine = problem.backend.complete(Call(model, query), Trace(problem.request, problem.pool))
    with pytest.raises(StopIteration) as ended:  # it waits for nothing, so it needs no loop
        coroutine.send(None)
    return ended.value.value.text


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_the_specialists_of_the_embedded_pool_say_the_same_as_the_tables(relation):
    draw = random.Random(relation.name)
    asked = 0
    for kind in relation.of:
        known = subjects(kind) or subjects("number")
        for subject in draw.sample(known, min(len(known), 300 if kind == "number" else 40)):
            constant = [str(draw.choice(relation.constants))] if relation.constants else []
            answer = relation.find(subject, *constant)
            if answer is None or not relation.tool:
                continue
            query = relation.phrase.replace("#", "".join(constant)).format(subject)
            assert TOOLS[relation.tool](query) == answer, query
            asked += 1
    assert asked >= 10 or not relation.tool


@pytest.mark.slow
def test_elements_are_those_of_another_source():
    mendeleev = pytest.importorskip("mendeleev")
    find = {relation.name: relation.find for relation in RELATIONS}
    british = {"Aluminum": "aluminum", "Cesium": "cesium", "Sulfur": "sulfur"}
    for number in (1, 2, 6, 13, 16, 26, 32, 55, 57, 79, 92, 110, 118):
        other = mendeleev.element(number)
        name = british.get(other.name, other.name.lower())
        assert find["element numbered"](str(number)) == name
        assert find["symbol"](name) == other.symbol
        assert find["element with symbol"](other.symbol) == name
        assert find["atomic number"](name) == str(number)
        assert find["period"](name) == str(other.period)
        group = find["group"](name)
        assert group in (None, str(other.group_id))


def test_some_facts_that_everybody_can_check():
    known = {
        "capital of Peru": "Lima",
        "country whose capital is Ottawa": "Canada",
        "currency code of Japan": "JPY",
        "calling code of France": "+33",
        "number of neighbours of Portugal": "1",
        "What is the weekday of 20 July 1969?": "Sunday",
        "the date of Easter in 2024": "31 March 2024",
        "next leap year after 1896": "1904",
        "date 100 days after 1 January 2023": "11 April 2023",
        "remainder of 100 divided by 7": "2",
        "number of minutes in 3 hours": "180",
    }
    assert {query: World().about(query).answer for query in known} == known


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_every_question_is_answered_by_asking_hop_by_hop(hops):
    for asked in questions("train", hops, 15):
        answer = ""
        for hop in asked.hops:
            fact = World().about(hop.query.format(answer))
            assert (fact.skill, fact.answer) == (hop.skill, hop.answer)
            assert hop.answer not in fact.others or fact.others.count(hop.answer) < len(fact.others)
            answer = hop.answer
        assert answer == asked.answers[-1]
        assert asked.subject in asked.text
        assert hops == 1 or World().about(asked.text) is None


@pytest.mark.slow
@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_there_are_thousands_of_questions_of_every_length(hops):
    drawn = {asked.text for asked in questions("train", hops, 4200)}
    assert len(drawn) >= 3000


def test_chains_need_different_skills():
    for hops, most in ((2, 1), (3, 2), (4, 2)):
        for asked in questions("train", hops, 100):
            assert max(Counter(hop.skill for hop in asked.hops).values()) <= most


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 4]))
@settings(max_examples=4, deadline=None)
def test_what_a_test_question_is_about_no_training_question_speaks_of(seed, hops):
    draw = random.Random(seed)
    train = [question(draw, hops, "train") for _ in range(20)]
    spoken = set()
    for asked in train:
        kinds = [link.relation.gives for link in asked.links]
        named = [(kind, answer) for kind, answer in zip(kinds, asked.answers, strict=True)]
        spoken |= {
            group(*one) for one in named if one[0] in ("country", "city", "element", "symbol")
        }
        spoken.add(group(asked.kind, asked.subject))
    for split in ("val", "test"):
        for asked in [question(draw, hops, split) for _ in range(10)]:
            assert group(asked.kind, asked.subject) not in spoken


def test_one_relation_is_never_asked_for_but_where_it_is_wanted():
    for split, hops in itertools.product(("train", "val", "test"), (1, 2, 3)):
        for asked in questions(split, hops, 15):
            assert HELD_RELATION not in [link.relation.name for link in asked.links]
    for asked in questions("test", 2, 20, held=True):
        assert HELD_RELATION in [link.relation.name for link in asked.links]


def test_the_same_arguments_give_the_same_problems():
    first, again = (Atlas().problems("val", n, 2) for n in (10, 20))
    for one, other in zip(first, again, strict=False):
        assert (one.request, one.pool, one.hops) == (other.request, other.pool, other.hops)
        assert [ask(one, c.id, one.hops[0].query) for c in one.pool] == [
            ask(other, c.id, other.hops[0].query) for c in other.pool
        ]


@pytest.mark.slow
def test_specialists_err_as_often_as_their_cards_say_and_never_name_the_answer_when_wrong():
    said = Counter()
    for problem in Atlas(hops=(1,)).problems("train", 600, 1):
        cheap = min(problem.pool, key=lambda card: card.price.call)
        assert ANYTHING in cheap.skills
        text = ask(problem, cheap.id, problem.hops[0].query)
        right = quality(cheap, problem.hops[0].skill)
        kind = UNKNOWN if text == UNKNOWN else "right" if text in problem.golds else "wrong"
        said[kind] += 1
        said["expected"] += right
    assert abs(said["right"] - said["expected"]) < 4 * (600 * 0.25) ** 0.5
    errors = said[UNKNOWN] + said["wrong"]
    assert abs(said[UNKNOWN] - ADMITS * errors) < 4 * (errors * 0.25) ** 0.5


def test_who_is_not_of_the_field_says_so():
    for problem in Atlas(hops=(2,)).problems("test", 40, 0):
        for card in problem.pool:
            if not quality(card, problem.hops[0].skill):
                assert ask(problem, card.id, problem.hops[0].query) == UNKNOWN


def test_names_of_unseen_specialists_are_not_those_of_training():
    assert not set(NAMES) & set(UNSEEN_NAMES)
    for problem in Atlas(variant="unseen_specialists").problems("test", 10, 0):
        assert set(problem.pool.ids) <= set(UNSEEN_NAMES)
    for problem in Atlas().problems("test", 10, 0):
        assert set(problem.pool.ids) <= set(NAMES)


def test_changed_prices_turn_the_order_of_prices_round():
    plain = Atlas().problems("test", 20, 0)
    changed = Atlas(variant="changed_prices").problems("test", 20, 0)
    for one, other in zip(plain, changed, strict=True):
        assert one.request.prompt == other.request.prompt
        ranks = [
            sorted(p.pool.ids, key=lambda n, p=p: p.pool.card(n).price.call) for p in (one, other)
        ]
        assert ranks[0][0] == ranks[1][-1] or one.pool.card(ranks[0][0]).price.call == 1
        assert {c.id: c.skills for c in one.pool} == {c.id: c.skills for c in other.pool}


def test_wrong_answers_are_of_the_kind_of_the_right_one():
    shapes = {"number": r"\d+", "date": r"\d+ \w+ \d{4}", "country": r"[A-Z].*", "city": r"\S.*"}
    for asked in questions("train", 1, 300):
        fact = World().about(asked.hops[0].query)
        shape = shapes.get(asked.links[0].relation.gives)
        assert fact.others
        assert shape is None or all(re.fullmatch(shape, other) for other in fact.others)


def test_a_number_of_hops_it_does_not_have_is_an_error():
    with pytest.raises(ConfigError, match="1, 2, 3 and 4"):
        Atlas(hops=(5,))
    with pytest.raises(ConfigError, match="worth"):
        Atlas(worth=())
