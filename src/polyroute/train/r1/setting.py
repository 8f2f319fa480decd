"""What reinforcement is told when it needs more than one process: one file for both engines.

The one decision here: the episode is described once, in the words of this project (task, policy,
reward, recipe), and each engine is told in its own words by a conversion. There is no warm start
in it: the model is one that follows instructions, or one that was warmed up before.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.spec import construct, filled
from polyroute.tasks.problem import Problem, Split, Task
from polyroute.train.r1.recipe import Reinforcement
from polyroute.train.r1.rollout import ROUTER, Game, malformed
from polyroute.types import Json, JsonObject

__all__ = ["Machines", "Setting", "Strategy", "claim", "read_setting"]

Strategy: TypeAlias = Literal["fsdp", "fsdp2"]
"""How the weights are divided among the GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What it runs on, where the engine is verl; the other one is told by its launcher.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    nodes: int = 1
    gpus: int = 4
    """Per node."""
    tensor_parallel: int = 1
    """GPUs that one copy of the sampling model is divided among."""
    gpu_memory: float = 0.6
    """Share of a GPU's memory that the sampling model may take, in (0, 1)."""
    strategy: Strategy = "fsdp2"
    offload: bool = False
    """Keep weights, gradients and optimiser state in main memory between uses."""
    tokens_per_gpu: int = 16_384
    """Most tokens of a forward and backward pass on one GPU."""
    workers: int = 8
    """Processes that run the episodes."""

    def __post_init__(self) -> None:
        for name in ("nodes", "gpus", "tensor_parallel", "tokens_per_gpu", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)!r}")
        if not 0 < self.gpu_memory < 1:
            raise ConfigError(f"gpu_memory is a share, above 0 and below 1; got {self.gpu_memory}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A run of reinforcement.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    task: str | Mapping[str, Json]
    """A name of the family ``tasks``, or an object of ``name`` and its parameters."""
    model: str
    """Folder or name on the hub of the model that is trained."""
    policy: Mapping[str, Json] = field(default_factory=dict)
    """Parameters of `polyroute.policies.router_r1.RouterR1`, without ``router``. What its turns
    are sampled with (``router_params``) is what both engines sample with."""
    reward: Mapping[str, Json] = field(default_factory=dict)
    """Parameters of `polyroute.rewards.router_r1.RouterR1Reward`."""
    reinforcement: Reinforcement = field(default_factory=Reinforcement)
    seed: int = 0
    judged: int = 200
    """Questions of the split ``val`` that are judged now and then."""
    prompt_tokens: int = 2048
    """Longest prompt."""
    reply_tokens: int = 4096
    """Longest episode after the prompt, observations included."""
    machines: Machines = field(default_factory=Machines)

    def __post_init__(self) -> None:
        for name in ("judged", "prompt_tokens", "reply_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)!r}")
        told = self._router_params().get("temperature", self.reinforcement.temperature)
        if told != self.reinforcement.temperature:
            raise ConfigError(
                f"the policy samples at temperature {told!r} and reinforcement.temperature is "
                f"{self.reinforcement.temperature!r}: what is learnt are the probabilities that "
                "were sampled from; leave it out of router_params"
            )

    def game(self) -> Game:
        """Return what all episodes have in common; in our form the grammar is the policy's own.

        Raises
        ------
        ConfigError
            If a parameter of the policy or of the reward is unknown or does not fit.
        """
        heat = self.reinforcement.temperature
        params = {"temperature": heat, **self._router_params()}
        values = {**self.policy, "router": ROUTER.id, "router_params": params}
        policy = filled(RouterR1, values, where="policy")
        reward = filled(RouterR1Reward, self.reward, where="reward")
        if reward.form == "polyroute":
            reward.malformed = malformed(policy)
        return Game(policy=policy, reward=reward)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of a split: in training, as many as the run has places for.

        Raises
        ------
        ConfigError
            If the task is unknown, or has no problem.
        """
        task: Task = construct("tasks", self.task, where="task")
        count = self.judged
        if split == "train":
            count = self.reinforcement.steps * self.reinforcement.questions
        found = task.problems(split, count, self.seed)
        if not found:
            raise ConfigError(f"task {task.name!r} has no problem in the split {split!r}")
        return found

    def _router_params(self) -> JsonObject:
        given = self.policy.get("router_params")
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"policy.router_params must be an object, got {given!r:.80}")
        return given or {}


def read_setting(path: Path) -> Setting:
    """Return the setting in a YAML file.

    Raises
    ------
    ConfigError
        If it cannot be read, or has a key or value that does not fit.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the setting {path}: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected keys and values, got {values!r:.80}")
    return filled(Setting, values, where=str(path))


def claim(setting_file: Path, folder: Path) -> Path:
    """Copy the setting into the folder of its run, and return the copy.

    Raises
    ------
    ConfigError
        If the folder holds a run of another setting.
    """
    text, kept = setting_file.read_text("utf-8"), folder / "setting.yaml"
    if kept.is_file() and kept.read_text("utf-8") != text:
        raise ConfigError(f"{folder} holds a run of another setting; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f".setting.{os.getpid()}"
    making.write_text(text, "utf-8")
    making.replace(kept)
    return kept
