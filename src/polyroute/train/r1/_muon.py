"""Muon for the matrices of a model, Adam for everything else, as one optimiser.

The one decision here: an embedding is no matrix of a linear map but a table of vectors, so it is
Adam's, as biases and norms are. With steps scaled to the size of Adam's, one learning rate serves
both. Importing this imports torch; `polyroute.train.r1.sft` does it when a run begins.

References
----------
Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024),
https://kellerjordan.github.io/posts/muon. The scale of its steps: Liu et al., Muon is Scalable for
LLM Training, arXiv:2502.16982, section 2.2.
"""

from typing import Any

import torch

__all__ = ["Muon"]


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Two optimisers of torch that look like one to a trainer and its schedule.

    Parameters
    ----------
    model : Module
        Parameters of two dimensions outside embeddings get Muon, the others Adam.
    rate : float
        Learning rate of both.
    beta2 : float
        Adam's second decay.
    """

    def __init__(self, model: Any, *, rate: float, beta2: float) -> None:  # noqa: ANN401
        tables = {
            id(weight)
            for module in model.modules()
            if isinstance(module, torch.nn.Embedding)
            for weight in module.parameters()
        }
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        maps = [weight for weight in learning if weight.ndim == 2 and id(weight) not in tables]
        mine = {id(weight) for weight in maps}
        rest = [weight for weight in learning if id(weight) not in mine]
        self.parts = (
            torch.optim.Muon(maps, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, beta2), weight_decay=0.0),
        )
        super().__init__([*maps, *rest], {"lr": rate})
        # the very groups of the parts, so that a schedule that sets a rate sets theirs
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # noqa: ANN401
        """Take a step with both."""
        del closure
        for part in self.parts:
            part.step()
