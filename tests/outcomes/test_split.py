import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, by_split, check_leaks, side_of, with_splits

PROMPTS = [f"How far is town {k} from the sea?" for k in range(600)]


def table_of(prompts):
    queries = [{"query_id": f"q{k}", "prompt": prompt} for k, prompt in enumerate(prompts)]
    responses = [
        {"query_id": f"q{k}", "model": model, "score": k % 2, "response_text": f"{model}{k}"}
        for model in ("a", "b")
        for k in range(len(prompts))
        if (model, k) != ("b", 0)
    ]
    return OutcomeTable.of(queries, responses)


def test_the_shares_are_those_asked_for():
    split = with_splits(table_of(PROMPTS), {"train": 0.6, "val": 0.4})
    share = np.mean([question.split == "train" for question in split.queries])
    assert abs(share - 0.6) < 4 * np.sqrt(0.6 * 0.4 / len(PROMPTS))


def test_a_question_asked_twice_is_on_one_side():
    doubled = [*PROMPTS, *(prompt.upper().replace("?", " !") for prompt in PROMPTS)]
    sides = by_split(with_splits(table_of(doubled)))
    for one in sides.values():
        for other in sides.values():
            leaks = [] if one is other else check_leaks(one.queries, other.queries, threshold=1)
            assert not [leak for leak in leaks if leak.exact]


@settings(max_examples=25)
@given(st.integers(0, 50), st.integers(1, 100))
def test_the_side_of_a_question_does_not_depend_on_the_others(seed, count):
    table = with_splits(table_of(PROMPTS[:count]), seed=seed)
    assert table.queries[-1].split == side_of(PROMPTS[count - 1], seed=seed)


def test_another_seed_is_another_division():
    sides = [
        [q.split for q in with_splits(table_of(PROMPTS), seed=seed).queries] for seed in (0, 0, 1)
    ]
    assert sides[0] == sides[1] != sides[2]


def test_the_sides_hold_every_response_once_with_its_values():
    table = with_splits(table_of(PROMPTS))
    seen = []
    for name, side in by_split(table).items():
        assert side.models == table.models
        assert {question.split for question in side.queries} == {name}
        rows = side.responses
        for row in range(len(rows)):
            question = side.queries[rows.query[row]]
            number = int(question.query_id[1:])
            assert rows.text[row] == f"{side.models[rows.model[row]]}{number}"
            assert rows.score[row] == number % 2
            seen.append(rows.text[row])
    assert sorted(seen) == sorted(table.responses.text)


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(ConfigError, match="fractions"):
        side_of("x", fractions)


def test_a_split_of_no_share_gets_nothing():
    assert {side_of(prompt, {"a": 0, "b": 1, "c": 0}) for prompt in PROMPTS} == {"b"}
