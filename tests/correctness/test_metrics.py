import json
import random
import re
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.correctness import METRICS

DEV = Path(__file__).parents[2] / "../shared/data/dev"

words = st.lists(st.sampled_from(["the", "A", "red", "Red.", "house", "no", "yes", "17", "-"]))
texts = words.map(" ".join)


def squad(text):
    """Normalise as the evaluation script of SQuAD is described: lower, punctuation, articles."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(said, gold):
    said, gold = squad(said), squad(gold)
    if said != gold and {said, gold} & {"yes", "no", "noanswer"}:
        return 0.0
    common = Counter(said.split()) & Counter(gold.split())
    same = sum(common.values())
    if same == 0:
        return 0.0
    precision, recall = same / len(said.split()), same / len(gold.split())
    return 2 * precision * recall / (precision + recall)


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_exact_match_and_f1_are_those_of_squad(answer, golds):
    golds = [gold for gold in golds if squad(gold)] or ["house"]
    if not squad(answer):
        return  # an answer of articles alone: ours is stricter
    assert METRICS["exact_match"](answer, golds) == float(squad(answer) in map(squad, golds))
    assert METRICS["f1"](answer, golds) == pytest.approx(max(squad_f1(answer, g) for g in golds))


@pytest.mark.parametrize("name", ["evouna", "r1searcher_multihop"])
def test_recorded_answers_get_the_scores_that_others_gave_them(name):
    # they replace punctuation by spaces where SQuAD removes it, so a few differ
    parquet = pytest.importorskip("pyarrow.parquet")
    if not DEV.is_dir():
        pytest.skip("the shared outcome tables are not here")
    columns = ["query_id", "response_text", "pred", "em", "f1", "cem"]
    table = parquet.read_table(DEV / f"{name}.responses.parquet", columns=columns)
    rows = table.take(random.Random(0).sample(range(len(table)), k=300)).to_pylist()
    golds = {
        row["query_id"]: json.loads(row["gold"])
        for row in parquet.read_table(DEV / f"{name}.queries.parquet").to_pylist()
    }
    differences = {"exact_match": [], "f1": [], "contains": []}
    for row in rows:
        answer = row["response_text"] if row["pred"] is None else row["pred"]
        for metric, column in (("exact_match", "em"), ("f1", "f1"), ("contains", "cem")):
            score = METRICS[metric](answer, golds[row["query_id"]])
            differences[metric].append(abs(score - row[column]))
    for metric, found in differences.items():
        assert sum(found) / len(found) < 0.03, metric
        assert sum(difference > 0.3 for difference in found) / len(found) < 0.03, metric


@pytest.mark.parametrize(
    ("metric", "answer", "golds", "expected"),
    [
        ("exact_match", "<answer>wrong</answer> so <answer>The Tower!</answer>", ["tower"], 1),
        ("exact_match", "the tower of Paris", ["tower"], 0),
        ("exact_match", "Paris", ["London", "paris."], 1),
        ("exact_match", "", ["", "the"], 0),
        ("exact_match", "Paris", [], 0),
        ("f1", "no", ["yes"], 0),
        ("f1", "no way", ["no"], 0),
        ("f1", "noanswer", ["noanswer"], 1),
        ("f1", "a b c", ["b c d"], 0.8),
        ("f1", "", ["x"], 0),
        ("contains", "It is in the city of Paris, France", ["Paris"], 1),
        ("contains", "comparison", ["paris"], 0),
        ("contains", "", [""], 0),
        ("number", "so 3 * 6 = 18.0 dollars", ["18"], 1),
        ("number", "\\boxed{1,234}", ["1234"], 1),
        ("number", "0.3333333", ["0.33333333"], 1),
        ("number", "0.33", ["0.3333"], 0),
        ("number", "1000001", ["1000000"], 1),
        ("number", "1000002", ["1000000"], 0),
        ("number", "−5", ["-5"], 1),
        ("number", "none", ["0"], 0),
        ("choice", "(b)", ["B"], 1),
        ("choice", "b", ["B"], 1),
        ("choice", "The answer is B.", ["(B)"], 1),
        ("choice", "not sure, B or C", ["C"], 0),
    ],
)
def test_a_reply_gets_the_score_of_its_answer(metric, answer, golds, expected):
    assert METRICS[metric](answer, golds) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "code"])
@given(answer=st.text(max_size=40), golds=st.lists(st.text(max_size=20), max_size=3))
def test_every_metric_is_from_0_to_1_for_any_text(metric, answer, golds):
    score = METRICS[metric](answer, golds)
    assert 0.0 <= score <= 1.0
    assert METRICS[metric](answer, [*golds, *golds]) == score


@given(st.sampled_from(["exact_match", "f1", "contains"]), st.text(min_size=1, max_size=30))
def test_a_right_answer_is_right(metric, gold):
    if gold.split() and "answer" not in gold:
        assert METRICS[metric](gold, ["other", gold]) == 1.0
