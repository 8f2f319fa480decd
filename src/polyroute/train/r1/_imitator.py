"""TRL's trainer of the warm start, which scores only what is imitated.

Importing this takes seconds; `polyroute.train.r1.sft` does it when a run begins.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import transformers
import trl

from polyroute.train.r1._scoring import cast_once, scored_alone, shared_start

__all__ = ["Imitator", "Said"]


class Imitator(trl.SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, whose head leaves out the tokens that are not imitated.

    Without a GPU, TRL scores those, too: with 49,000 words to choose from, a token costs as much as
    ten layers do.
    """

    def compute_loss(self, model: Any, inputs: Any, **more: Any) -> Any:  # noqa: ANN401
        """Return TRL's loss."""
        alone = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu"
        start = shared_start(self.accelerator.unwrap_model(model)) if alone else nullcontext()
        with scored_alone(), cast_once(model, self.args.bf16), start:
            return super().compute_loss(model, inputs, **more)


class Said(transformers.TrainerCallback):  # type: ignore[misc]
    """Passes on the loss of the warm start."""

    def __init__(self, say: Callable[[int, float], None]) -> None:
        self._say = say

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401
        """Pass on a step's loss."""
        del args, control
        if "loss" in more["logs"]:
            self._say(state.global_step, float(more["logs"]["loss"]))
