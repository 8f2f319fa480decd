"""What both trainers do so that a pass computes what is learnt from it, and nothing else.

Importing this takes seconds; the trainers' modules do it when a run begins.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import peft.helpers as peft_parts
import trl.trainer.utils as trl_parts

__all__ = ["cast_once", "scored_alone"]


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
