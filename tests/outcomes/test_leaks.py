import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import ConfigError
from polyroute.outcomes import Question, check_leaks, normal_question, read_outcomes

DEV = Path(__file__).parents[2] / "../shared/data/dev"
WORDS = (Path(__file__).parents[2] / "LICENSE").read_text().lower().split()


def questions(prompts, start=""):
    return [Question(query_id=f"{start}{k}", prompt=prompt) for k, prompt in enumerate(prompts)]


@cache
def pieces(text):
    padded = f" {normal_question(text)} ".ljust(5)
    return {padded[k : k + 5] for k in range(len(padded) - 4)}


def jaccard(one, other):
    """Compute the similarity by its definition."""
    return len(pieces(one) & pieces(other)) / len(pieces(one) | pieces(other))


def invented(rng, count):
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 40))) for _ in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2+2?", " what IS  2+2 "),
        ("ﬁnd “it”", "find it"),
        ("Don't stop", "don’t stop!"),
        ("state-of-the-art", "state of the art"),
        ("\n???", "???"),
        ("STRASSE", "straße"),
    ],
)
def test_spelling_does_not_make_another_question(one, other):
    assert normal_question(one) == normal_question(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 3", "x = -3"),
        ("1.5", "15"),
        ("2+2", "22"),
        ("?", "!"),
        ("a b", "ab"),
        ("Q _\n_ Q", "_ Q\nQ _"),
    ],
)
def test_what_makes_another_question_is_kept(one, other):
    assert normal_question(one) != normal_question(other)


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text):
    once = normal_question(text)
    assert normal_question(once) == once


def test_planted_leaks_are_found_and_nothing_else():
    rng = random.Random(0)
    train, val = invented(rng, 300), invented(rng, 100)
    val[10] = train[3].upper() + "!!"
    changed = train[50].split()
    changed[len(changed) // 2] += "s"
    val[20] = " ".join(changed)
    a, b = questions(train, "t"), questions(val, "v")
    leaks = check_leaks(a, b)
    expected = {
        (f"t{j}", f"v{k}")
        for j, one in enumerate(train)
        for k, other in enumerate(val)
        if jaccard(one, other) >= 0.8
    }
    assert ("t3", "v10") in expected
    assert {(leak.first.query_id, leak.second.query_id) for leak in leaks} == expected
    assert [leak.exact for leak in leaks] == sorted((leak.exact for leak in leaks), reverse=True)
    assert leaks[0].second.query_id == "v10"
    for leak in leaks:
        assert leak.similarity == pytest.approx(jaccard(leak.first.prompt, leak.second.prompt))


@pytest.mark.parametrize("threshold", [0.65, 0.8, 1.0])
def test_the_nearest_of_many_edited_copies_is_that_of_brute_force(threshold):
    rng = random.Random(1)
    train = invented(rng, 120)
    val = []
    for text in train:
        words = text.split()
        for place in rng.sample(range(len(words)), k=rng.randint(1, max(1, len(words) // 4))):
            words[place] = rng.choice(WORDS)
        val.append(" ".join(words))
    found = check_leaks(questions(train), questions(val), threshold=threshold)
    best = [max(jaccard(one, other) for one in train) for other in val]
    assert len([s for s in best if s >= threshold]) == len(found)
    for leak in found:
        assert leak.similarity == pytest.approx(best[int(leak.second.query_id)])


def test_a_heap_of_templated_questions_is_reported_once_per_question():
    text = "In the year {} how many people lived in the town of Springfield, by the census of it?"
    a = questions(text.format(k) for k in range(1000, 1200))
    b = questions(text.format(k) for k in range(3000, 3100))
    assert len(check_leaks(a, b)) == 100


def test_short_and_empty_questions_are_compared():
    assert check_leaks(questions(["", "a"]), questions(["b"])) == ()
    assert len(check_leaks(questions(["", "a"]), questions(["a", ""]))) == 2
    assert check_leaks([], questions(["a"])) == check_leaks(questions(["a"]), []) == ()


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_a_threshold_that_is_no_similarity_is_refused(threshold):
    with pytest.raises(ConfigError, match="threshold"):
        check_leaks([], [], threshold=threshold)


@pytest.mark.skipif(not DEV.is_dir(), reason="the shared outcome tables are not here")
@pytest.mark.parametrize("name", ["evouna", "reasoning_gym", "zeroeval_crux"])
def test_the_splits_of_the_shared_tables_share_no_question(name):
    queries = read_outcomes(DEV / name).queries
    sides = [[q for q in queries if q.split == side] for side in ("train", "val")]
    assert sides[0]
    assert sides[1]
    assert not [leak for leak in check_leaks(*sides, threshold=1.0) if leak.exact]
