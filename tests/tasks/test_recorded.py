import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from polyroute import Answer, Call, ModelCard, Pool, Price, Route, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, write_outcomes
from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.tasks.problem import Task
from polyroute.tasks.recorded import Recorded

DEV = Path(__file__).parents[2] / "../shared/data/dev/evouna"

QUERIES = [
    {"query_id": f"{split}-{k}", "prompt": f"capital of {where}", "gold": gold, "split": split,
     "task": "geo", "metric": metric}
    for k, (where, gold, split, metric) in enumerate([
        ("France", ["Paris"], "train", "human_correct"),
        ("Italy", ["Rome"], "train", "f1"),
        ("Spain", ["Madrid"], "test", "em"),
        ("Franconia", [], "test", "em"),
    ])
]  # fmt: skip
SAID = {"good": ["Paris", "Rome", "Madrid", "Nuremberg"], "poor": ["Lyon", "Rome", "Seville", "?"]}
ROWS = [
    {"query_id": query["query_id"], "model": model, "score": float(text in query["gold"]),
     "response_text": text, "prompt_tokens": 100, "completion_tokens": 10 + k,
     "cost_usd": (1 + (model == "good")) * (100 + 2 * (10 + k)) / 1e6}
    for model, texts in SAID.items()
    for k, (query, text) in enumerate(zip(QUERIES, texts, strict=True))
]  # fmt: skip
FREE = [{"query_id": "train-0", "model": "unpriced", "score": 1.0, "response_text": "Paris"},
        {"query_id": "train-0", "model": "mute", "score": 1.0, "cost_usd": 1e-6}]  # fmt: skip


@pytest.fixture
def table(tmp_path):
    write_outcomes(OutcomeTable.of(QUERIES, ROWS + FREE), tmp_path / "capitals.jsonl")
    return str(tmp_path / "capitals.jsonl")


class AsksThenAnswers:
    """Asks one candidate one thing and answers with what it says."""

    method = None

    def __init__(self, model, prompt=None):
        self.call = Call(model, prompt)

    async def decide(self, trace):
        if trace.steps:
            reply = trace.replies[-1]
            return Answer(text=reply.text) if reply.ok else trace.give_up()
        return Route(calls=(self.call,))


def run(problem, model, prompt=None):
    policy = AsksThenAnswers(model, prompt)
    return asyncio.run(run_episode(policy, problem.backend, problem.request, problem.pool))


def test_a_candidate_says_what_it_said_at_the_price_it_had(table):
    problem, *more = Recorded(table).problems("test", 9, seed=0)
    assert not more, "a question without a right answer cannot be scored"
    trace = run(problem, "good")
    assert (trace.answer, trace.replies[0].similarity) == ("Madrid", 1.0)
    assert trace.usd == Decimal("0.000248")
    reward = RouterR1Reward()
    assert reward(trace, problem.golds, metric=problem.metric).total == 1.0
    assert reward(run(problem, "poor"), problem.golds, metric=problem.metric).total == 0.0


def test_another_question_is_answered_by_the_nearest_of_the_same_split(table):
    task = Recorded(table, nearest=0.3)
    train = {p.request.id: p for p in task.problems("train", 2, seed=0)}["train-0"]
    reply = run(train, "good", "the capital of Italy?").replies[0]
    assert reply.text == "Rome"
    assert 0.3 <= reply.similarity < 1
    about_the_test = run(train, "good", "capital of Spain").replies[0]
    assert about_the_test.text in ("Paris", "Rome", "")
    strict = {p.request.id: p for p in Recorded(table, nearest=None).problems("train", 2, 0)}
    assert run(strict["train-0"], "good", "the capital of Italy?").failure.kind == "unavailable"


def test_candidates_are_those_with_texts_and_a_price(table):
    assert Recorded(table).pool.ids == ("good", "poor")
    assert Recorded(table, models=("unpriced", "good")).pool.ids == ("good", "unpriced")
    for missing in ("mute", "nobody"):
        with pytest.raises(ConfigError, match=missing):
            Recorded(table, models=(missing,))


def test_a_card_tells_its_price_and_its_score_in_training(table):
    good, poor = Recorded(table).pool
    assert good.descriptor() == "good (model; $2 in / $4 out per million tokens; geo 1.00):"
    assert poor.skills == {"geo": 0.5}


def test_cards_of_a_configuration_stand_for_the_models(table, tmp_path):
    config = tmp_path / "polyroute.yaml"
    config.write_text(
        "pool: [{id: best, aliases: [good], description: Geography., price: {output: 4},"
        " backend: scripted}, {id: other, backend: scripted}]\npolicy: {name: fixed, model: best}\n"
    )
    task = Recorded(table, config=config)
    assert task.pool.ids == ("best",)
    assert run(task.problems("test", 1, seed=0)[0], "best").answer == "Madrid"


def test_a_teacher_asks_a_recorded_question_and_passes_the_reply_on(table):
    problem = Recorded(table).problems("test", 1, seed=0)[0]
    assert [(hop.query, hop.answer) for hop in problem.hops] == [("capital of Spain", "Madrid")]
    router = ModelCard(id="router", price=Price())
    backends = {**dict.fromkeys(problem.pool.ids, problem.backend), "router": Teacher([problem])}
    policy, pool = RouterR1(router="router", layout="brief"), Pool([*problem.pool, router])
    trace = asyncio.run(run_episode(policy, ByCard(backends), problem.request, pool))
    assert (trace.answer, trace.replies[1].model) == ("Madrid", "good")
    assert trace.usd == Decimal("0.000248")


def test_golds_decide_where_the_table_has_a_persons_judgement(table):
    metrics = {p.request.id: p.metric for p in Recorded(table).problems("train", 2, seed=0)}
    assert metrics == {"train-0": "exact_match", "train-1": "f1"}


def test_a_missing_split_is_named_and_the_text_can_divide(table):
    with pytest.raises(ConfigError, match=r"'val'.*'test', 'train'"):
        Recorded(table).problems("val", 1, seed=0)
    sides = [
        {p.request.id for p in Recorded(table, splits="text").problems(side, 9, seed=0)}
        for side in ("train",)
    ]
    assert sides[0]
    assert isinstance(Recorded(table), Task)


@pytest.mark.skipif(not DEV.with_suffix(".queries.parquet").exists(),
                    reason="the development data are not here")  # fmt: skip
@pytest.mark.slow
def test_real_recorded_answers_train_and_evaluate():
    task = Recorded(str(DEV), worth=(100, 10_000))
    assert task.pool.ids == ("gpt-3.5-turbo", "gpt-4", "text-davinci-003")
    problems = task.problems("val", 60, seed=1)
    assert {problem.kind for problem in problems} == {"nq", "triviaqa"}
    reward = RouterR1Reward(metric="contains")
    terms = [
        [reward(run(p, model), p.golds, metric="contains") for p in problems]
        for model in ("gpt-4", "gpt-3.5-turbo")
    ]
    right, usd = (
        [sum(getattr(term, name) for term in row) for row in terms] for name in ("outcome", "usd")
    )
    assert min(right) > 20
    assert usd[0] > 5 * usd[1]
