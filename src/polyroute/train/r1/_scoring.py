"""What both trainers do so that a pass computes what is learnt from it, and nothing else.

Importing this takes seconds; the trainers' modules do it when a run begins.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import peft.helpers as peft_parts
import torch
import trl.trainer.utils as trl_parts

__all__ = ["cast_once", "scored_alone", "shared_start"]

_LEAST = 64
"""Tokens that rows must have in common for it to pay to have them go through a model apart."""


@contextmanager
def scored_alone() -> Iterator[None]:
    """Have TRL's head leave out the tokens that it is not asked to score.

    It asks whether there is Triton to know whether a compiler minds shapes that change; nothing
    else in that module asks.
    """
    asked = trl_parts._use_triton
    trl_parts._use_triton = lambda device: True
    try:
        yield
    finally:
        trl_parts._use_triton = asked


def cast_once(model: Any, half: bool) -> AbstractContextManager[Any]:  # noqa: ANN401
    """Have an adapter take its input as it is, when autocast casts it anyway.

    Else it goes from half to single precision and back before every product, to the same values.
    """
    if not half or not hasattr(model, "peft_config"):
        return nullcontext()
    context: AbstractContextManager[Any] = peft_parts.disable_input_dtype_casting(model)
    return context


@contextmanager
def shared_start(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Have the tokens that all rows of a pass begin with go through `model` once.

    In a prompt the cards come before the question, so where a pool stays as it is half of an
    episode is the same in all. What comes after looks back at the keys and values of that start,
    and its gradient flows through them: the same sums, in another order.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        A causal language model of transformers that keeps a cache of keys and values, without
        dropout.
    """
    backbone = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
    whole, patched = backbone.forward, "forward" in vars(backbone)

    def forward(input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:  # noqa: ANN401
        start = _in_common(input_ids, attention_mask)
        told = {name for name, value in more.items() if value is not None}
        if start < _LEAST or not told <= {"use_cache"}:
            return whole(input_ids=input_ids, attention_mask=attention_mask, **more)
        first = whole(input_ids=input_ids[:1, :start], use_cache=True)
        cache, rows = first.past_key_values, len(input_ids)
        cache.batch_repeat_interleave(rows)
        rest = whole(
            input_ids=input_ids[:, start:],
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=True,
        )
        parts = [first.last_hidden_state.expand(rows, -1, -1), rest.last_hidden_state]
        rest.last_hidden_state, rest.past_key_values = torch.cat(parts, dim=1), None
        return rest

    backbone.forward = forward
    try:
        yield
    finally:
        if patched:
            backbone.forward = whole
        else:
            del backbone.forward


def _in_common(ids_B_L: Any, mask_B_L: Any) -> int:  # noqa: ANN401
    """Return how many tokens two or more rows begin with alike, short of the whole row."""
    if ids_B_L is None or len(ids_B_L) < 2:
        return 0
    alike_L = (ids_B_L[:, :-1] == ids_B_L[:1, :-1]).all(0)
    if mask_B_L is not None:
        alike_L &= mask_B_L[:, :-1].bool().all(0)
    return int(alike_L.long().cumprod(0).sum())
