"""A whole training run: teachers' traces, the warm start, a gate, reinforcement, the judgement.

The one decision here: every stage leaves its result in the run's folder, and a stage whose result
is there is not run again. So a run that was stopped anywhere goes on where it was, and the figures
before and after a stage are of the same weights that it started and ended with.

No reinforcement begins before the gate: an imitator that does not yet answer nearly as well as its
teachers feeds the optimiser its broken turns, and collapses onto whoever needs the fewest of them.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml
from msgspec import structs

from polyroute.backends.transformers import Loaded, Transformers
from polyroute.backends.transformers.load import load
from polyroute.errors import ConfigError
from polyroute.evaluate.bootstrap import mean_interval
from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.router_r1 import RouterR1Reward, Terms
from polyroute.spec import construct
from polyroute.tasks.atlas.small import vocabulary
from polyroute.tasks.atlas.teacher import Style, Teacher
from polyroute.tasks.problem import Problem, Split, Task
from polyroute.train.r1.cache import Cached
from polyroute.train.r1.gate import short_of
from polyroute.train.r1.log import CsvLog, Logger, row_of
from polyroute.train.r1.monitor import Alarm, Monitor, Vitals
from polyroute.train.r1.recall import recall
from polyroute.train.r1.recipe import Imitation, RunPlan, Without
from polyroute.train.r1.rl import Point, checkpoints, halved, reinforce
from polyroute.train.r1.rollout import ROUTER, Game, Player, Rollout, malformed, vitals
from polyroute.train.r1.sft import Lines, imitate, lines_of
from polyroute.train.r1.stages import Stages
from polyroute.train.r1.tiny import tiny_model
from polyroute.types import Json, JsonObject

__all__ = ["Result", "Run", "judge"]

_GREEDY: JsonObject = {"temperature": 0}

_ORDER = ("before", "optimum", "sft", "rl")
"""The stages as a reader wants them."""

_KEPT = 4
"""One exercise in so many is imitated on beside the traces."""

_PARALLEL = 256
"""Turns that are sampled at once: a step of a small model costs little more for many."""

_UNTRAINED = 16
"""Questions on which a model is judged before any training: it talks until every limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to."""

    folder: Path
    """Folder of the trained model and its tokenizer."""
    policy: RouterR1
    stages: Mapping[str, JsonObject]
    """Judgements on held-out questions by stage, as `judge` returns them."""
    alarms: tuple[Alarm, ...]
    """What stopped the reinforcement early; empty when it ran to its end."""


_Say: TypeAlias = Callable[[str], None]


class Run:
    """A training run in a folder.

    Parameters
    ----------
    plan : RunPlan
    folder : Path
        Where its results go; one that has results of the same plan is continued.
    say : callable
        Told in a line what happens.
    show : callable, optional
        Takes each step's numbers, for a live table.
    loggers : sequence of Logger, optional
        More places for the numbers than ``curve.csv``.

    Raises
    ------
    ConfigError
        If the folder holds a run of another plan, or the model does not fit the task.
    """

    def __init__(
        self,
        plan: RunPlan,
        folder: Path,
        *,
        say: _Say,
        show: Callable[[Mapping[str, float]], None] | None = None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.say = say
        self.show = show or (lambda row: None)
        self.loggers = loggers
        self.task: Task = construct("tasks", yaml.safe_load(plan.task), where="task")
        self.alarms: tuple[Alarm, ...] = ()
        policy = RouterR1(
            router=ROUTER.id,
            layout="brief",
            max_turns=plan.max_turns,
            router_params={**_GREEDY, "max_tokens": plan.turn_tokens},
        )
        self.game = Game(policy=policy, reward=_reward(plan, policy))
        self.stages = Stages(folder, plan)

    def train(self) -> Result:
        """Run all stages that are not done yet.

        Raises
        ------
        ConfigError
            If no imitator passes the gate.
        """
        self._stage("optimum", self._optimum)
        if not self.stages.has_model("sft"):
            self.stages.rename(self._imitated(), "sft")
        self._stage("sft", lambda: self._judged(self._loaded("sft")))
        if not self.stages.has_model("rl"):
            self._reinforce()
        self._stage("rl", lambda: self._judged(self._loaded("rl")))
        # last, because nobody waits for it, and an untrained model takes every turn it is given
        self._stage("before", lambda: self._judged(self._start(), most=_UNTRAINED))
        judged = self.stages.judged()
        return Result(
            folder=self.folder / "rl",
            policy=self.game.policy,
            stages={name: judged[name] for name in _ORDER},
            alarms=self.alarms,
        )

    def problems(self, split: Split, n: int) -> list[Problem]:
        """Return problems of the task, each with a willingness to pay."""
        found = self.task.problems(split, n, self.plan.seed)
        draw = random.Random(f"worth|{split}|{self.plan.seed}")
        priced = [_priced(problem, self.plan.worth, draw) for problem in found]
        if not self.plan.remember_calls:
            return priced
        return [replace(problem, backend=Cached(problem.backend)) for problem in priced]

    def _start(self) -> Loaded:
        if self.plan.model != "tiny":
            return load(self.plan.model, dtype=self._dtype())
        if self.task.name != "atlas-small":
            raise ConfigError(
                f"the tiny model knows the words of atlas-small only, not of {self.plan.task!r}; "
                "name a pretrained model (smollm2, a folder, a name on the hub)"
            )
        return tiny_model(vocabulary(), seed=self.plan.seed)

    def _dtype(self) -> str:
        """Return what the weights are kept in: those under an adapter need not be exact."""
        imitation = self.plan.imitation
        return "bfloat16" if imitation.lora is not None and halved(imitation.half) else "float32"

    def _loaded(self, stage: str) -> Loaded:
        """Return the model that a stage left, its adapter ready to be trained further."""
        folder = self.folder / stage
        if not (folder / "adapter_config.json").is_file():
            return load(str(folder))
        loaded = load(self.plan.model, adapter=str(folder), dtype=self._dtype())
        for name, weight in loaded.model.named_parameters():
            weight.requires_grad_("lora_" in name)
        return loaded

    def _imitated(self) -> str:
        """Imitate, on new traces each time, until the gate is passed; return the stage that did.

        Raises
        ------
        ConfigError
            If none does.
        """
        short: list[str] = []
        for attempt in range(1, self.plan.attempts + 1):
            stage = f"imitated-{attempt}"
            if not self.stages.has_model(stage):
                self._imitate(attempt)
            gate = f"gate-{attempt}"
            self._stage(gate, partial(self._at_gate, stage))
            found = self.stages.judged()[gate]
            short = short_of(found["sampled"], found["teachers"], self.plan.gate)
            if not short:
                return stage
        raise ConfigError(
            f"no reinforcement: after imitation {' and '.join(short)} ({self.plan.gate:.0%} of "
            "the teachers'); imitate for more steps"
        )

    def _at_gate(self, stage: str) -> dict[str, Json]:
        problems = self.problems("val", self.plan.judged)
        taught = [r for style in self.plan.teachers for r in self._taught(problems, style)]
        played = self._played(self._loaded(stage), problems, {"sampled": self._sampling()})
        return {**played, "teachers": judge(taught)}

    def _imitate(self, attempt: int) -> None:
        begin = time.monotonic()
        loaded = self._start() if attempt == 1 else self._loaded(f"imitated-{attempt - 1}")
        sampler = self._backend(loaded)
        taught = list(self._traces(attempt))
        self.say(f"{len(taught)} traces of teachers ({time.monotonic() - begin:.0f} s)")
        recipe = replace(self.plan.imitation, seed=self.plan.seed)
        if attempt > 1:
            recipe = replace(recipe, lora=None)  # it has its adapter
        lines = [lines_of(rollout.trace, sampler) for rollout in taught]
        if self.plan.recall:
            exercises = self._exercises(taught, sampler)
            steady = replace(recipe, steps=self.plan.recall, schedule="constant")
            if attempt == 1:
                self._learn(loaded, exercises, steady, "recall")
            lines += exercises[::_KEPT]  # or what was learnt is lost again
        model = self._learn(loaded, lines, recipe, "imitation")
        self.stages.keep(f"imitated-{attempt}", model, loaded.tokenizer)
        self.say(f"imitated ({time.monotonic() - begin:.0f} s)")

    def _learn(self, loaded: Loaded, lines: Iterable[Lines], recipe: Imitation, name: str) -> Any:  # noqa: ANN401
        def say(step: int, loss: float) -> None:
            self.say(f"{name} {step}/{recipe.steps}: loss {loss:.4f}")

        model, tokenizer = loaded.model, loaded.tokenizer
        return imitate(model, tokenizer, lines, recipe, folder=self.folder / name, say=say)

    def _exercises(self, taught: Iterable[Rollout], sampler: Transformers) -> list[Lines]:
        draw = random.Random(f"recall|{self.plan.seed}")
        return [recall(each.trace, sampler, draw=draw) for each in taught]

    def _traces(self, attempt: int) -> Iterable[Rollout]:
        styles, count = self.plan.teachers, self.plan.imitation.traces
        problems = self.problems("train", attempt * count)[-count:]
        for k, style in enumerate(styles):
            yield from self._taught(problems[k :: len(styles)], style)

    def _taught(self, problems: Sequence[Problem], style: Style) -> list[Rollout]:
        teacher = Teacher(problems, style=style, weight=self.plan.weight, seed=self.plan.seed)
        return asyncio.run(self.game.play(problems, teacher))

    def _reinforce(self) -> None:
        begin = time.monotonic()
        recipe = replace(self.plan.reinforcement, seed=self.plan.seed)
        loaded = self._loaded("sft")
        backend = self._backend(loaded)
        player = Player(
            replace(
                self._sampling(), reward=_reward(self.plan, self.game.policy, self.plan.without)
            ),
            backend,
            self.problems("train", recipe.steps * recipe.questions),
            group=recipe.group,
            questions=recipe.questions,
            seed=self.plan.seed,
        )
        found = checkpoints(self.folder / "checkpoints")
        done = int(found[-1].name.rpartition("-")[2]) // recipe.updates if found else 0
        log = CsvLog(self.folder / "curve.csv", before=done)
        optimum = self.stages.judged()["optimum"]["greedy"]
        monitor = Monitor(optimum_share=optimum["top_share"], optimum_calls=optimum["calls"])
        for row in CsvLog.read(log.path):
            monitor.watch(_vitals_of(row))

        def curve(point: Point) -> bool:
            row = {**row_of(point), "seconds": time.monotonic() - begin}
            for place in (log, *self.loggers):
                place.write(row)
            self.show(row)
            self.alarms = monitor.watch(point.vitals)
            for alarm in self.alarms:
                self.say(f"collapse at step {alarm.step}: {alarm.message}")
            return bool(self.alarms)

        with closing(player):
            model = reinforce(
                loaded.model,
                loaded.tokenizer,
                recipe,
                player,
                folder=self.folder / "checkpoints",
                curve=curve,
            )
        self.stages.keep("rl", model, loaded.tokenizer)
        self.say(f"reinforced ({time.monotonic() - begin:.0f} s)")

    def _judged(self, loaded: Loaded, *, most: int | None = None) -> dict[str, Json]:
        problems = self.problems("test", self.plan.judged)[:most]
        return self._played(loaded, problems, {"greedy": self.game, "sampled": self._sampling()})

    def _played(
        self, loaded: Loaded, problems: Sequence[Problem], games: Mapping[str, Game]
    ) -> dict[str, Json]:
        """Return how each game goes with that router model."""
        backend = self._backend(loaded)
        found: dict[str, Json] = {}
        for name, game in games.items():
            requests = [structs.replace(p.request, id=f"{p.request.id}#{name}") for p in problems]
            rollouts = asyncio.run(game.play(problems, backend, requests=requests))
            found[name] = judge(rollouts)
        asyncio.run(backend.close())
        return found

    def _optimum(self) -> dict[str, Json]:
        problems = self.problems("test", self.plan.judged)
        return {"greedy": judge(self._taught(problems, "optimum"))}

    def _backend(self, loaded: Loaded) -> Transformers:
        return Transformers.of(
            loaded.model, loaded.tokenizer, parallel=_PARALLEL, max_tokens=self.plan.turn_tokens
        )

    def _sampling(self) -> Game:
        heat = self.plan.reinforcement.temperature
        params: JsonObject = {"temperature": heat, "max_tokens": self.plan.turn_tokens}
        return replace(self.game, policy=replace(self.game.policy, router_params=params))

    def _stage(self, name: str, measure: Callable[[], dict[str, Json]]) -> None:
        """Measure once, and say what it came to."""
        for how, found in (self.stages.judge(name, measure) or {}).items():
            self.say(
                f"{name}, {how}: reward {found['reward']:.3f}, quality {found['outcome']:.3f}, "
                f"well-formed {found['format_rate']:.3f}, {found['calls']:.2f} calls, "
                f"${found['usd']:.3g}"
            )


def judge(rollouts: Sequence[Rollout]) -> dict[str, Json]:
    """Return the figures of some episodes: means, and a 95 % interval of the reward's."""
    whole = vitals(rollouts, 0)
    interval = mean_interval([each.terms.total for each in rollouts])
    usd = [float("nan") if r.terms.usd is None else float(r.terms.usd) for r in rollouts]
    return {
        "questions": len(rollouts),
        "reward": whole.reward,
        "reward_low": interval.low,
        "reward_high": interval.high,
        "outcome": whole.outcome,
        "format_rate": whole.format_rate,
        "gave_up": sum(_gave_up(each.terms) for each in rollouts) / len(rollouts),
        "calls": whole.calls,
        "usd": float(np.mean(usd)),
        "top_share": whole.top_share,
        "share": dict(whole.share),
    }


def _gave_up(terms: Terms) -> bool:
    """Return whether an episode kept to the protocol, asked nobody, and was not right."""
    return terms.malformed is None and terms.calls == 0 and terms.outcome == 0


def _reward(plan: RunPlan, policy: RouterR1, without: Without | None = None) -> RouterR1Reward:
    return RouterR1Reward(
        weight=0.0 if without == "cost" else plan.weight,
        malformed=malformed(policy),
        strict=without != "format",
    )


def _priced(problem: Problem, worth: tuple[float, float] | None, draw: random.Random) -> Problem:
    budget = problem.request.budget
    if worth is None or budget.usd_per_quality is not None:
        return problem
    low, high = np.log(worth)
    drawn = float(np.exp(draw.uniform(low, high)))
    request = structs.replace(
        problem.request, budget=structs.replace(budget, usd_per_quality=drawn)
    )
    return replace(problem, request=request)


def _vitals_of(row: Mapping[str, float]) -> Vitals:
    """Return what the monitor saw of a logged step, as far as the log has it."""
    return Vitals(
        step=int(row["step"]),
        reward=row["reward"],
        outcome=row["outcome"],
        format_rate=row["format_rate"],
        calls=row["calls"],
        share={"the most used": row["top_share"]},
    )
