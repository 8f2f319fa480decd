"""The trained router beside every baseline, on the same held-out questions.

    python benchmarks/router_r1/table.py --page docs/benchmarks/router_r1.md RUN [RUN ...]

A RUN is a folder of `polyroute train r1 --folder` or an artifact; several are seeds. Without one an
untrained tiny model takes the place. Finished arms are in build/router_r1 and not played again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from learned import Learned, learned
from played import Arm, Played, cell, cost, difference, markdown, mean_of, shown, write_section
from trained import Router, routers, scripted
from worlds import (
    HopByHop,
    cheapest_first,
    hindsight,
    label,
    one,
    only,
    places,
    problems,
    usd_of,
    world_of,
)

from polyroute.backends.local import Local
from polyroute.evaluate.bootstrap import holm, sign_flip_p
from polyroute.policies.cascade import Cascade
from polyroute.policies.fixed import Fixed
from polyroute.policies.prompted import Prompted
from polyroute.policies.random import Random
from polyroute.policies.self_consistency import SelfConsistency
from polyroute.tasks.atlas.specialists import UNKNOWN
from polyroute.tasks.atlas.teacher import Style, Teacher
from polyroute.tasks.problem import Problem
from polyroute.train.r1.rollout import ROUTER

POLICY = scripted()
UNTRAINED = 40
"""Questions for a model before any training: it talks until every limit."""
BOUND, BEST = "scripted optimum", "trained, greedy"


def whole(problems: Sequence[Problem]) -> list[Arm]:
    """Return the arms that ask the question as it stands."""
    arms = [
        Arm(f"always the {kind}", lambda p, kind=kind: Fixed(places(p)[kind]), problems)
        for kind in places(problems[0])
    ]
    arms += [
        Arm("cheapest", lambda p: Fixed(min(p.pool, key=usd_of).id), problems),
        Arm("random", lambda p: Random(models=p.pool.ids), problems),
        Arm("cascade, cheapest first", _cascade, problems),
        Arm("self-consistency (ACAR)", _self_consistency, problems),
    ]
    return arms


def _by_price(problem: Problem) -> tuple[str, ...]:
    return tuple(card.id for card in sorted(problem.pool, key=usd_of))


def _cascade(problem: Problem) -> Cascade:
    return Cascade(
        order=_by_price(problem), accept=lambda reply: reply.text.strip().casefold() != UNKNOWN
    )


def _self_consistency(problem: Problem) -> SelfConsistency:
    order = _by_price(problem)
    return SelfConsistency(probe=order[:3], arena=tuple(reversed(order[-3:])))


def split(problems: Sequence[Problem], learners: Sequence[Learned]) -> list[Arm]:
    """Return the arms that split the question as it was made, and ask hop by hop."""
    choices = {f"split, always the {kind}": one(kind) for kind in places(problems[0])}
    choices["split, cascade on each hop"] = cheapest_first
    choices |= {f"split, {each.name}": each.of_hop for each in learners}
    keys = {f"split, {each.name}": each.key for each in learners}
    arms = [
        Arm(
            name,
            lambda p: POLICY,
            problems,
            lambda p, choose=choose: HopByHop(p, choose),
            keys.get(name, ""),
        )
        for name, choose in choices.items()
    ]
    styles: dict[str, Style] = {"split, greedy by the cards": "cheapest", BOUND: "optimum"}
    return arms + [
        Arm(name, lambda p: POLICY, problems, lambda p, s=style: _teacher(p, s))
        for name, style in styles.items()
    ]


def _teacher(problems: Sequence[Problem], style: Style) -> Teacher:
    return Teacher(problems, style=style, max_turns=POLICY.max_turns)


def seeds_of(
    name: str, found: Sequence[Router], problems: Sequence[Problem], *, sampled: bool = False
) -> list[Played]:
    """Play the routers of several seeds."""
    return [
        Arm(
            f"{name}, seed {each.seed}",
            lambda p, each=each: each.sampling if sampled else each.policy,
            problems,
            each.load,
            each.key,
        ).play()
        for each in found
    ]


def by_stage(found: Sequence[Router], problems: Sequence[Problem]) -> dict[str, list[Played]]:
    """Play the routers before training, after imitation and after reinforcement."""
    names = {"rl": "trained", "sft": "after imitation", "before": "before training"}
    rows = {}
    for stage, name in names.items():
        mine = [each for each in found if each.stage == stage]
        for sampled in (False, True):
            how = f"{name}, {'sampled' if sampled else 'greedy'}"
            if mine:
                asked = problems[:UNTRAINED] if stage == "before" else problems
                rows[how] = seeds_of(how, mine, asked, sampled=sampled)
    return rows


def pools_of_one(found: Sequence[Router], problems: Sequence[Problem]) -> dict[str, Played]:
    """Play the trained routers, and the optimum, with one kind of candidate in every pool."""
    last = next((s for s in ("rl", "sft", "before") if any(r.stage == s for r in found)), "rl")
    rows = {}
    for kind in places(problems[0]):
        name = f"pool of one: the {kind}"
        alone = [only(p, places(p)[kind]) for p in problems]
        mine = [each for each in found if each.stage == last]
        rows[f"{name}, trained"] = mean_of(seeds_of(name, mine, alone))
        arm = Arm(f"{name}, optimum", lambda p: POLICY, alone, lambda p: _teacher(p, "optimum"))
        rows[arm.name] = arm.play()
    return rows


def oracle(problems: Sequence[Problem], *, hops: bool) -> Played:
    """Return what knowing every reply beforehand would do."""
    found = Played()
    for problem in problems:
        right, usd = hindsight(problem, hops=hops)
        found.reward.append(right - cost(problem, usd))
        found.quality.append(right)
        found.usd.append(usd)
        found.calls.append(right * (len(problem.hops) if hops else 1))
        found.formed.append(1.0)
        found.asked.append({})
    return found


def prompted(problems: Sequence[Problem]) -> list[Arm]:
    """Return the arms of untrained SmolLM2: it names one card, or it writes turns."""
    turns = replace(POLICY, max_turns=3, constrained="llama.cpp")
    ways = {
        "prompted, names one": lambda p: Prompted(router=ROUTER.id, models=p.pool.ids),
        "prompted, in rounds": lambda p: turns,
    }
    return [
        Arm(name, policy, problems, lambda _: Local(gguf="smollm2", context=1024), "smollm2")
        for name, policy in ways.items()
    ]


def rows_of(played: dict[str, Played], optimum: Played) -> str:
    """Return the table of all arms, the best reward first."""
    order = sorted(played, key=lambda name: -float(np.mean(played[name].reward)))
    rows = []
    for name in order:
        each = played[name]
        n = len(each.reward)
        top = each.top
        rows.append(
            [
                f"**{name}**" if name == BEST else name,
                cell(each.reward),
                cell(each.quality),
                cell(each.usd, 2, 1e6),
                f"{np.mean(each.calls):.2f}",
                f"{np.mean(each.formed):.3f}",
                f"{top[0]} {top[1]:.2f}" if top[1] else "–",
                shown(difference(optimum.reward[:n], each.reward), 3),
            ]
        )
    head = ("router", "reward", "quality", "µ$ a question", "calls", "well-formed", "most asked",
            "regret")  # fmt: skip
    return markdown(head, rows)


def against(mine: Played, others: dict[str, Played]) -> str:
    """Return the paired differences between the trained router and some others."""
    rows, chances = [], []
    for name, other in others.items():
        n = len(other.reward)
        chances.append(sign_flip_p(np.subtract(mine.reward[:n], other.reward)))
        rows.append(
            [
                name,
                shown(difference(mine.reward[:n], other.reward), 3, signed=True),
                shown(difference(mine.quality[:n], other.quality), 3, signed=True),
                shown(difference(mine.usd[:n], other.usd, 1e6), 2, signed=True),
            ]
        )
    for row, p in zip(rows, holm(chances), strict=True):
        row.append(f"{p:.4f}")
    return markdown(("less this", "reward", "quality", "µ$ a question", "p (Holm)"), rows)


def per_seed(stages: dict[str, list[Played]]) -> str:
    """Return the reward of every seed by stage, and the range."""
    rows = [
        [name, *(f"{np.mean(seed.reward):.3f}" for seed in seeds)] for name, seeds in stages.items()
    ]
    most = max(len(row) for row in rows)
    rows = [row + ["–"] * (most - len(row)) for row in rows]
    return markdown(("reward", *(f"seed {k}" for k in range(most - 1))), rows)


def main() -> None:
    """Play everything, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--world", help="as --task of `polyroute train r1`; that of the first RUN")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--train", type=int, default=400, help="questions of train that the "
                        "learned routers are fitted on, and the best constant chosen")  # fmt: skip
    parser.add_argument("--prompted", type=int, default=0, help="questions for SmolLM2")
    parser.add_argument("--alone", type=int, help="questions for the pools of one; all by default")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    world = world_of(args.runs, args.world)
    tested = problems(world, "test", args.questions)
    training = problems(world, "train", args.train)
    learners = learned(training)
    found = routers(args.runs)
    stages = by_stage(found, tested)
    played = {name: mean_of(seeds) for name, seeds in stages.items()}
    for arm in [*whole(tested), *(each.arm(tested) for each in learners), *split(tested, learners)]:
        played[arm.name] = arm.play()
    if args.prompted:
        for arm in prompted(tested[: args.prompted]):
            played[arm.name] = arm.play()
    played["oracle, whole question"] = oracle(tested, hops=False)
    played["oracle, hop by hop"] = oracle(tested, hops=True)
    alone = pools_of_one(found, tested[: args.alone])
    mine = next(iter(stages))
    constants = {
        side: best_constant(training, split_first=side == "split") for side in ("whole", "split")
    }
    others = {f"best constant ({constants['whole']})": played[constants["whole"]]}
    others[f"best constant, split ({constants['split']})"] = played[constants["split"]]
    others |= alone
    learners_first = ("split, kNN", "split, skill", "split, ridge", "kNN", "after imitation")
    others |= {n: p for n, p in played.items() if n.startswith(learners_first) and n != mine}
    others |= {n: played[n] for n in ("split, greedy by the cards", "split, cascade on each hop")}
    text = "\n\n".join(
        [
            f"{args.questions} questions of `{label(world)}`, split `test` (fewer for a model "
            "before training and for a prompted one), "
            f"{len({r.seed for r in found})} training seed(s).",
            rows_of(played, played[BOUND]),
            f"*{mine}* less another, on the same questions:",
            against(played[mine], others),
            "With one kind of candidate in the pool:",
            rows_of(alone, played[BOUND]),
            "Seed by seed:",
            per_seed(stages),
        ]
    )
    write_section(args.page, f"table {label(world)}", "benchmarks/router_r1/table.py", text)


def best_constant(training: Sequence[Problem], *, split_first: bool) -> str:
    """Return the name of the arm with one kind of candidate that has the best reward on train."""
    start = "split, always" if split_first else "always"
    arms = split(training, []) if split_first else whole(training)
    mine = [arm for arm in arms if arm.name.startswith(start)]
    return max(mine, key=lambda arm: float(np.mean(arm.play().reward))).name


if __name__ == "__main__":
    main()
