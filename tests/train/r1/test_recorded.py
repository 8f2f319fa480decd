"""A router is trained on recorded answers: every stage, on a table of its own."""

import pytest
import yaml

from polyroute.outcomes import OutcomeTable, write_outcomes
from polyroute.train.artifact import save
from polyroute.train.r1.kept import fitted
from polyroute.train.r1.log import CsvLog
from polyroute.train.r1.recipe import Imitation, Reinforcement
from polyroute.train.r1.run import Run, RunPlan

pytest.importorskip("torch")
from polyroute.train.r1.tiny import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FACTS = {"Peru": "Lima", "Spain": "Madrid", "Italy": "Rome", "Chad": "Ndjamena", "Oman": "Muscat"}
WORDS = """
<think> </think> <search> </search> <answer> </answer> <information> </information> . : ; , ?
/ ( ) name question asks answer ends Names prices skills Question rounds worth capital of good poor
geo done unknown 0 1 2 3 4 100 120 240 50 none
"""


@pytest.fixture
def task(tmp_path):
    queries = [
        {"query_id": f"{split}-{where}", "prompt": f"capital of {where}", "gold": [gold],
         "split": split, "task": "geo", "metric": "em"}
        for split in ("train", "val", "test")
        for where, gold in FACTS.items()
    ]  # fmt: skip
    rows = [
        {"query_id": query["query_id"], "model": model, "response_text": query["gold"][0],
         "score": 1.0, "cost_usd": usd, "prompt_tokens": 10, "completion_tokens": 1}
        for model, usd in (("good", 2e-4), ("poor", 1e-4))
        for query in queries
    ]  # fmt: skip
    write_outcomes(OutcomeTable.of(queries, rows), tmp_path / "capitals.jsonl")
    spec = {
        "name": "recorded",
        "table": str(tmp_path / "capitals.jsonl"),
        "worth": [10_000, 100_000],
    }
    return yaml.safe_dump(spec)


@pytest.fixture
def model(tmp_path):
    words = dict.fromkeys([*WORDS.split(), *FACTS, *FACTS.values()])
    loaded = tiny_model(list(words), hidden=32, layers=1, heads=2)
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_a_router_is_trained_and_judged_on_what_models_said(task, model, tmp_path):
    plan = RunPlan(
        task=task,
        model=model,
        teachers=("random", "cheapest"),
        imitation=Imitation(traces=5, steps=2, batch=4, micro_batch=4),
        reinforcement=Reinforcement(steps=2, questions=2, group=2),
        gate=0.0,
        judged=5,
    )
    run = Run(plan, tmp_path / "run", say=lambda line: None)
    result = run.train()
    optimum = result.stages["optimum"]["greedy"]
    assert (optimum["outcome"], optimum["calls"], set(optimum["share"])) == (1.0, 1.0, {"2nd"})
    assert len(CsvLog.read(tmp_path / "run" / "curve.csv")) == 2
    kept = fitted(run, result)
    save(tmp_path / "my.router", kept, created_at="2026-01-01")
    assert kept.spec["worth"] in (0.01, 0.055, 0.1)
