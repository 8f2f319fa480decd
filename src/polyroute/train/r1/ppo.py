"""PPO's critic: what an episode is worth before each token, and how that is learned.

The one decision here: the critic is a copy of the policy's own network with a head of one number,
as in Router-R1, and it learns from the tokens the policy wrote and from no others.

References
----------
Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347. Zhang, Feng and You,
Router-R1, arXiv:2506.09033: a critic of the policy's size, value clipping at 0.5. Its code computes
advantages and critic targets over observation tokens too (`mask="loss only"` of the recipe).
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from polyroute.backends.transformers.extra import torch
from polyroute.train.r1.advantages import gae, token_rewards, whiten
from polyroute.train.r1.recipe import Critic

__all__ = ["CriticLearner", "Experience", "Lesson", "token_logprobs"]

_Tensor: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experience:
    """A batch of episodes as tensors: prompts padded on the left, replies on the right."""

    ids_B_L: _Tensor
    """Prompt and reply."""
    attention_B_L: _Tensor
    own_B_T: _Tensor
    """1 for the tokens of the reply that the policy wrote."""
    counted_B_T: _Tensor
    """1 for the tokens of the reply that advantages and values are of."""
    reward_B: _Tensor
    charge_B_T: _Tensor | None = None
    """What each own token is charged for its divergence from the start."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What the critic makes of a batch."""

    advantage_B_T: _Tensor
    """Whitened; for the policy."""
    loss: float
    """The critic's own, in its last pass."""


class CriticLearner:
    """The critic and its optimiser.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model whose network the critic starts from.
    recipe : Critic
        Its numbers.
    epochs, minibatches : int
        Passes over a batch and updates per pass, as for the policy.
    max_grad_norm : float, default=1.0
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        recipe: Critic,
        *,
        epochs: int = 1,
        minibatches: int = 1,
        max_grad_norm: float = 1.0,
    ) -> None:
        lib = torch()
        self.recipe = recipe
        self.epochs = epochs
        self.minibatches = minibatches
        self.max_grad_norm = max_grad_norm
        self.network = copy.deepcopy(model.base_model).requires_grad_(True)
        self.head = lib.nn.Linear(model.config.get_text_config().hidden_size, 1)
        lib.nn.init.zeros_(self.head.weight)
        lib.nn.init.zeros_(self.head.bias)
        self.head.to(model.device)
        self.optimizer = lib.optim.AdamW(self._parameters(), lr=recipe.learning_rate)

    def values(self, ids_B_L: _Tensor, attention_B_L: _Tensor, reply: int) -> _Tensor:
        """Return the value before each of the last `reply` tokens, shape (B, T)."""
        hidden = self.network(input_ids=ids_B_L, attention_mask=attention_B_L).last_hidden_state
        return self.head(hidden[:, -reply - 1 : -1].float()).squeeze(-1)

    def learn(self, seen: Experience) -> Lesson:
        """Return the advantages of a batch, and then learn from its returns."""
        lib = torch()
        reply = seen.counted_B_T.size(1)
        with lib.no_grad():
            old_B_T = self.values(seen.ids_B_L, seen.attention_B_L, reply)
        counted = seen.counted_B_T.bool().cpu().numpy()
        charge = None if seen.charge_B_T is None else seen.charge_B_T.double().cpu().numpy()
        own = seen.own_B_T.bool().cpu().numpy()
        reward = token_rewards(seen.reward_B.double().cpu().numpy(), counted, own, charge)
        values = old_B_T.double().cpu().numpy()
        raw = gae(reward, values, counted, gamma=self.recipe.gamma, lam=self.recipe.lam)
        return_B_T = lib.as_tensor(raw.return_B_T).to(old_B_T)
        advantage = lib.as_tensor(whiten(raw.advantage_B_T, counted)).to(old_B_T)
        losses = [self._pass(seen, old_B_T, return_B_T) for _ in range(self.epochs)]
        return Lesson(advantage, losses[-1])

    def save(self, path: Path) -> None:
        """Write the critic and its optimiser."""
        torch().save(
            {
                "network": self.network.state_dict(),
                "head": self.head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            path,
        )

    def load(self, path: Path) -> None:
        """Take over what `save` wrote; nothing but tensors and plain values is read."""
        kept = torch().load(path, weights_only=True)
        self.network.load_state_dict(kept["network"])
        self.head.load_state_dict(kept["head"])
        self.optimizer.load_state_dict(kept["optimizer"])

    def _pass(self, seen: Experience, old_B_T: _Tensor, return_B_T: _Tensor) -> float:
        """Learn from every episode once."""
        lib = torch()
        losses = []
        for part in lib.arange(seen.ids_B_L.size(0)).tensor_split(self.minibatches):
            reply = seen.counted_B_T.size(1)
            value = self.values(seen.ids_B_L[part], seen.attention_B_L[part], reply)
            loss = self._loss(value, old_B_T[part], return_B_T[part], seen.counted_B_T[part])
            self.optimizer.zero_grad()
            loss.backward()
            lib.nn.utils.clip_grad_norm_(self._parameters(), self.max_grad_norm)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _loss(self, value: _Tensor, old: _Tensor, target: _Tensor, counted: _Tensor) -> _Tensor:
        clip = self.recipe.value_clip
        near = old + (value - old).clamp(-clip, clip)
        error = torch().maximum((value - target) ** 2, (near - target) ** 2) / 2
        return (error * counted).sum() / counted.sum().clamp(min=1)

    def _parameters(self) -> list[Any]:
        return [*self.network.parameters(), *self.head.parameters()]


def token_logprobs(
    model: Any,  # noqa: ANN401
    ids_B_L: _Tensor,
    attention_B_L: _Tensor,
    *,
    reply: int,
) -> _Tensor:
    """Return the log-probability of each of the last `reply` tokens, shape (B, T), no gradient."""
    with torch().no_grad():
        logits = model(input_ids=ids_B_L, attention_mask=attention_B_L).logits
    logprobs = logits[:, -reply - 1 : -1].float().log_softmax(-1)
    return logprobs.gather(2, ids_B_L[:, -reply:, None]).squeeze(2)
