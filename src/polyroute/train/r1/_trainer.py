"""What is built on TRL's classes: its trainer with a critic, and a look at every step.

Importing this takes seconds; `polyroute.train.r1.rl` does it when a run begins.
"""

import copy
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import trl

from polyroute.train.r1._scoring import cast_once, scored_alone, shared_start
from polyroute.train.r1.ppo import CriticLearner, Experience, token_logprobs
from polyroute.train.r1.recipe import Reinforcement
from polyroute.train.r1.rl import Batch, Curve, Point

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the seam is pinned and tested

__all__ = ["Packed", "Trainer", "Watch"]

_CRITIC = "critic.pt"

_ROWS = 16
"""Episodes that go through the model together, at most: few, to be of about the same length."""


class Trainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, without padding; for PPO the advantages come from a critic."""

    batch: Batch
    critic: CriticLearner | None = None
    recipe: Reinforcement
    reference: Any = None
    learnt_B_T: Any = None
    """1 for the tokens of a pass that are learnt; `None`: all of the completions."""
    taught_B: Any = None
    """Which rows of a pass teach something; `None`: all."""

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
            if self._in_parts():
                out["advantages"] *= self._differ()  # exactly nothing, not what rounding leaves
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

    def _compute_loss(self, model: Any, inputs: Any) -> Any:  # noqa: ANN401
        """Compute TRL's loss, for which only the tokens that are learnt need be scored."""
        self.learnt_B_T = inputs.get("tool_mask")
        if self._in_parts():
            self.taught_B = inputs["advantages"] != 0
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self.learnt_B_T = self.taught_B = None

    def _in_parts(self) -> bool:
        """Return whether rows without an advantage may be left out: then nothing else is learnt."""
        alone = self.accelerator.num_processes == 1
        return alone and self.critic is None and not self.recipe.kl

    def _differ(self) -> Any:  # noqa: ANN401
        """Return, for each episode of the batch, whether those of its question differ in reward.

        Where all of a question earn the same, none of them says what is better.
        """
        rewards = torch.tensor(
            [each.reward for each in self.batch.episodes], device=self.accelerator.device
        )
        reward_Q_G = rewards.view(-1, max(2, self.recipe.group))
        return (reward_Q_G != reward_Q_G[:, :1]).any(1).repeat_interleave(reward_Q_G.size(1))

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,  # noqa: ANN401
        input_ids: Any,  # noqa: ANN401
        attention_mask: Any,  # noqa: ANN401
        logits_to_keep: int,
        batch_size: int | None = None,
        **more: Any,  # noqa: ANN401
    ) -> tuple[Any, Any, Any]:
        """Compute what TRL does, on rows of about the same length, without their padding.

        And for the tokens that are learnt only, where TRL scores all that are not on a GPU: each
        costs as much as a layer does, when there are 49,000 words to choose from. Rows that teach
        nothing stay out; they get the others' mean entropy, which is only reported.
        """
        if self._whole(more):
            whole: tuple[Any, Any, Any] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size=batch_size, **more
            )
            return whole
        learnt = attention_mask[:, -logits_to_keep:]
        if self.learnt_B_T is not None:
            learnt = learnt * self.learnt_B_T
        parts = []
        rows_B = self._shortest_first(attention_mask.sum(1))
        for rows in rows_B.split(min(_ROWS, batch_size or _ROWS)):
            packed = Packed.of(
                input_ids[rows], attention_mask[rows], learnt[rows], kept=logits_to_keep
            )
            parts.append([packed.unpacked(value) for value in self._scores(model, packed)])
        scores, found = zip(*parts, strict=True)
        logps = torch.cat(scores)
        entropies = None
        if found[0] is not None:
            entropies = torch.cat(found)
            mean = entropies.sum() / learnt[rows_B].sum().clamp(min=1)
            entropies = mean.expand(learnt.shape).index_copy(0, rows_B, entropies)
        return logps.new_zeros(learnt.shape).index_copy(0, rows_B, logps), entropies, None

    def _shortest_first(self, length_B: Any) -> Any:  # noqa: ANN401
        """Return the rows that must go through the model; one, where none teaches anything."""
        rows_B = length_B.argsort()
        taught_B = self.taught_B
        if self.learnt_B_T is None and self._in_parts():  # the batch was just played
            taught_B = self._differ()
        if taught_B is None:
            return rows_B
        taught = rows_B[taught_B[rows_B]]
        return taught if len(taught) else rows_B[:1]

    def _scores(self, model: Any, packed: "Packed") -> tuple[Any, Any]:  # noqa: ANN401
        """Return log-probabilities and entropies of the learnt tokens of the last columns.

        Of a reference model there are no entropies.
        """
        wanted = packed.ids_B_L.masked_fill(~packed.learnt_B_L, -100)
        # nobody looks forward, so padding on the right needs no mask
        on_cpu = self.accelerator.device.type == "cpu"
        start = shared_start(self.accelerator.unwrap_model(model)) if on_cpu else nullcontext()
        with self.accelerator.autocast(), scored_alone(), cast_once(model, self.args.bf16), start:
            out = model(input_ids=packed.ids_B_L, labels=wanted, fused_lm_head=True)
        entropy = None if out.entropy is None else out.entropy[:, -packed.kept :]
        return out.log_probs[:, -packed.kept :], entropy

    def _whole(self, more: Mapping[str, Any]) -> bool:
        """Return whether a batch must go through the model in one piece: processes keep in step."""
        images = any(value is not None for name, value in more.items() if "compute" not in name)
        return images or more.get("compute_aux_loss") or self.accelerator.num_processes > 1

    def _charge(self, ids: Any, attention: Any, own: Any) -> Any:  # noqa: ANN401
        if self.reference is None:
            return None
        policy, reply = self.accelerator.unwrap_model(self.model), own.size(1)
        now = token_logprobs(policy, ids, attention, reply=reply)
        before = token_logprobs(self.reference, ids, attention, reply=reply)
        divergence = now - before
        self._metrics["train"]["kl"].append(float((divergence * own).sum() / own.sum()))
        return self.recipe.kl * divergence


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of prompt and completion without the padding between and before them."""

    ids_B_L: torch.Tensor
    """Each row's tokens from the first column on; padded on the right."""
    learnt_B_L: torch.Tensor
    """Which of them are scored."""
    kept: int
    """Last columns that hold every row's completion."""
    columns_B_T: torch.Tensor
    """Where in those columns a completion's tokens are; for padding, the last one."""
    learnt_B_T: torch.Tensor

    @classmethod
    def of(
        cls,
        ids_B_L: torch.Tensor,
        mask_B_L: torch.Tensor,
        learnt_B_T: torch.Tensor,
        *,
        kept: int,
    ) -> "Packed":
        """Pack rows whose last `kept` columns are the completion, padded on the right.

        The prompt before it is padded on the left. Of the completion, what `learnt_B_T` says is
        scored.
        """
        length_B = mask_B_L.sum(1)
        prompt_B = mask_B_L[:, :-kept].sum(1)
        longest = int(length_B.max())
        first_B = mask_B_L.argmax(1)
        columns_L = torch.arange(longest, device=ids_B_L.device)
        taken_B_L = (first_B[:, None] + columns_L).clamp(max=ids_B_L.size(1) - 1)
        keep = longest - int(prompt_B.min())
        columns_B_T = prompt_B[:, None] + torch.arange(kept, device=ids_B_L.device)
        learnt_B_L = torch.cat([torch.zeros_like(mask_B_L[:, :-kept]), learnt_B_T], dim=1)
        real_B_L = columns_L < length_B[:, None]
        return cls(
            ids_B_L=ids_B_L.gather(1, taken_B_L),
            learnt_B_L=learnt_B_L.gather(1, taken_B_L).bool() & real_B_L,
            kept=keep,
            columns_B_T=(columns_B_T - (longest - keep)).clamp(max=keep - 1),
            learnt_B_T=learnt_B_T.bool(),
        )

    def unpacked(self, value_B_K: torch.Tensor | None) -> torch.Tensor | None:
        """Return what stands at each token of the completion; zero for those not scored."""
        if value_B_K is None:
            return None
        return value_B_K.gather(1, self.columns_B_T) * self.learnt_B_T


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
