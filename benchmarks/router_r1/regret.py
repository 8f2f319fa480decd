"""Where the reward goes: what each kind of mistake of a trained router costs, in expectation.

    python benchmarks/router_r1/regret.py --page docs/benchmarks/router_r1.md RUN [RUN ...]

An episode earns what the optimum expects at its start, less what each of its decisions gives away:
the value of where it stood less that of what it did (Kakade and Langford 2002, lemma 6.1). The sum
is free of the luck of the replies, which is most of the difference between two rewards.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from msgspec import structs
from played import cell, difference, markdown, shown, write_section
from trained import routers, scripted
from worlds import label, problems, usd_of, world_of

from polyroute.decision import Call, Route
from polyroute.evaluate.bootstrap import mean_interval
from polyroute.policies.router_r1 import RouterR1, Turn
from polyroute.protocols import Backend
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.tasks.atlas.optimum import Optimum
from polyroute.tasks.atlas.progress import Progress, progress
from polyroute.tasks.atlas.specialists import quality
from polyroute.tasks.atlas.teacher import Style, Teacher
from polyroute.tasks.problem import Problem
from polyroute.trace import Trace
from polyroute.train.r1.rollout import Game, Rollout, malformed

MALFORMED = -1.0
"""What such an episode is worth, whatever it found out."""

TAUGHT = 1500
"""Questions on which what is to be expected is held against what was earned."""


@dataclass
class Given:
    """What the decisions of one episode gave away, by kind."""

    value: float
    """What the optimum expects at the start."""
    earned: float
    """The reward as it came."""
    lost: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, lost: float) -> None:
        """Count a decision."""
        self.lost[kind] += lost
        self.times[kind] += 1

    @property
    def expected(self) -> float:
        """The reward that these decisions earn on average over the replies."""
        return self.value - sum(self.lost.values())


def given(rollout: Rollout, game: Game) -> Given:
    """Return what a finished episode gave away."""
    problem, trace = rollout.problem, rollout.trace
    optimum = Optimum(problem)
    found = Given(optimum.value, rollout.terms.total)
    turns = iter(game.policy.turns(trace))
    for k, step in enumerate(trace.steps):
        if not (isinstance(step.decision, Route) and step.decision.own):
            continue
        turn = next(turns)
        before = structs.replace(trace, steps=trace.steps[:k])
        now, left = progress(problem, before), _left(before, game)
        value = optimum.at(now, left)
        if not turn.well_formed:
            found.add("is malformed", value - MALFORMED)
            return found
        follows = trace.steps[k + 1].decision if k + 1 < len(trace.steps) else None
        if isinstance(follows, Route) and not follows.own and turn.searches:
            after = structs.replace(trace, steps=trace.steps[: k + 2])
            kind, worth = _asks(problem, optimum, now, left, follows.calls)
            if worth is None:  # as it turned out: right on average, and rare
                worth = optimum.at(progress(problem, after), _left(after, game))
        else:
            kind, worth = _ends(optimum, now, left, turn)
        found.add(kind, value - worth)
    if rollout.terms.malformed is not None:  # no answer of its own
        found.add("is malformed", found.expected - MALFORMED)
    return found


def _left(trace: Trace, game: Game) -> int:
    own = sum(isinstance(s.decision, Route) and s.decision.own for s in trace.steps)
    return max(0, min(trace.left.rounds, game.policy.max_turns - own))


def _asks(
    problem: Problem, optimum: Optimum, now: Progress, left: int, calls: Sequence[Call]
) -> tuple[str, float | None]:
    """Return what a turn that asks is called, and what it is worth, where that can be said."""
    model, query = calls[0].model, (calls[0].prompt or "").casefold().split()
    if now.ask is None or len(calls) > 1 or query != now.ask.query.casefold().split():
        return "asks what is not to be asked", None
    skill = now.ask.hop.skill
    if model in now.ask.tried:
        return "asks somebody again", None
    if not quality(problem.pool.card(model), skill):
        return "asks somebody who cannot know", None
    worth, best = optimum.after(model, now, left), optimum.choose(now, left)
    if best is None:
        return "asks where nobody is worth it", worth
    if worth > optimum.at(now, left) - 1e-9:
        return "does the best", worth
    usd, least = (usd_of(problem.pool.card(id)) for id in (model, best))
    surer = quality(problem.pool.card(model), skill) - quality(problem.pool.card(best), skill)
    if surer > 0 or (surer == 0 and usd < least):
        return "asks somebody surer than pays", worth
    return ("asks somebody dearer, and no surer" if usd >= least else
            "asks somebody cheaper than pays"), worth  # fmt: skip


def _ends(optimum: Optimum, now: Progress, left: int, turn: Turn) -> tuple[str, float]:
    """Return what an answer is called, and what it is worth."""
    said = (turn.answer or "").casefold().split()
    right = now.answers[-1].casefold().split() if now.answers else None
    paid = optimum.cost(now.usd)
    if now.ask is None:
        if said == right:
            return "does the best", optimum.sure(now) - paid
        return "answers what nobody replied", -paid
    rightly = optimum.choose(now, left) is None
    return ("gives up, rightly" if rightly else "gives up where somebody is worth it"), -paid


def play(policy: RouterR1, backend: Backend, asked: Sequence[Problem]) -> list[Given]:
    """Return what a router gives away, question by question."""
    game = Game(policy=policy, reward=RouterR1Reward(malformed=malformed(policy)))
    rollouts = asyncio.run(game.play(asked, backend))
    asyncio.run(backend.close())
    return [given(rollout, game) for rollout in rollouts]


def main() -> None:
    """Play everything, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    world = world_of(args.runs, None)
    asked = problems(world, "test", args.questions)
    found = {
        stage: {r.seed: play(r.policy, r.load(asked), asked) for r in routers(args.runs, [stage])}
        for stage in ("sft", "rl")
    }
    text = "\n\n".join(
        [
            f"{args.questions} questions of `{label(world)}`, split `test`; greedy; "
            f"{len(found['rl'])} training seed(s); the optimum expects "
            f"{np.mean([each.value for each in next(iter(found['rl'].values()))]):.3f}.",
            shares(found),
            kinds(found),
            f"The measure itself, on {TAUGHT} questions played by scripted teachers:",
            measured(problems(world, "test", TAUGHT)),
        ]
    )
    write_section(args.page, f"regret {label(world)}", "benchmarks/router_r1/regret.py", text)


NAMES = {"sft": "after imitation", "rl": "after reinforcement"}


def shares(found: dict[str, dict[int, list[Given]]]) -> str:
    """Return what is to be expected of each stage, and which share of the optimum that is."""
    rows, means = [], []
    for stage, seeds in found.items():
        values = np.array([each.value for each in next(iter(seeds.values()))])
        expected = np.array([[each.expected for each in one] for one in seeds.values()])
        mean = expected.mean(axis=0)
        means.append(mean)
        regret = mean_interval(values - mean)
        share = [1 - end / values.mean() for end in (regret.estimate, regret.high, regret.low)]
        rows.append(
            [
                NAMES[stage],
                shown(mean_interval(mean)),
                shown(regret),
                f"{share[0]:.1%} [{share[1]:.1%}, {share[2]:.1%}]",
                " ".join(f"{one.mean() / values.mean():.1%}" for one in expected),
            ]
        )
    gain = mean_interval(means[-1] - means[0])
    rows.append(["the gain", shown(gain, signed=True), "", "", ""])
    head = ("stage", "reward to expect", "given away", "of the optimum", "seed by seed")
    return markdown(head, rows)


def kinds(found: dict[str, dict[int, list[Given]]]) -> str:
    """Return how often each kind of decision is made, and what it gives away."""
    cells: dict[str, dict[str, tuple[float, float]]] = {}
    for stage, seeds in found.items():
        episodes = [each for one in seeds.values() for each in one]
        for kind in sorted({kind for each in episodes for kind in each.times}):
            times = float(np.mean([each.times[kind] for each in episodes]))
            lost = float(np.mean([each.lost[kind] for each in episodes]))
            cells.setdefault(kind, {})[stage] = (times, lost)
    order = sorted(cells, key=lambda kind: -cells[kind].get("rl", (0.0, 0.0))[1])
    rows = [
        [kind, *(f"{value:.4f}" for stage in NAMES for value in cells[kind].get(stage, (0.0, 0.0)))]
        for kind in order
    ]
    head = ["a decision that"]
    for name in NAMES.values():
        head += [f"times a question, {name}", "gives away"]
    return markdown(head, rows)


def measured(asked: Sequence[Problem]) -> str:
    """Return what is to be expected of teachers beside what they earn: the same on average."""
    rows = []
    for style in get_args(Style):
        policy = scripted(max_turns=6)
        found = play(policy, Teacher(asked, style=style, max_turns=policy.max_turns), asked)
        expected, earned = [e.expected for e in found], [e.earned for e in found]
        gap = difference(earned, expected)
        rows.append([style, cell(expected), cell(earned), shown(gap, 3, signed=True)])
    return markdown(("teacher", "reward to expect", "reward earned", "difference"), rows)


if __name__ == "__main__":
    main()
