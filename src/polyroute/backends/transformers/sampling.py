"""Choosing the next token of every row.

The one decision here: a row draws one number per token from a generator of its own, and takes the
token at which the cumulated probability passes it. So what a row says does not depend on the rows
that happen to share its batch, but for the rounding of the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyroute.backends.transformers.extra import torch

__all__ = ["Chosen", "Sampler", "choose"]


class Sampler:
    """How one turn is sampled.

    Parameters
    ----------
    temperature : float
        0 takes the most probable token.
    top_p : float
        Probability that the tokens which may be drawn have together, in (0, 1].
    seed : sequence of int
        What the draws depend on, and nothing else: of the episode, and of the turn in it.
    """

    def __init__(self, *, temperature: float, top_p: float, seed: Sequence[int]) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self._random = np.random.default_rng(seed)

    def draw(self) -> float:
        """Return the next number in [0, 1)."""
        return float(self._random.random())


@dataclass(frozen=True, slots=True)
class Chosen:
    """One token for each of B rows."""

    ids: list[int]
    logprobs: list[float]
    """Under the distribution the token was drawn from."""
    raw: list[float]
    """Under the model's own, before temperature and nucleus."""


def choose(logits_BV: Any, samplers: Sequence[Sampler]) -> Chosen:  # noqa: ANN401 - a tensor
    """Return the next token of every row.

    Parameters
    ----------
    logits_BV : Tensor of shape (B, V)
    samplers : sequence of Sampler, length B
    """
    lib = torch()
    logits_BV = logits_BV.float()
    own_BV = logits_BV.log_softmax(-1)
    drawn_BV = own_BV
    if any(s.temperature not in (0, 1) for s in samplers):
        heat = lib.tensor([s.temperature or 1.0 for s in samplers])
        drawn_BV = (logits_BV / heat[:, None]).log_softmax(-1)
    if any(s.top_p < 1 and s.temperature for s in samplers):
        drawn_BV = _nucleus(drawn_BV, [s.top_p if s.temperature else 1.0 for s in samplers])
    best_B = logits_BV.argmax(-1)
    if any(s.temperature for s in samplers):
        # double precision: 49,000 single-precision terms lose what a rare token has
        cumulated_BV = drawn_BV.double().exp().cumsum(-1)
        point_B = lib.tensor([s.draw() if s.temperature else 0.0 for s in samplers]).double()
        point_B = point_B * cumulated_BV[:, -1]
        ids_B = lib.searchsorted(cumulated_BV, point_B[:, None], right=True)[:, 0]
        greedy_B = lib.tensor([s.temperature == 0 for s in samplers])
        ids_B = best_B.where(greedy_B, ids_B.clamp(max=logits_BV.shape[-1] - 1))
    else:
        ids_B = best_B
    return Chosen(
        ids_B.tolist(),
        drawn_BV.gather(-1, ids_B[:, None])[:, 0].tolist(),
        own_BV.gather(-1, ids_B[:, None])[:, 0].tolist(),
    )


def _nucleus(logprobs_BV: Any, top_p: list[float]) -> Any:  # noqa: ANN401 - tensors
    """Keep the most probable tokens that together have `top_p`; at least one."""
    lib = torch()
    ordered_BV, order_BV = logprobs_BV.sort(-1, descending=True)
    probability_BV = ordered_BV.exp()
    before_BV = probability_BV.cumsum(-1) - probability_BV
    dropped_BV = before_BV >= lib.tensor(top_p)[:, None]
    dropped_BV[:, 0] = False
    out_BV = lib.zeros_like(dropped_BV).scatter(-1, order_BV, dropped_BV)
    return logprobs_BV.masked_fill(out_BV, -float("inf")).log_softmax(-1)
