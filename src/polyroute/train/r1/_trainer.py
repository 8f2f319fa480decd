"""What is built on TRL's classes: its trainer with a critic, and a look at every step.

Importing this takes seconds; `polyroute.train.r1.rl` does it when a run begins.
"""

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from polyroute.train.r1.ppo import CriticLearner, Experience, token_logprobs
from polyroute.train.r1.recipe import Reinforcement
from polyroute.train.r1.rl import Batch, Curve, Point

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the seam is pinned and tested

import trl

__all__ = ["Said", "Trainer", "Watch"]

_CRITIC = "critic.pt"


class Trainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer; for PPO the advantages come from a critic."""

    batch: Batch
    critic: CriticLearner | None = None
    recipe: Reinforcement
    reference: Any = None

    def prepare(self, recipe: Reinforcement) -> None:
        """Build what PPO needs besides the policy."""
        self.recipe = recipe
        if recipe.algorithm != "ppo":
            return
        policy: Any = self.accelerator.unwrap_model(self.model)
        network = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        self.critic = CriticLearner(
            network,
            recipe.critic,
            epochs=recipe.epochs,
            minibatches=recipe.minibatches,
            max_grad_norm=recipe.max_grad_norm,
        )
        if recipe.kl:
            self.reference = copy.deepcopy(network).eval().requires_grad_(False)

    def restore(self, checkpoint: Path) -> None:
        """Take over what `Watch` kept beside the trainer's own checkpoint."""
        if self.critic is not None:
            self.critic.load(checkpoint / _CRITIC)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Play and score as TRL does; replace one advantage an episode by one a token."""
        out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.critic is None:
            return out
        own = out["completion_mask"] * out["tool_mask"]
        counted = out["completion_mask"] if self.recipe.mask == "loss only" else own
        ids = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
        attention = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
        reward_B = torch.tensor([each.reward for each in self.batch.episodes], device=ids.device)
        lesson = self.critic.learn(
            Experience(
                ids_B_L=ids,
                attention_B_L=attention,
                own_B_T=own,
                counted_B_T=counted,
                reward_B=reward_B,
                charge_B_T=self._charge(ids, attention, own),
            )
        )
        self._metrics["train"]["critic_loss"].append(lesson.loss)
        warming_up = self.state.global_step // self.recipe.updates < self.recipe.critic.warm_up
        out["advantages"] = lesson.advantage_B_T * (0.0 if warming_up else 1.0)
        return out

    def _charge(self, ids: Any, attention: Any, own: Any) -> Any:  # noqa: ANN401
        if self.reference is None:
            return None
        policy, reply = self.accelerator.unwrap_model(self.model), own.size(1)
        now = token_logprobs(policy, ids, attention, reply=reply)
        before = token_logprobs(self.reference, ids, attention, reply=reply)
        divergence = now - before
        self._metrics["train"]["kl"].append(float((divergence * own).sum() / own.sum()))
        return self.recipe.kl * divergence


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Hands each step's numbers to the curve, and keeps the critic with the checkpoint."""

    def __init__(self, trainer: Trainer, curve: Curve) -> None:
        self._trainer = trainer
        self._curve = curve

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401
        """Pass on what the trainer reports of a step."""
        logs = more["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        batch = self._trainer.batch
        names = {"loss", "grad_norm", "learning_rate", "entropy", "kl", "reward_std", "critic_loss"}
        numbers = {name: float(logs[name]) for name in sorted(names & logs.keys())}
        vitals = replace(batch.vitals, kl=numbers.get("kl"))
        point = Point(vitals=vitals, numbers={**numbers, **batch.facts})
        if self._curve(point):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401
        """Write the critic into the checkpoint."""
        if self._trainer.critic is not None:
            kept = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self._trainer.critic.save(kept / _CRITIC)


class Said(transformers.TrainerCallback):  # type: ignore[misc]
    """Passes on the loss of the warm start."""

    def __init__(self, say: Callable[[int, float], None]) -> None:
        self._say = say

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401
        """Pass on a step's loss."""
        del args, control
        if "loss" in more["logs"]:
            self._say(state.global_step, float(more["logs"]["loss"]))
