"""One trained router at many willingnesses to pay: the curve of cost and quality it traces.

    python benchmarks/router_r1/knob.py --page docs/benchmarks/router_r1.md RUN [RUN ...]

The same questions are asked again at every worth; nothing else changes.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from figures import knob_figure
from played import Played, cell, difference, markdown, mean_of, shown, with_worth, write_section
from trained import routers
from variants import baselines, seeds
from worlds import label, problems, task, world_of

WORTH = {
    "atlas-small": (3, 5, 7, 10, 14, 20, 28, 40, 56),
    "atlas": (10, 20, 35, 50, 100, 200, 400),
    "atlas-embedded": (3, 5, 8, 10, 20, 50, 100),
}
"""Millionths of a dollar; those of training and others."""


def steps(points: Sequence[Played]) -> tuple[list[str], list[str]]:
    """Return the change of quality and of cost from each point to the next."""
    pairs = list(itertools.pairwise(points))
    quality = [shown(difference(b.quality, a.quality), signed=True) for a, b in pairs]
    usd = [shown(difference(b.usd, a.usd, 1e6), 2, signed=True) for a, b in pairs]
    return ["–", *quality], ["–", *usd]


def verdict(points: Sequence[Played]) -> str:
    """Say whether the curve is monotone, and whether a step down is more than noise."""
    pairs = list(itertools.pairwise(points))
    down, sure = 0, 0
    for a, b in pairs:
        for one, other in ((a.quality, b.quality), (a.usd, b.usd)):
            found = difference(other, one)
            down += found.estimate < 0
            sure += found.high < 0
    if not down:
        return "No step goes down, neither in cost nor in quality."
    return (
        f"Of {2 * len(pairs)} steps (quality and cost) {down} go down, {sure} of them with an "
        "interval below 0."
    )


def main() -> None:
    """Play every worth, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--world", help="as --task of `polyroute train r1`; that of the first RUN")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--worth", nargs="+", type=int, help="millionths of a dollar")
    parser.add_argument("--figure", type=Path, help="PNG of the curve")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    world = world_of(args.runs, args.world)
    found = routers(args.runs)
    last = "rl" if any(each.stage == "rl" for each in found) else found[-1].stage
    found = [each for each in found if each.stage == last]
    asked = problems(world, "test", args.questions)
    mine, best = [], []
    known = task(world)
    worths = args.worth or WORTH[known.name]
    for worth in worths:
        priced = [with_worth(problem, worth / 1e6) for problem in asked]
        mine.append(mean_of(seeds(found, priced)))
        best.append(baselines(priced)["scripted optimum"])
    quality, usd = steps(mine)
    rows = [
        [f"{w}{'' if w in known.worth else ' (new)'}",
         cell(m.quality), cell(m.usd, 2, 1e6), q, u, cell(b.quality), cell(b.usd, 2, 1e6),
         shown(difference(b.reward, m.reward))]
        for w, m, b, q, u in zip(worths, mine, best, quality, usd, strict=True)
    ]  # fmt: skip
    head = ("worth, µ$", "quality", "µ$ a question", "step in quality", "step in µ$",
            "optimum: quality", "optimum: µ$", "regret")  # fmt: skip
    text = "\n\n".join(
        [
            f"{args.questions} questions of `{label(world)}`, split `test`, each asked at every "
            f"worth; greedy; {len(found)} training seed(s).",
            markdown(head, rows),
            f"Trained: {verdict(mine)} Scripted optimum: {verdict(best)}",
        ]
    )
    if args.figure is not None:
        knob_figure(args.figure, worths, {"trained": mine, "scripted optimum": best})
        text += f"\n\n![Quality over cost, a point for each worth](../images/{args.figure.name})"
    write_section(args.page, f"knob {label(world)}", "benchmarks/router_r1/knob.py", text)


if __name__ == "__main__":
    main()
