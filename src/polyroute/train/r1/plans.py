"""Where a run starts, by model: what it does when it is told nothing else.

What came of these numbers, and what did not, is in ``docs/benchmarks/router_r1.md``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from polyroute.errors import ConfigError
from polyroute.spec import filled, nearest
from polyroute.train.r1.recipe import Imitation, Lora, Reinforcement, RunPlan
from polyroute.types import Json

__all__ = ["changed", "plan_for"]


def plan_for(task: str, model: str, *, seed: int = 0) -> RunPlan:
    """Return the plan for `model` on `task`.

    The tiny model is trained whole from scratch; a pretrained one gets an adapter, smaller batches
    and slower steps.
    """
    if model == "tiny":
        return RunPlan(
            task=task,
            model=model,
            seed=seed,
            teachers=("mended", "mended", "mended", "mended", "optimum"),
            recall=300,
            imitation=Imitation(traces=20_000, steps=2_400, optimizer="muon"),
            reinforcement=Reinforcement(
                algorithm="rloo",  # see `Reinforcement.algorithm` for what grpo does here
                steps=80,
                questions=32,
                minibatches=4,  # one update of 256 episodes moves too little
                learning_rate=3e-4,
                schedule="linear",
                save_every=10,
            ),
            judged=300,
        )
    return RunPlan(
        task=task,
        model=model,
        seed=seed,
        teachers=("mended", "optimum"),
        imitation=Imitation(
            traces=1_920,
            steps=120,
            batch=16,
            micro_batch=8,
            learning_rate=1e-3,
            lora=Lora(rank=8, alpha=16),  # in half precision 4.9 MB of SmolLM2
            half=True,
        ),
        reinforcement=Reinforcement(
            algorithm="rloo",
            steps=30,
            questions=6,
            group=6,
            temperature=0.8,  # at 1 a fifth of the answers is lost; at .6 many groups earn the same
            micro_batch=12,
            learning_rate=1e-4,
            half=True,
            save_every=2,
        ),
        judged=64,
        turn_tokens=64,
    )


def changed(plan: RunPlan, changes: Mapping[str, Json]) -> RunPlan:
    """Return `plan` with other values, each by its path.

    Parameters
    ----------
    plan : RunPlan
    changes : mapping
        From a path, such as ``reinforcement.learning_rate``, to its value.

    Raises
    ------
    ConfigError
        If a path leads nowhere, or a value is not of its type or range.

    Examples
    --------
    >>> changed(plan_for("atlas-small", "tiny"), {"reinforcement.steps": 5}).reinforcement.steps
    5
    """
    values = asdict(plan)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner: Any = values
        for name in (*parents, last):
            if not isinstance(inner, dict) or name not in inner:
                known = list(inner) if isinstance(inner, dict) else []
                raise ConfigError(f"the plan has no {path!r}: {nearest(name, known)}")
            parent, inner = inner, inner[name]
        parent[last] = value
    return filled(RunPlan, values, where="plan")
