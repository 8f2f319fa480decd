"""Our problems as verl's rows.

The one decision here: a row names its problem and does not hold it. Pools, backends and right
answers stay with the task, and the worker that plays the episode asks the task for the problem
again; a row of another task, seed or version is noticed by the problem's id.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.tasks.problem import Problem, Split
from polyroute.train.r1.setting import Setting
from polyroute.types import Json, JsonObject

__all__ = ["AGENT", "problem_of", "rows", "write_rows"]

AGENT = "polyroute"
"""Name of the agent loop in rows and settings."""


def rows(setting: Setting, split: Split) -> list[dict[str, Json]]:
    """Return the rows of a split, in the order in which they are to be played.

    The column ``prompt`` holds the request's own messages: verl wants one, and shows it in its
    logs. What the model reads is written by the policy, in the agent loop.
    """
    found = _problems(setting, split)
    return [_row(found[k], split, k, setting.seed) for k in range(len(found))]


def problem_of(setting: Setting, extra_info: JsonObject) -> Problem:
    """Return the problem that a row names.

    Raises
    ------
    ConfigError
        If the task gives another problem in its place, or none.
    """
    split, place, id = extra_info["split"], extra_info["index"], extra_info["problem"]
    if split not in ("train", "val", "test") or not isinstance(place, int):
        raise ConfigError(f"a row names no split and place: {extra_info!r:.120}")
    found = _problems(setting, split)
    if place >= len(found) or found[place].request.id != id:
        there = found[place].request.id if place < len(found) else "nothing"
        raise ConfigError(
            f"row {place} of {split!r} was written for problem {id!r}, and the task has {there!r} "
            "there now; write the rows again"
        )
    return found[place]


def write_rows(written: Sequence[JsonObject], path: Path) -> None:
    """Write rows as a parquet file.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            f"rows for verl need pyarrow; run: pip install 'polyroute[tables]' ({error})"
        ) from error
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(written)), path)


def _row(problem: Problem, split: Split, place: int, seed: int) -> dict[str, Json]:
    messages: Any = [{"role": m.role, "content": m.text} for m in problem.request.messages]
    return {
        "data_source": problem.kind,
        "agent_name": AGENT,
        "prompt": messages,
        "reward_model": {"style": "rule", "ground_truth": problem.golds[0]},
        "extra_info": {
            "problem": problem.request.id,
            "split": split,
            "index": place,
            "seed": seed,
        },
    }


def _problems(setting: Setting, split: Split) -> Sequence[Problem]:
    return _asked(_Same(setting), split)


class _Same:
    """A setting as a key: the same object, the same problems."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __hash__(self) -> int:
        return id(self.setting)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.setting is self.setting


@lru_cache(maxsize=8)
def _asked(same: _Same, split: Split) -> Sequence[Problem]:
    return same.setting.problems(split)
