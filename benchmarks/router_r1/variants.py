"""What the trained router does in worlds that differ from the one of training.

    python benchmarks/router_r1/variants.py --page docs/benchmarks/router_r1.md RUN [RUN ...]

All variants but the first three ask the questions of the plain world of the same names.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from played import Arm, Played, cell, difference, markdown, mean_of, shown, write_section
from table import POLICY
from trained import Router, routers
from worlds import HopByHop, label, one, problems, usd_of, variants_of, world_of

from polyroute.protocols import FloatArray
from polyroute.tasks.atlas.market import Variant
from polyroute.tasks.atlas.specialists import ANYTHING, UNKNOWN, Specialists, quality
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.tasks.problem import Problem

RELIABLE = "split, always the reliable generalist"
Worlds = dict[Variant, list[Problem]]
Score = Callable[[Problem, list[list[str]]], float]
"""From a problem and the calls made for it to a number; NaN where it does not apply."""


def baselines(asked: Sequence[Problem]) -> dict[str, Played]:
    """Play what the trained router is compared with: what reads the cards, and what need not."""
    made = {
        "scripted optimum": lambda p: Teacher(p, style="optimum", max_turns=POLICY.max_turns),
        RELIABLE: lambda p: HopByHop(p, one("reliable generalist")),
    }
    return {name: Arm(name, lambda p: POLICY, asked, new).play() for name, new in made.items()}


def seeds(found: Sequence[Router], asked: Sequence[Problem]) -> list[Played]:
    """Play the routers of all seeds, greedily."""
    return [
        Arm(f"{r.stage}, seed {r.seed}", lambda p, r=r: r.policy, asked, r.load, r.key).play()
        for r in found
    ]


def skill_of(problem: Problem, query: str) -> str | None:
    """Return the skill that a sub-query needs; `None` when it is no question of one hop."""
    assert isinstance(problem.backend, Specialists)
    fact = problem.backend.facts.about(query)
    return None if fact is None else fact.skill


def is_specialist(problem: Problem, id: str) -> bool:
    """Return whether a candidate is none of the two generalists."""
    return ANYTHING not in problem.pool.card(id).skills


def to_specialists(problem: Problem, calls: list[list[str]]) -> float:
    """Return the share of the calls that went to specialists."""
    return _share([is_specialist(problem, id) for id, *_ in calls])


def rightly(problem: Problem, calls: list[list[str]]) -> float:
    """Return the share of the calls to specialists that asked what their card says they know."""
    return _share(
        [
            bool(quality(problem.pool.card(id), skill_of(problem, query) or ""))
            for id, query, _ in calls
            if is_specialist(problem, id)
        ]
    )


def covered(problem: Problem, calls: list[list[str]]) -> float:
    """Return the share of the sub-queries that had a specialist in the pool and went to one."""
    skills = [(id, skill_of(problem, query)) for id, query, _ in calls]
    known = {skill for card in problem.pool for skill in card.skills}
    return _share([skill in problem.pool.card(id).skills for id, skill in skills if skill in known])


def mended(problem: Problem, calls: list[list[str]]) -> float:
    """Return the share of the unanswered first-hop calls after which somebody else was asked."""
    first = problem.hops[0].query.casefold().split()
    mine = [(id, text) for id, query, text in calls if query.casefold().split() == first]
    lost = [k for k, (_, text) in enumerate(mine) if text.strip().casefold() == UNKNOWN]
    return _share([any(id != mine[k][0] for id, _ in mine[k + 1 :]) for k in lost])


def _share(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else np.nan


def scores(each: Sequence[Played], asked: Sequence[Problem], score: Score) -> FloatArray:
    """Return a score of every question, averaged over the seeds that have one."""
    found = np.array(
        [[score(p, calls) for p, calls in zip(asked, one.trail, strict=True)] for one in each]
    )
    known = ~np.isnan(found)
    count = known.sum(axis=0)
    total = np.where(known, found, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(asked), np.nan), where=count > 0)


def _cell(values: FloatArray) -> str:
    return cell(values[~np.isnan(values)].tolist(), 2) if (~np.isnan(values)).any() else "–"


def overview(worlds: Worlds, mine: dict[Variant, list[Played]]) -> str:
    """Return reward, regret and whom the router asks, by variant."""
    rows = []
    for variant, asked in worlds.items():
        router, others = mean_of(mine[variant]), baselines(asked)
        best, dear = others["scripted optimum"], others[RELIABLE]
        rows.append(
            [
                f"`{variant}`",
                cell(router.reward),
                cell(router.quality),
                f"{np.mean(router.formed):.3f}",
                shown(difference(best.reward, router.reward)),
                shown(difference(router.reward, dear.reward), signed=True),
                _cell(scores(mine[variant], asked, to_specialists)),
                _cell(scores(mine[variant], asked, rightly)),
                _cell(scores(mine[variant], asked, covered)),
            ]
        )
    head = ("world", "reward", "quality", "well-formed", "regret", "less the reliable generalist",
            "calls to specialists", "of them rightly", "used where there is one")  # fmt: skip
    return markdown(head, rows)


def swapped(worlds: Worlds, mine: dict[Variant, list[Played]]) -> str:
    """Return what the first call goes by when the descriptors change places."""
    plain, moved = worlds["plain"], worlds["swapped_descriptors"]
    best = [[baselines(asked)["scripted optimum"]] for asked in (plain, moved)]
    rows = []
    for name, (befores, afters) in {
        "trained": (mine["plain"], mine["swapped_descriptors"]),
        "scripted optimum": (best[0], best[1]),
    }.items():
        follows, sticks = [], []
        for k, (was, now) in enumerate(zip(plain, moved, strict=True)):
            card, same = [], []
            for before, after in zip(befores, afters, strict=True):
                old, new = before.trail[k][:1], after.trail[k][:1]
                if old and new:
                    chosen = now.pool.card(new[0][0])
                    card.append(chosen.skills.keys() == was.pool.card(old[0][0]).skills.keys())
                    knows = quality(chosen, now.hops[0].skill) > 0
                    same.append(new[0][0] == old[0][0] and not knows)
            if card:
                follows.append(_share(card))
                sticks.append(_share(same))
        rows.append([name, cell(follows, 2), cell(sticks, 2)])
    head = ("first call, descriptors swapped", "to the card asked before, under its new name",
            "to the name asked before, which no longer knows")  # fmt: skip
    return markdown(head, rows)


def prices(worlds: Worlds, mine: dict[Variant, list[Played]]) -> str:
    """Return what is spent at the changed prices, by the old choices and by the new ones."""
    plain, moved = worlds["plain"], worlds["changed_prices"]
    others = [baselines(asked)["scripted optimum"] for asked in (plain, moved)]
    sides = {"trained": (mine["plain"], mine["changed_prices"])}
    sides["scripted optimum"] = ([others[0]], [others[1]])
    rows = []
    for name, (before, after) in sides.items():
        old = scores(before, moved, _spent)
        new = scores(after, moved, _spent)
        dear = [scores(b, p, _to_generalist) for b, p in ((before, plain), (after, moved))]
        shift = shown(difference(new.tolist(), old.tolist(), 1e6), 2, signed=True)
        rows.append([name, f"{np.mean(old) * 1e6:.2f}", f"{np.mean(new) * 1e6:.2f}", shift,
                     _cell(dear[0]), _cell(dear[1])])  # fmt: skip
    head = ("router", "µ$ at new prices, old choices", "new choices", "difference",
            "calls to the good generalist, old prices", "new prices")  # fmt: skip
    return markdown(head, rows)


def _spent(problem: Problem, calls: list[list[str]]) -> float:
    return float(sum(usd_of(problem.pool.card(id)) for id, *_ in calls))


def _to_generalist(problem: Problem, calls: list[list[str]]) -> float:
    best = max(problem.pool, key=lambda card: card.skills.get(ANYTHING, 0.0)).id
    return _share([id == best for id, *_ in calls])


def main() -> None:
    """Play every variant, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--world", help="as --task of `polyroute train r1`; that of the first RUN")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    world = world_of(args.runs, args.world)
    found = routers(args.runs)
    last = "rl" if any(each.stage == "rl" for each in found) else found[-1].stage
    found = [each for each in found if each.stage == last]
    worlds = {v: problems(world, "test", args.questions, v) for v in variants_of(world)}
    mine = {variant: seeds(found, asked) for variant, asked in worlds.items()}
    lost = scores(mine["failing_specialist"], worlds["failing_specialist"], mended)
    text = "\n\n".join(
        [
            f"{args.questions} questions of `{label(world)}`, split `test`; greedy; "
            f"{len(found)} training seed(s).",
            overview(worlds, mine),
            swapped(worlds, mine),
            prices(worlds, mine),
            f"`failing_specialist`: after an `unknown` to the first hop the router asked somebody "
            f"else the same in a share of {_cell(lost)} of the cases.",
        ]
    )
    write_section(args.page, f"variants {label(world)}", "benchmarks/router_r1/variants.py", text)


if __name__ == "__main__":
    main()
