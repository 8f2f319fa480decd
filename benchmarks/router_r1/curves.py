"""How training went: every stage of one or several runs as a table, the steps as a picture.

    python benchmarks/router_r1/curves.py --page docs/benchmarks/router_r1.md RUN [RUN ...]

A RUN is a folder of `polyroute train r1 --folder`; several are seeds of one plan. Nothing is
played: the figures are those that the runs wrote themselves.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from figures import training_figure
from played import markdown, write_section
from worlds import label, world_of

from polyroute.evaluate.bootstrap import mean_interval
from polyroute.train.r1.log import CsvLog

NAMES = {"before": "before training", "sft": "after imitation", "rl": "after reinforcement",
         "optimum": "scripted optimum"}  # fmt: skip
COLUMNS = ("reward", "outcome", "format_rate", "calls", "usd", "top_share")


def stages_of(runs: Sequence[Path]) -> str:
    """Return the judgements of every stage: of one run with its interval, of several their mean."""
    judged = [json.loads((run / "stages.json").read_text("utf-8")) for run in runs]
    rows = []
    for stage, name in NAMES.items():
        there = [each[stage] for each in judged if stage in each]
        for how in there[0] if there else ():
            rows.append([f"{name}, {how}" if stage != "optimum" else name, *_row(there, how)])
    head = ("stage", "reward", "quality", "well-formed", "calls", "µ$ a question", "most asked",
            "reward, seed by seed")  # fmt: skip
    return markdown(head, rows)


def _row(there: Sequence[dict], how: str) -> list[str]:
    values = {name: [each[how][name] for each in there] for name in COLUMNS}
    reward = np.asarray(values["reward"])
    if len(reward) == 1:
        low, high = there[0][how]["reward_low"], there[0][how]["reward_high"]
    else:
        found = mean_interval(reward)
        low, high = found.low, found.high
    means = {name: float(np.mean(each)) for name, each in values.items()}
    return [
        f"{means['reward']:.3f} [{low:.3f}, {high:.3f}]",
        f"{means['outcome']:.3f}",
        f"{means['format_rate']:.3f}",
        f"{means['calls']:.2f}",
        f"{means['usd'] * 1e6:.2f}",
        f"{means['top_share']:.2f}",
        " ".join(f"{value:.3f}" for value in reward),
    ]


def main() -> None:
    """Write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG of the steps")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    plans = [json.loads((run / "plan.json").read_text("utf-8")) for run in args.runs]
    world = label(world_of(args.runs, None))
    over = "seeds" if len(plans) > 1 else "questions"
    seeds = ", ".join(str(plan["seed"]) for plan in plans)
    text = [
        f"`{world}`, model `{plans[0]['model']}`, seeds {seeds}; {plans[0]['judged']} held-out "
        f"questions a stage (fewer before training); intervals over {over}.",
        stages_of(args.runs),
    ]
    logs = [run / "curve.csv" for run in args.runs]
    curves = [CsvLog.read(log) for log in logs if log.is_file()]
    if args.figure is not None and curves:
        columns = [{name: [row[name] for row in rows] for name in rows[0]} for rows in curves]
        training_figure(args.figure, columns)
        shown = args.figure.name
        text.append(f"![Every step of reinforcement: mean and range](../images/{shown})")
    write_section(args.page, f"curves {world}", "benchmarks/router_r1/curves.py", "\n\n".join(text))


if __name__ == "__main__":
    main()
