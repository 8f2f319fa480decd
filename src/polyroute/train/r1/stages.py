"""The folder of a training run: its plan, what its stages came to, the models they left.

The one decision here: what is there is complete. Every file and folder is written beside its place
and then moved into it, so that a run which was killed finds a stage done or not begun.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyroute.errors import ConfigError
from polyroute.train.r1.recipe import RunPlan
from polyroute.types import Json

__all__ = ["Stages"]


class Stages:
    """A run's folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    plan : RunPlan
        Written into a new folder.

    Raises
    ------
    ConfigError
        If the folder holds a run of another plan.
    """

    def __init__(self, folder: Path, plan: RunPlan) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(asdict(plan)))
        path = folder / "plan.json"
        there = json.loads(path.read_text("utf-8")) if path.is_file() else wanted
        if there != wanted:
            keys = {key for key in wanted | there if wanted.get(key) != there.get(key)}
            raise ConfigError(
                f"{folder} holds a run of another plan (other {', '.join(sorted(keys))}); "
                "name another folder, or remove it"
            )
        _write(path, wanted)

    def judged(self) -> dict[str, Any]:
        """Return the judgements so far, by stage."""
        path = self.folder / "stages.json"
        return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}

    def judge(self, name: str, measure: Callable[[], dict[str, Json]]) -> dict[str, Any] | None:
        """Measure a stage once and keep what it came to; `None` if it had been measured."""
        stages = self.judged()
        if name in stages:
            return None
        stages[name] = measure()
        _write(self.folder / "stages.json", stages)
        return dict(stages[name])

    def has_model(self, stage: str) -> bool:
        """Return whether `stage` has left its model."""
        return (self.folder / stage).is_dir()

    def rename(self, stage: str, name: str) -> None:
        """Call what `stage` left `name`."""
        (self.folder / stage).rename(self.folder / name)

    def keep(self, stage: str, model: Any, tokenizer: Any) -> None:  # noqa: ANN401
        """Write the model that `stage` leaves, and its tokenizer."""
        making = self.folder / f".{stage}.new"
        model.save_pretrained(making)
        tokenizer.save_pretrained(making)
        making.rename(self.folder / stage)


def _write(path: Path, value: Json) -> None:
    making = path.with_name(f".{path.name}.new")
    making.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    making.replace(path)
