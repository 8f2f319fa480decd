"""A training plan as a file: the policy, what to try, and the goal of its knob."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from polyroute.errors import ConfigError
from polyroute.train.calibrate import Goal
from polyroute.train.fit import Plan

__all__ = ["GoalSettings", "Recipe", "read_recipe"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoalSettings(_Strict):
    """What the policy's knob is set for; see `polyroute.train.calibrate.Goal`."""

    quality: float | None = None
    strong_share: float | None = None
    alpha: float | None = None
    sure: float = 1.645


class Recipe(_Strict):
    """The whole file."""

    policy: str | dict[str, Any]
    grid: dict[str, list[Any]] = {}
    """Values to try, by the path of a parameter: ``quality.alpha: [1, 10]``."""
    goal: GoalSettings = GoalSettings()
    seed: int = 0


def read_recipe(path: Path) -> Plan:
    """Return the plan in a file.

    Raises
    ------
    ConfigError
        If it cannot be read, is no YAML, or has a key or value that does not fit.
    """
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"{path}: {problems}") from None
    return Plan(
        policy=recipe.policy,
        grid=recipe.grid,
        goal=Goal(**recipe.goal.model_dump()),
        seed=recipe.seed,
    )
