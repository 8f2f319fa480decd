"""What a training run is told: task and model, warm start, reinforcement learning, judgement."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from polyroute.errors import ConfigError
from polyroute.tasks.atlas.teacher import Style

__all__ = [
    "Algorithm", "Critic", "Imitation", "Lora", "Mask", "Reinforcement", "RunPlan", "Without",
]  # fmt: skip

Algorithm: TypeAlias = Literal["grpo", "rloo", "ppo"]

Mask: TypeAlias = Literal["everywhere", "loss only", "none"]
"""Where tokens that the policy did not write are left out: from the loss, advantages, divergence
and critic targets; from the loss alone, as the code of Router-R1 has it; or nowhere."""

Without: TypeAlias = Literal["format", "cost"]
"""A part of the reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Train a low-rank adapter and leave the model as it is.

    References
    ----------
    Hu et al., LoRA, arXiv:2106.09685.
    """

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    """Names of the layers that get an adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imitation:
    """The warm start: imitate the teachers' traces."""

    traces: int = 8_000
    steps: int = 1_500
    batch: int = 32
    """Traces per step."""
    micro_batch: int = 32
    """Traces per forward pass."""
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon is for whole models from scratch: there it needs a fraction of Adam's steps."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises."""
    seed: int = 0
    """Of the order of the traces."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up."""
    lora: Lora | None = None
    half: bool = False
    """Whether a CPU with matrix units for it (AMX) computes products in bfloat16, which there is
    nearly twice as fast for a large model; the weights that learn stay in single precision. A GPU
    does so always, any other CPU never: it would take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Critic:
    """How PPO's critic learns. The defaults are the paper's.

    References
    ----------
    Zhang, Feng and You, Router-R1, arXiv:2506.09033, appendix, and its code.
    """

    learning_rate: float = 1e-5
    gamma: float = 1.0
    lam: float = 1.0
    value_clip: float = 0.5
    """Most that a value may move from the old one in the loss."""
    warm_up: int = 0
    """First steps in which only the critic learns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforcement:
    """Reinforcement learning on episodes.

    Raises
    ------
    ConfigError
        If the sizes do not divide.
    """

    algorithm: Algorithm = "grpo"
    """GRPO divides what an episode is better by through the spread of its question's episodes: a
    saving of a hundredth then counts as much as a right answer, and a candidate that is cheap and
    right more often than not is preferred to one that is right nearly always. RLOO does not
    (Liu et al., arXiv:2503.20783, on the same division)."""
    steps: int = 80
    """Batches of episodes."""
    questions: int = 8
    """Questions per batch."""
    group: int = 8
    """Episodes per question; GRPO and RLOO compare within it and need two."""
    temperature: float = 1.0
    """At which episodes are sampled, and of the probabilities that are learnt. Below 1 a model with
    a large vocabulary strays less: every token is a chance to leave the protocol."""
    epochs: int = 1
    """Passes over a batch of episodes."""
    minibatches: int = 1
    """Updates per pass."""
    micro_batch: int = 64
    """Episodes per forward pass."""
    learning_rate: float = 1e-4
    schedule: Literal["constant", "linear"] = "constant"
    """How the learning rate goes on: as it is, or down to nothing at the last step."""
    kl: float = 0.0
    """Weight of the divergence from the start: in the loss for GRPO and RLOO, in the reward of
    each own token for PPO."""
    clip: float = 0.2
    max_grad_norm: float = 1.0
    mask: Mask = "everywhere"
    critic: Critic = field(default_factory=Critic)
    lora: Lora | None = None
    """For a model that has no adapter yet; one from the warm start is trained further."""
    half: bool = False
    """As in `Imitation`."""
    save_every: int = 20
    """Batches between checkpoints."""
    seed: int = 0
    """Of everything the trainer draws."""

    def __post_init__(self) -> None:
        if self.algorithm != "ppo" and self.group < 2:
            raise ConfigError(f"{self.algorithm} compares episodes of a question: group >= 2")
        if self.episodes % self.minibatches:
            raise ConfigError(
                f"{self.episodes} episodes do not divide into {self.minibatches} parts"
            )
        if (self.episodes // self.minibatches) % self.micro:
            raise ConfigError(f"{self.micro} episodes do not divide an update's evenly")

    @property
    def episodes(self) -> int:
        """Episodes per batch."""
        return self.questions * self.group

    @property
    def micro(self) -> int:
        """Episodes per forward pass: never more than an update has."""
        return min(self.micro_batch, self.episodes // self.minibatches)

    @property
    def updates(self) -> int:
        """Optimiser steps per batch of episodes."""
        return self.epochs * self.minibatches


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run is told."""

    task: str = "atlas-small"
    """Its name, or YAML with its parameters: ``{name: atlas-embedded, model: silent}``."""
    model: str = "tiny"
    """``tiny``, a transformer from scratch over the task's vocabulary; or what
    `polyroute.backends.transformers.Transformers` loads."""
    seed: int = 0
    teachers: tuple[Style, ...] = ("random", "mixed")
    """Whose traces are imitated, in equal parts."""
    recall: int = 0
    """Steps of `polyroute.train.r1.recall` before that, for a model from scratch; a few such
    exercises are among what is imitated after, too."""
    imitation: Imitation = field(default_factory=Imitation)
    reinforcement: Reinforcement = field(default_factory=Reinforcement)
    weight: float = 1.0
    """Of the cost in the reward."""
    without: Without | None = None
    """What the reward of the reinforcement lacks, to see what it is good for. Judgements have the
    whole reward."""
    worth: tuple[float, float] | None = None
    """Between these a question's willingness to pay is drawn, log-uniformly, where the task does
    not draw it: US dollars for one right answer."""
    gate: float = 0.85
    """What the imitator must come to before reinforcement, sampled, on the split ``val``: this
    share of its teachers' quality in questions not given up, and of how many they try."""
    attempts: int = 3
    """How often imitation is gone through, with traces of its own each time, until the gate is
    passed."""
    judged: int = 300
    """Held-out questions of every judgement."""
    max_turns: int = 6
    turn_tokens: int = 48
    """Most tokens of one turn."""
    remember_calls: bool = True
    """Whether candidates are asked the same thing once in a run; see `Cached`."""
