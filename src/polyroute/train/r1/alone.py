"""Reinforcement without a warm start, on TRL's trainer, in one process or in several.

For a model that can already play: one that follows instructions, or the end of another run.
`polyroute.train.r1.run` is the whole way from nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from polyroute.backends.transformers import Loaded, Transformers
from polyroute.backends.transformers.load import load
from polyroute.tasks.atlas.small import vocabulary
from polyroute.train.r1.log import CsvLog, row_of
from polyroute.train.r1.monitor import Alarm, Monitor
from polyroute.train.r1.ranks import rank
from polyroute.train.r1.rl import Point, checkpoints, reinforce
from polyroute.train.r1.rollout import Player
from polyroute.train.r1.run import judge
from polyroute.train.r1.setting import Setting, claim, read_setting
from polyroute.train.r1.tiny import tiny_model
from polyroute.types import JsonObject

__all__ = ["Reinforced", "reinforce_alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforced:
    """What a run came to."""

    model: Path
    """Folder of the trained model and its tokenizer."""
    judged: JsonObject
    """Figures on the split ``val``, decoded greedily, as `polyroute.train.r1.run.judge` returns
    them; empty in all processes but the first."""
    alarms: tuple[Alarm, ...]
    """What stopped it early."""


def reinforce_alone(
    setting_file: Path,
    folder: Path,
    *,
    say: Callable[[str], None],
    show: Callable[[Mapping[str, float]], None] = lambda row: None,
) -> Reinforced:
    """Run the reinforcement of a setting; a run that was stopped goes on.

    Several processes (``torchrun``, ``accelerate launch``) each hold the whole model, play a part
    of every batch, and see the same numbers; the first writes the curve and the model.

    Parameters
    ----------
    setting_file : Path
        As `polyroute.train.r1.setting.read_setting` reads it; ``machines`` is for verl.
    folder : Path
        Gets ``setting.yaml``, ``curve.csv``, ``checkpoints`` and ``model``.
    say, show : callable
        Told what happens, in the first process; each step's numbers, in every process.

    Raises
    ------
    ConfigError
        If the setting does not fit the task, the model or the number of processes.
    """
    setting = read_setting(setting_file)
    claim(setting_file, folder)
    recipe = replace(setting.reinforcement, seed=setting.seed)
    game, loaded = setting.game(), _loaded(setting)
    backend = Transformers.of(loaded.model, loaded.tokenizer)
    player = Player(
        game,
        backend,
        setting.problems("train"),
        group=recipe.group,
        questions=recipe.questions,
        seed=setting.seed,
    )
    curve = _Curve(folder, say, show, done=_done(folder, recipe.updates))
    model = reinforce(
        loaded.model,
        loaded.tokenizer,
        recipe,
        player,
        folder=folder / "checkpoints",
        curve=curve,
    )
    player.close()
    judged: JsonObject = {}
    if rank() == 0:
        model.save_pretrained(folder / "model")
        loaded.tokenizer.save_pretrained(folder / "model")
        judged = _judged(setting, backend)
    return Reinforced(model=folder / "model", judged=judged, alarms=curve.alarms)


class _Curve:
    """Takes every step's point: to the file and the caller, and to the monitor."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        show: Callable[[Mapping[str, float]], None],
        *,
        done: int,
    ) -> None:
        self.alarms: tuple[Alarm, ...] = ()
        self._monitor = Monitor()
        self._log = CsvLog(folder / "curve.csv", before=done) if rank() == 0 else None
        self._say = say
        self._show = show
        self._begin = time.monotonic()

    def __call__(self, point: Point) -> bool:
        row = {**row_of(point), "seconds": time.monotonic() - self._begin}
        self._show(row)
        if self._log is not None:
            self._log.write(row)
        self.alarms = self._monitor.watch(point.vitals)
        if self._log is not None:
            for alarm in self.alarms:
                self._say(f"collapse at step {alarm.step}: {alarm.message}")
        return bool(self.alarms)


def _loaded(setting: Setting) -> Loaded:
    if setting.model == "tiny":
        return tiny_model(vocabulary(), seed=setting.seed)
    return load(setting.model)


def _done(folder: Path, updates: int) -> int:
    found = checkpoints(folder / "checkpoints")
    return int(found[-1].name.rpartition("-")[2]) // updates if found else 0


def _judged(setting: Setting, backend: Transformers) -> JsonObject:
    game = setting.game()
    params = {**(game.policy.router_params or {}), "temperature": 0}
    greedy = replace(game, policy=replace(game.policy, router_params=params))
    backend.refresh()
    return judge(asyncio.run(greedy.play(setting.problems("val"), backend)))
