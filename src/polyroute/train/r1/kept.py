"""From a finished run to one artifact: the policy, its model, what it saw and how it did."""

from pathlib import Path

import numpy as np

from polyroute.pool import Pool
from polyroute.train.artifact import Fitted
from polyroute.train.r1.log import CsvLog
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.run import Result, Run
from polyroute.train.r1.served import prompt_digest
from polyroute.types import Json

__all__ = ["fitted"]

_CARDS = 64
"""Cards of the training that the artifact names; a task may draw them anew for each question."""


def fitted(run: Run, result: Result) -> Fitted:
    """Return what `polyroute.train.artifact.save` keeps of a run.

    Where a request does not say what a right answer is worth, the router is told the median of its
    training; and it is shown dollars only if it was in training.
    """
    policy = result.policy
    files = {path.name: path.read_bytes() for path in _files(result.folder)}
    spec: dict[str, Json] = {
        "name": "router_r1",
        "router": policy.router,
        "dialect": policy.dialect,
        "layout": policy.layout,
        "max_turns": policy.max_turns,
        "router_params": dict(policy.router_params or {}),
    }
    problems = run.problems("train", _CARDS)
    budgets = [problem.request.budget for problem in problems]
    worths = [each.usd_per_quality for each in budgets if each.usd_per_quality is not None]
    if worths:
        spec["worth"] = float(np.median(worths))
    if all(each.usd is None for each in budgets):
        spec["show_usd"] = False
    cards: dict[str, Json] = {}
    for problem in problems:
        cards |= {card.id: card.to_json() for card in problem.pool}
    training: dict[str, Json] = {
        "task": run.plan.task,
        "base_model": run.plan.model,
        "seed": run.plan.seed,
        "algorithm": run.plan.reinforcement.algorithm if "rl" in result.stages else "imitation",
        "prompt": prompt_digest(policy),
        "cards_seen": list(cards.values())[:_CARDS],
        "curve": CsvLog.read(run.folder / "curve.csv"),
        "stopped_by": [alarm.message for alarm in result.alarms],
    }
    return Fitted(
        policy=policy,
        spec=spec,
        pool=Pool([ROUTER]),
        training=training,
        evaluation={"split": "test", "stages": dict(result.stages)},
        model=files,
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
