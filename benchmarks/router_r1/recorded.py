"""What routing gains on real recorded answers: every baseline, and routers that were trained there.

    python benchmarks/router_r1/recorded.py --table FOLDER/evouna --page PAGE [RUN ...]

Candidates are the models of the table with a known price; each replies what it said when it was
recorded. An answer is right when it contains a gold. A question is asked at every worth. A RUN was
trained with ``--task '{name: recorded, table: FOLDER/evouna, nearest: null, metric: contains}'``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from learned import Learned, learned
from played import Arm, Played, cell, difference, markdown, shown, with_worth, write_section
from table import POLICY, best_constant, oracle, whole
from trained import Router, routers

from polyroute.tasks.atlas.teacher import Style, Teacher
from polyroute.tasks.problem import Problem
from polyroute.tasks.recorded import Recorded

SEED = 777
SKIPPED = ("cascade", "self-consistency")
"""They need replies of one word, or a sign of not knowing; chat replies have neither."""


def played(
    asked: Sequence[Problem], learners: Sequence[Learned], found: Sequence[Router]
) -> dict[str, Played]:
    """Play everything through the loop; the teachers and the trained routers in several rounds."""
    arms = [arm for arm in whole(asked) if not arm.name.startswith(SKIPPED)]
    arms += [each.arm(asked) for each in learners]
    styles: dict[str, Style] = {
        "in rounds: best by the cards, asks once": "cheapest",
        "in rounds: optimum by the cards": "optimum",
    }
    arms += [
        Arm(name, lambda p: POLICY, asked, lambda p, s=style: Teacher(p, style=s, max_turns=8))
        for name, style in styles.items()
    ]
    arms += [
        Arm(
            f"in rounds: {each.stage}, seed {each.seed}",
            lambda p, each=each: each.policy,
            asked,
            each.load,
            each.key,
        )
        for each in found
    ]
    rows = {arm.name: arm.play() for arm in arms}
    rows["oracle, at typical prices"] = oracle(asked, hops=False)
    return rows


def main() -> None:
    """Play every worth, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--table", required=True)
    parser.add_argument("--questions", type=int, default=856)
    parser.add_argument("--train", type=int, default=3_094)
    parser.add_argument("--worth", nargs="+", type=int, default=[500, 2_000, 20_000, 200_000],
                        help="millionths of a dollar that a right answer is worth")  # fmt: skip
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    task = Recorded(args.table, metric="contains", nearest=None)
    asked = list(task.problems("val", args.questions, SEED))
    training = list(task.problems("train", args.train, SEED))
    # a question is its only hop: a learner of hops would learn the same again
    learners = learned([replace(problem, hops=()) for problem in training])
    found = routers(args.runs) if args.runs else []
    text = [f"{len(asked)} questions of `val`, {len(training)} of `train` to fit and choose by."]
    for worth in args.worth:
        sides = [[with_worth(p, worth / 1e6) for p in side] for side in (asked, training)]
        best = best_constant(sides[1], split_first=False)
        rows = played(sides[0], learners, found)
        text += [f"A right answer is worth {worth:,} µ$:", _rows(rows, best)]
    write_section(args.page, "recorded", "benchmarks/router_r1/recorded.py", "\n\n".join(text))


def _rows(found: dict[str, Played], best: str) -> str:
    order = sorted(found, key=lambda name: -float(np.mean(found[name].reward)))
    rows = [
        [
            f"**{name}**" if name == best else name,
            cell(found[name].reward),
            cell(found[name].quality),
            cell(found[name].usd, 0, 1e6),
            f"{found[name].top[0]} {found[name].top[1]:.2f}" if found[name].top[1] else "–",
            "–"
            if name == best
            else shown(difference(found[name].reward, found[best].reward), signed=True),
        ]
        for name in order
    ]
    head = ("router", "reward", "contains a gold", "µ$ a question", "most asked",
            "less the best constant")  # fmt: skip
    return markdown(head, rows)


if __name__ == "__main__":
    main()
