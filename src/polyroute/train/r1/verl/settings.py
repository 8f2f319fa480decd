"""Our setting in the words of verl 0.9.1: dotted keys and values for Hydra.

The one decision here: what cannot be said is refused, never approximated. verl leaves tokens that
the policy did not write out of loss, advantages and divergence, so our ``mask`` has to be
``everywhere``.

References
----------
The keys: verl/trainer/config of verl 0.9.1. Sheng et al., HybridFlow, arXiv:2409.19256.
"""

from collections.abc import Mapping
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.train.r1.recipe import Reinforcement
from polyroute.train.r1.setting import Machines, Setting
from polyroute.train.r1.verl.rows import AGENT
from polyroute.types import Json

__all__ = ["LOOP", "hydra", "loop_settings", "settings"]

LOOP = "polyroute.train.r1.verl._agent_loop.RouteAgentLoop"
"""Where verl finds the agent loop."""

_ESTIMATORS = {"ppo": "gae", "grpo": "grpo", "rloo": "rloo"}


def settings(setting: Setting, folder: Path) -> dict[str, Json]:
    """Return what verl is told, by dotted key.

    Parameters
    ----------
    setting : Setting
    folder : Path
        Of the run, as every machine sees it: rows, checkpoints, the agent loop's settings.

    Raises
    ------
    ConfigError
        If verl cannot do what `setting` asks.
    """
    recipe = setting.reinforcement
    if recipe.mask != "everywhere":
        raise ConfigError(
            f"verl masks what the policy did not write everywhere; mask {recipe.mask!r} is for "
            "the engine trl"
        )
    if recipe.schedule != "constant":
        raise ConfigError(
            f"verl has no {recipe.schedule!r} schedule of the learning rate, only a constant one "
            "here; schedule: linear is for the engine trl"
        )
    if recipe.questions % recipe.minibatches:
        raise ConfigError(
            f"verl divides a batch by questions: {recipe.questions} are not "
            f"{recipe.minibatches} equal parts"
        )
    return {
        **_algorithm(recipe),
        **_data(setting, folder),
        **_actor(setting),
        **_sampled(setting, folder),
        **(_critic(setting) if recipe.algorithm == "ppo" else {}),
        **_trainer(setting, folder),
    }


def loop_settings(setting_file: Path) -> list[dict[str, Json]]:
    """Return what the file of ``agent_loop_config_path`` says."""
    return [{"name": AGENT, "_target_": LOOP, "setting": str(setting_file)}]


def hydra(told: Mapping[str, Json]) -> list[str]:
    """Return `told` as arguments of verl's command.

    Examples
    --------
    >>> hydra({"trainer.logger": ["console"], "a.b": None, "a.on": True, "a.text": "so, so"})
    ['trainer.logger=["console"]', 'a.b=null', 'a.on=true', "a.text='so, so'"]
    """
    return [f"{key}={_word(value)}" for key, value in told.items()]


def _algorithm(recipe: Reinforcement) -> dict[str, Json]:
    in_reward = recipe.algorithm == "ppo" and recipe.kl > 0
    return {
        "algorithm.adv_estimator": _ESTIMATORS[recipe.algorithm],
        "algorithm.gamma": recipe.critic.gamma,
        "algorithm.lam": recipe.critic.lam,
        "algorithm.norm_adv_by_std_in_grpo": recipe.algorithm == "grpo",
        "algorithm.use_kl_in_reward": in_reward,
        "algorithm.kl_penalty": "kl",  # the difference of the log-probabilities
        "algorithm.kl_ctrl.type": "fixed",
        "algorithm.kl_ctrl.kl_coef": recipe.kl,
    }


def _data(setting: Setting, folder: Path) -> dict[str, Json]:
    return {
        "data.train_files": str(folder / "train.parquet"),
        "data.val_files": str(folder / "val.parquet"),
        "data.train_batch_size": setting.reinforcement.questions,
        "data.max_prompt_length": setting.prompt_tokens,
        "data.max_response_length": setting.reply_tokens,
        "data.return_raw_chat": True,
        "data.filter_overlong_prompts": False,  # the policy writes the prompt, later
        "data.shuffle": False,  # the rows are in the order of the seed
        "data.seed": setting.seed,
    }


def _actor(setting: Setting) -> dict[str, Json]:
    recipe, machines = setting.reinforcement, setting.machines
    in_loss = recipe.algorithm != "ppo" and recipe.kl > 0
    told: dict[str, Json] = {
        "actor_rollout_ref.model.path": setting.model,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        "actor_rollout_ref.actor.strategy": machines.strategy,
        "actor_rollout_ref.actor.optim.lr": recipe.learning_rate,
        "actor_rollout_ref.actor.optim.weight_decay": 0.0,
        "actor_rollout_ref.actor.grad_clip": recipe.max_grad_norm,
        "actor_rollout_ref.actor.clip_ratio": recipe.clip,
        "actor_rollout_ref.actor.clip_ratio_low": recipe.clip,
        "actor_rollout_ref.actor.clip_ratio_high": recipe.clip,
        "actor_rollout_ref.actor.ppo_epochs": recipe.epochs,
        "actor_rollout_ref.actor.ppo_mini_batch_size": recipe.questions // recipe.minibatches,
        "actor_rollout_ref.actor.use_dynamic_bsz": True,
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": _room(setting),
        "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
        "actor_rollout_ref.actor.entropy_coeff": 0.0,
        "actor_rollout_ref.actor.use_kl_loss": in_loss,
        "actor_rollout_ref.actor.kl_loss_coef": recipe.kl,
        "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
        **_offloaded("actor_rollout_ref.actor.fsdp_config", machines),
        "actor_rollout_ref.ref.fsdp_config.param_offload": machines.offload,
    }
    if recipe.lora is not None:
        told |= {
            "actor_rollout_ref.model.lora_rank": recipe.lora.rank,
            "actor_rollout_ref.model.lora_alpha": recipe.lora.alpha,
            "actor_rollout_ref.model.target_modules": list(recipe.lora.targets),
            "actor_rollout_ref.rollout.load_format": "safetensors",
        }
    return told


def _sampled(setting: Setting, folder: Path) -> dict[str, Json]:
    recipe, machines = setting.reinforcement, setting.machines
    params = setting.game().policy.router_params or {}
    return {
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": recipe.group,
        "actor_rollout_ref.rollout.temperature": params.get("temperature", 1.0),
        "actor_rollout_ref.rollout.top_p": params.get("top_p", 1.0),
        "actor_rollout_ref.rollout.tensor_model_parallel_size": machines.tensor_parallel,
        "actor_rollout_ref.rollout.gpu_memory_utilization": machines.gpu_memory,
        "actor_rollout_ref.rollout.max_model_len": setting.prompt_tokens + setting.reply_tokens,
        "actor_rollout_ref.rollout.calculate_log_probs": True,
        "actor_rollout_ref.rollout.val_kwargs.temperature": 0,
        "actor_rollout_ref.rollout.agent.num_workers": machines.workers,
        "actor_rollout_ref.rollout.agent.default_agent_loop": AGENT,
        "actor_rollout_ref.rollout.agent.agent_loop_config_path": str(folder / "agent_loop.yaml"),
    }


def _critic(setting: Setting) -> dict[str, Json]:
    recipe, machines = setting.reinforcement, setting.machines
    return {
        "critic.model.path": setting.model,
        "critic.model.enable_gradient_checkpointing": True,
        "critic.strategy": machines.strategy,
        "critic.optim.lr": recipe.critic.learning_rate,
        "critic.optim.weight_decay": 0.0,
        "critic.grad_clip": recipe.max_grad_norm,
        "critic.cliprange_value": recipe.critic.value_clip,
        "critic.ppo_max_token_len_per_gpu": _room(setting),
        **_offloaded("critic.fsdp", machines),
    }


def _trainer(setting: Setting, folder: Path) -> dict[str, Json]:
    recipe, machines = setting.reinforcement, setting.machines
    return {
        "trainer.critic_warmup": recipe.critic.warm_up if recipe.algorithm == "ppo" else 0,
        "trainer.total_training_steps": recipe.steps,
        "trainer.total_epochs": 1,
        "trainer.save_freq": recipe.save_every,
        "trainer.test_freq": recipe.save_every,
        "trainer.val_before_train": True,
        "trainer.nnodes": machines.nodes,
        "trainer.n_gpus_per_node": machines.gpus,
        "trainer.project_name": "polyroute",
        "trainer.experiment_name": folder.name,
        "trainer.default_local_dir": str(folder / "checkpoints"),
        "trainer.logger": ["console"],
    }


def _offloaded(at: str, machines: Machines) -> dict[str, Json]:
    return {
        f"{at}.param_offload": machines.offload,
        f"{at}.optimizer_offload": machines.offload,
    }


def _room(setting: Setting) -> int:
    """Return the most tokens of a pass: the longest episode has to fit."""
    return max(setting.machines.tokens_per_gpu, setting.prompt_tokens + setting.reply_tokens)


def _word(value: Json) -> str:
    """Return a value as Hydra's grammar of overrides reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(_quoted(each) for each in value)}]"
    if isinstance(value, str):
        plain = all(letter.isalnum() or letter in "/._-" for letter in value) and value
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if plain else f"'{escaped}'"
    return repr(value)


def _quoted(value: Json) -> str:
    return f'"{value}"' if isinstance(value, str) else _word(value)
