"""Reinforcement learning of the router: GRPO, RLOO and PPO on TRL's trainer, over our episodes.

The one decision here: the trainer is given tokens as they were sampled and a mask of those the
policy wrote, and nothing of what it computes is changed but, for PPO, where advantages come from.
It is used through three seams, each with a test: ``rollout_func`` with ``env_mask``, advantages of
shape (B, T), and log-probabilities, which are computed on rows without their padding and for the
tokens that are learnt. RLOO is GRPO without the division by the group's deviation: its advantage is
(G - 1) / G times the leave-one-out one.

References
----------
Shao et al., DeepSeekMath, arXiv:2402.03300 (GRPO). Ahmadian et al., Back to basics,
arXiv:2402.14740 (RLOO). PPO: see `polyroute.train.r1.ppo`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.train.r1.monitor import Vitals
from polyroute.train.r1.ranks import (
    gathered,
    mean_facts,
    per_process,
    refuse_divided,
    together,
    world_size,
)
from polyroute.train.r1.recipe import Lora, Reinforcement

__all__ = [
    "Batch", "Curve", "Play", "Point", "Sampled", "checkpoints", "extra", "halved", "lora_config",
    "reinforce",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One episode as the trainer learns from it."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    """Everything after the prompt, as it was sampled or observed."""
    own: Sequence[int]
    """1 for the tokens that the policy sampled."""
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Episodes of one step, those of a question side by side."""

    episodes: Sequence[Sampled]
    vitals: Vitals
    facts: Mapping[str, float] = field(default_factory=dict)
    """More to log: dollars, tokens."""


Play: TypeAlias = Callable[[Any, int, slice], Batch]
"""Play the episodes of a batch: the model as it is now, the number of the batch, and which of its
episodes. The same arguments and weights give the same episodes: then a run can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of the curve."""

    vitals: Vitals
    numbers: Mapping[str, float]
    """What the trainer reports (loss, entropy, gradient norm, learning rate), and the facts."""


Curve: TypeAlias = Callable[[Point], bool]
"""Takes each step's point; what it returns says whether to stop."""


def reinforce(
    model: Any,  # noqa: ANN401 - a causal language model of transformers
    tokenizer: Any,  # noqa: ANN401
    recipe: Reinforcement,
    play: Play,
    *,
    folder: Path,
    curve: Curve,
) -> Any:  # noqa: ANN401
    """Train `model` in place and return it (with its adapter, when the recipe has one).

    The run resumes from the last checkpoint in `folder`, if there is one, and then gives the same
    curve as a run that was never stopped.

    Parameters
    ----------
    model, tokenizer
        Of transformers. With ``kl`` and without an adapter, a copy of the model is the reference.
    recipe : Reinforcement
        The numbers.
    play : callable
        Plays the episodes of a batch.
    folder : Path
        Where checkpoints go.
    curve : callable
        Takes each step's point; when it returns True, training stops. With several processes it is
        called in each, with the same point.

    Raises
    ------
    ConfigError
        If the batch does not divide among the processes, the launcher would divide the weights, or
        PPO is asked of several.
    """
    refuse_divided()
    if recipe.algorithm == "ppo" and world_size() > 1:
        raise ConfigError(
            "the critic of ppo learns in one process; train with grpo or rloo here, or with verl"
        )
    own = _own()
    trainer = own.Trainer(
        model=model,
        reward_funcs=[_rewarded],
        args=_arguments(recipe, folder),
        train_dataset=_rows(recipe),
        processing_class=tokenizer,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora),
        rollout_func=_rollout(recipe, play),
    )
    trainer.remove_callback(extra("transformers").PrinterCallback)
    trainer.prepare(recipe)
    trainer.add_callback(own.Watch(trainer, curve))
    found = checkpoints(folder)
    if found:
        trainer.restore(found[-1])
    trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    return trainer.accelerator.unwrap_model(trainer.model)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first; one that was cut short is left out."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return sorted(complete, key=lambda path: int(path.name.rpartition("-")[2]))


def halved(wanted: bool) -> bool:
    """Return whether products are computed in bfloat16.

    On a GPU they are. On a CPU that has matrix units for it (AMX) they are where that is `wanted`;
    one that has only vector instructions for it takes longer than in single precision.
    """
    torch = extra("torch")
    units: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(torch.cuda.is_available() or (wanted and units.get("amx_bf16")))


def lora_config(lora: Lora) -> Any:  # noqa: ANN401 - peft's own
    """Return the adapter as peft describes it."""
    return extra("peft").LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )


def _arguments(recipe: Reinforcement, folder: Path) -> Any:  # noqa: ANN401
    per_update = recipe.episodes // recipe.minibatches
    micro, passes = per_process(per_update, micro=recipe.micro, processes=world_size())
    cuda = extra("torch").cuda.is_available()
    return extra("trl").GRPOConfig(
        output_dir=str(folder),
        max_steps=recipe.steps * recipe.updates,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes * recipe.minibatches,
        num_iterations=recipe.epochs,
        num_generations=max(2, recipe.group),
        max_completion_length=None,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        max_grad_norm=recipe.max_grad_norm,
        beta=0.0 if recipe.algorithm == "ppo" else recipe.kl,
        epsilon=recipe.clip,
        loss_type="dapo",
        scale_rewards="group" if recipe.algorithm == "grpo" else "none",
        temperature=recipe.temperature,
        shuffle_dataset=False,
        logging_steps=recipe.updates,
        save_steps=recipe.save_every * recipe.updates,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not cuda,
        bf16=halved(recipe.half),
        gradient_checkpointing=cuda,
        seed=recipe.seed,
        remove_unused_columns=False,
    )


def _rows(recipe: Reinforcement) -> Any:  # noqa: ANN401
    """Return rows that only say how many episodes a batch has: `play` knows the questions."""
    per_batch = recipe.episodes // max(2, recipe.group)
    rows = [str(k) for k in range(per_batch * recipe.steps)]
    return extra("datasets").Dataset.from_dict({"prompt": rows})


def _rewarded(*, reward: Sequence[float], **_columns: object) -> list[float]:
    """Return the rewards that came with the episodes."""
    return list(reward)


def _rollout(recipe: Reinforcement, play: Play) -> Callable[[list[str], Any], dict[str, Any]]:
    def roll_out(prompts: list[str], trainer: Any) -> dict[str, Any]:  # noqa: ANN401
        first = trainer.accelerator.process_index * len(prompts)
        number = trainer.state.global_step // recipe.updates
        model = trainer.accelerator.unwrap_model(trainer.model)
        batch = play(model, number, slice(first, first + len(prompts)))
        if len(batch.episodes) != len(prompts):
            raise ConfigError(f"{len(prompts)} episodes were asked for, got {len(batch.episodes)}")
        parts = gathered((batch.vitals, dict(batch.facts)))
        whole = together([vitals for vitals, _ in parts])
        trainer.batch = replace(batch, vitals=whole, facts=mean_facts([f for _, f in parts]))
        everything = recipe.mask == "none"
        return {
            "prompt_ids": [list(each.prompt_ids) for each in batch.episodes],
            "completion_ids": [list(each.ids) for each in batch.episodes],
            "env_mask": [
                [1] * len(each.ids) if everything else list(each.own) for each in batch.episodes
            ],
            "logprobs": None,
            "reward": [each.reward for each in batch.episodes],
        }

    return roll_out


def _own() -> Any:  # noqa: ANN401 - a module
    """Import what is built on the trainer's classes: it takes seconds, and needs the extra."""
    return extra("polyroute.train.r1._trainer")


def extra(name: str) -> Any:  # noqa: ANN401 - a module
    """Import a module of the extra, or one that needs it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training a router needs the package {error.name!r}; run: "
            "pip install 'polyroute[train]'"
        ) from error
