"""Several processes that train one model: who this is, and what all of them saw together.

The one decision here: every process plays its own part of a batch, and what is judged, logged and
decided is of the whole batch, the same number in every process. A process that stopped alone would
leave the others waiting.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from polyroute.errors import ConfigError
from polyroute.train.r1.monitor import Vitals

__all__ = [
    "gathered", "mean_facts", "per_process", "rank", "refuse_divided", "together", "world_size",
]  # fmt: skip


def rank() -> int:
    """Return the number of this process, from 0, as ``torchrun`` and ``accelerate`` tell it."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def per_process(episodes: int, *, micro: int, processes: int) -> tuple[int, int]:
    """Return episodes per forward pass and passes, for one process's part of `episodes`.

    Raises
    ------
    ConfigError
        If the episodes do not divide.

    Examples
    --------
    >>> per_process(64, micro=64, processes=2)
    (32, 1)
    >>> per_process(64, micro=8, processes=2)
    (8, 4)
    """
    part, rest = divmod(episodes, processes)
    size = min(micro, part)
    if rest or part % max(1, size):
        raise ConfigError(
            f"{episodes} episodes of an update do not divide into {processes} processes with "
            f"{micro} a forward pass; choose other questions, group or micro_batch"
        )
    return size, part // size


def refuse_divided() -> None:
    """Stop a run whose launcher would divide the weights among the processes.

    Raises
    ------
    ConfigError
        If it would: each process samples its episodes with the whole model, at its own pace.
    """
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" or stage == "3":
        raise ConfigError(
            "the engine trl samples with whole weights in every process: use DDP or ZeRO stage 2, "
            "or the engine verl, which divides them (strategy fsdp2)"
        )


def gathered(value: Any) -> list[Any]:  # noqa: ANN401 - anything that can be pickled
    """Return the value of every process, in the order of their numbers; called by all of them."""
    if world_size() == 1:
        return [value]
    found: list[Any] = importlib.import_module("accelerate.utils").gather_object([value])
    return found


def together(parts: Sequence[Vitals]) -> Vitals:
    """Return what equal parts of a batch say of the policy as a whole.

    Examples
    --------
    >>> one = Vitals(step=3, reward=1, outcome=1, format_rate=1, calls=3, share={"1st": 1.0})
    >>> two = Vitals(step=3, reward=0, outcome=0, format_rate=1, calls=1, share={"2nd": 1.0})
    >>> together([one, two]).share
    {'1st': 0.75, '2nd': 0.25}
    """
    if len(parts) == 1:
        return parts[0]
    calls = sum(part.calls for part in parts)
    places = sorted({place for part in parts for place in part.share})
    return Vitals(
        step=parts[0].step,
        reward=_mean([part.reward for part in parts]),
        outcome=_mean([part.outcome for part in parts]),
        format_rate=_mean([part.format_rate for part in parts]),
        calls=calls / len(parts),
        share={
            place: sum(part.share.get(place, 0.0) * part.calls for part in parts) / calls
            for place in places
            if calls
        },
    )


def mean_facts(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each fact that every part knows."""
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: _mean([part[name] for part in parts]) for name in shared}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
