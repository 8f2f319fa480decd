import json
import random
import sys
import types
from pathlib import Path

import pytest

from polyroute import ModelCard, Pool
from polyroute.backends.scripted import Scripted
from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes import normal_question
from polyroute.tasks.problem import Task
from polyroute.tasks.seven_qa import SETS, SevenQA

DEV = Path(__file__).parents[2] / "../shared/data/dev/seven_qa.queries.parquet"

CANDIDATES = (Pool([ModelCard(id="a")]), Scripted(lambda model, prompt: "42"))
SIZES = {
    "nq": {"train": 7300, "dev": 20, "test": 700},
    "hotpotqa": {"train": 7250, "dev": 650},
    "triviaqa": {"test": 520, "dev": 5},
    "popqa": {"test": 30},
    "2wikimultihopqa": {"train": 10, "dev": 501},
    "musique": {"train": 4, "dev": 6},
    "bamboogle": {"test": 125},
}


def rows_of(name, split, size):
    return [
        {"id": f"{split}_{k}", "question": f"{name} {split} {k}" + ("?" if k % 2 else " "),
         "golden_answers": [str(k), f"about {k}"]}
        for k in range(size)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The seven sets in small, one file a split, as the collection lays them out."""
    root = tmp_path_factory.mktemp("flashrag")
    for name, splits in SIZES.items():
        (root / name).mkdir()
        for split, size in splits.items():
            lines = "\n".join(map(json.dumps, rows_of(name, split, size)))
            (root / name / f"{split}.jsonl").write_text(lines, "utf-8")
    return root


def task(folder, **options):
    return SevenQA(source=str(folder), candidates=CANDIDATES, **options)


def test_the_papers_training_questions_are_drawn_by_one_generator(folder):
    random.seed(42)
    expected = []
    for name in ("nq", "hotpotqa"):
        rows = rows_of(name, "train", SIZES[name]["train"])
        expected += [rows[k]["id"] for k in random.sample(list(range(len(rows))), 7000)]
    drawn = task(folder, faithful=True).questions("train")
    assert [question.query_id.partition("-")[2] for question in drawn] == expected
    assert all(question.prompt.endswith("?") and "??" not in question.prompt for question in drawn)


def test_the_papers_validation_comes_from_the_rows_of_the_test(folder):
    random.seed(42)
    places = random.sample(list(range(700)), 100), random.sample(list(range(650)), 100)
    drawn = [question.query_id for question in task(folder, faithful=True).questions("val")]
    assert drawn[:100] == [f"nq-test_{k}" for k in places[0]]
    assert drawn[100:] == [f"hotpotqa-dev_{k}" for k in places[1]]


def test_the_test_takes_at_most_500_of_each_set_from_its_first_split(folder):
    drawn = task(folder).questions("test")
    sizes = {name: sum(question.task == name for question in drawn) for name in SETS}
    assert sizes == {"nq": 500, "triviaqa": 500, "popqa": 30, "hotpotqa": 500,
                     "2wikimultihopqa": 500, "musique": 6, "bamboogle": 125}  # fmt: skip
    assert [q.query_id for q in drawn if q.task == "musique"] == [
        f"musique-dev_{k}" for k in range(6)
    ]
    random.seed(42)
    expected = [f"triviaqa-test_{k}" for k in random.sample(list(range(520)), 500)]
    assert [q.query_id for q in drawn if q.task == "triviaqa"] == expected


def test_no_question_is_on_two_sides(tmp_path):
    (tmp_path / "nq").mkdir()
    for split, size in (("train", 400), ("test", 40)):
        rows = rows_of("nq", split, size)
        if split == "train":  # ten questions of the test, written otherwise
            rows[:10] = [{**row, "question": f"NQ  Test, {k}"} for k, row in enumerate(rows[:10])]
        (tmp_path / "nq" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    small = task(tmp_path, sets=("nq",))
    sides = [
        {normal_question(question.prompt) for question in small.questions(side)}
        for side in ("train", "val", "test")
    ]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    assert [len(side) for side in sides] == [351, 39, 40]


def test_a_question_is_as_it_was_written_unless_asked_for_as_in_the_paper(folder):
    prompts = [question.prompt for question in task(folder, sets=("popqa",)).questions("test")]
    assert prompts[:2] == ["popqa test 0", "popqa test 1?"]


def test_a_longer_draw_begins_with_a_shorter_one(folder):
    sets = ("popqa", "musique", "bamboogle")
    found = task(folder, sets=sets, worth=(1, 2))
    small, large = (found.problems("test", n, seed=3) for n in (5, 50))
    assert [p.request for p in large[:5]] == [p.request for p in small]
    assert [p.request.id for p in found.problems("test", 5, seed=4)] != [
        p.request.id for p in small
    ]
    assert {p.request.budget.usd_per_quality for p in large} == {1e-6, 2e-6}
    assert len(found.problems("test", 10**6, seed=0)) == 161
    assert (large[0].metric, large[0].pool, large[0].kind in sets) == (
        "exact_match",
        CANDIDATES[0],
        True,
    )


def test_it_is_a_task(folder):
    assert isinstance(task(folder), Task)


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(ConfigError, match="no set"):
        SevenQA(sets=("squad",))
    with pytest.raises(ConfigError, match=r"no file .*nq"):
        task(tmp_path).problems("test", 1, seed=0)
    (tmp_path / "nq").mkdir()
    (tmp_path / "nq" / "test.jsonl").write_text('{"question": "?"}', "utf-8")
    with pytest.raises(ConfigError, match="golden_answers"):
        task(tmp_path, sets=("nq",)).problems("test", 1, seed=0)


def test_the_hub_is_read_through_datasets(monkeypatch):
    def load_dataset(source, name):
        assert (source, name) == ("some/hub", "bamboogle")
        return {"validation": rows_of(name, "dev", 3)}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    found = SevenQA(source="some/hub", sets=("bamboogle",)).questions("test")
    assert [question.gold for question in found] == [(str(k), f"about {k}") for k in range(3)]

    def offline(source, name):
        raise ConnectionError("no network")

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", offline)
    with pytest.raises(ConfigError, match="no network; give a local folder"):
        SevenQA(source="some/hub", sets=("bamboogle",)).questions("test")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="datasets"):
        SevenQA(source="some/hub", sets=("bamboogle",)).questions("test")


@pytest.mark.slow
def test_datasets_itself_gives_the_same_questions(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def local(source, name):
        files = (folder / name).glob("*.jsonl")
        rows = {file.stem: map(json.loads, file.read_text().splitlines()) for file in files}
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_list(list(found)) for split, found in rows.items()}
        )

    monkeypatch.setattr(datasets, "load_dataset", local)
    for split in ("val", "test"):
        assert SevenQA(source="some/hub").questions(split) == task(folder).questions(split)


@pytest.mark.slow
@pytest.mark.skipif(not DEV.exists(), reason="the development data are not here")
def test_golds_of_all_seven_sets_are_read_from_a_table():
    found = task(DEV)
    drawn = found.questions("test")
    assert {question.task for question in drawn} == set(SETS)
    assert all(question.gold for question in drawn)
    problem = next(p for p in found.problems("test", 100, seed=0) if p.kind == "popqa")
    assert problem.golds
    trained = {normal_question(question.prompt) for question in found.questions("train")}
    assert trained
    assert not trained & {normal_question(question.prompt) for question in drawn}
