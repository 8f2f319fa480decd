"""Where a run starts, by model: what it does when it is told nothing else.

What came of these numbers, and what did not, is in ``docs/benchmarks/router_r1.md``.
"""

from polyroute.train.r1.recipe import Imitation, Lora, Reinforcement
from polyroute.train.r1.run import RunPlan

__all__ = ["plan_for"]


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
            teachers=("random", "mixed", "mixed"),
            imitation=Imitation(steps=1_300),
            reinforcement=Reinforcement(steps=120, learning_rate=3e-4),
            judged=200,
        )
    return RunPlan(
        task=task,
        model=model,
        seed=seed,
        teachers=("mixed", "random", "mixed"),
        imitation=Imitation(
            traces=640,
            steps=40,
            batch=16,
            micro_batch=4,
            learning_rate=5e-4,
            lora=Lora(rank=16, alpha=32),
            half=True,
        ),
        reinforcement=Reinforcement(
            steps=24,
            questions=5,
            group=8,
            micro_batch=4,  # 8 held 14 GB
            learning_rate=5e-5,
            half=True,
            save_every=4,
        ),
        judged=64,
        turn_tokens=64,
    )
