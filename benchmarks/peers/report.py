"""Judge what peers and this project decided, and write the tables into a document.

python benchmarks/peers/report.py docs/benchmarks/peers.md
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from polyroute.evaluate.bootstrap import Interval, paired_interval

BEGIN, END = "<!-- figures: written by benchmarks/peers/report.py -->", "<!-- end of figures -->"
NAMES = {
    "polyroute-ridge": "**polyroute** ridge, TF-IDF",
    "polyroute-blend": "**polyroute** blend, TF-IDF",
    "polyroute-ridge-minilm": "**polyroute** ridge, MiniLM",
    "knnrouter": "llmrouter-lib kNN",
    "svmrouter": "llmrouter-lib SVM",
    "mlprouter": "llmrouter-lib MLP",
    "mfrouter": "llmrouter-lib MF",
    "graphrouter": "llmrouter-lib GraphRouter",
    "routerdc": "llmrouter-lib RouterDC",
    "routellm-mf": "RouteLLM MF",
}


def points(interval: Interval) -> str:
    """Return an interval in points of quality; bold where it leaves out zero."""
    text = f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"**{text}**" if interval.excludes_zero else text


def row(name: str, run: dict[str, Any], score_NM: Any, usd_NM: Any, best: int, ours: Any) -> str:  # noqa: ANN401 - arrays
    """Return the row of one run."""
    if "failure" in run:
        return (
            f"| {name} | did not run: {run['failure'][:150]} | | | | | | | {run['memory_mb']:.0f} |"
        )
    rows, picks = np.arange(len(score_NM)), np.array(run["picks"])
    quality_N, single_N = score_NM[rows, picks], score_NM[:, best]
    gain = paired_interval(quality_N, single_N)
    headroom = (score_NM.max(axis=1) - single_N).mean()
    usd = 1e3 * usd_NM[rows, picks].mean()
    mine = "" if ours is None else points(paired_interval(ours, quality_N))
    return (
        f"| {name} | {100 * quality_N.mean():.1f} | {points(gain)} "
        f"| {100 * gain.estimate / headroom:.0f} % | {mine} "
        f"| {'' if np.isnan(usd) else f'{usd:.3f}'} | {run['train_s']:.1f} "
        f"| {run['one_us']:,.0f} / {run['batch_us']:,.0f} | {run['memory_mb']:.0f} |"
    )


def table(folder: Path) -> list[str]:
    """Return what is to be said of one table."""
    about = json.loads((folder / "questions.json").read_text("utf-8"))
    with np.load(folder / "questions.npz") as arrays:
        train_N, score_NM, usd_NM = arrays["train_N"], arrays["score_NM"], arrays["usd_NM"]
    best = int(np.nanmean(score_NM[train_N], axis=0).argmax())
    score_NM, usd_NM = score_NM[~train_N], usd_NM[~train_N]
    runs = {
        name: json.loads((folder / f"{name}.json").read_text("utf-8"))
        for name in NAMES
        if (folder / f"{name}.json").is_file()
    }
    ours = score_NM[np.arange(len(score_NM)), runs["polyroute-blend"]["picks"]]
    single, oracle = 100 * score_NM[:, best].mean(), 100 * score_NM.max(axis=1).mean()
    lines = [
        f"\n### {folder.name}\n\n{int(train_N.sum())} questions to train, {len(score_NM)} to "
        f"judge, {len(about['models'])} models. Best single model {single:.1f}, oracle "
        f"{oracle:.1f}. A MiniLM embedding costs "
        f"{1e3 * about['embed_ms']:,.0f} µs more for every decision that reads one.\n",
        "| router | quality | less best single | gap closed | our blend less it | $ per 1,000 "
        "| training, CPU s | decision alone / in a batch, CPU µs | memory, MB |",
        "| --- | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, run in runs.items():
        theirs = None if name == "polyroute-blend" else ours
        lines.append(row(NAMES[name], run, score_NM, usd_NM, best, theirs))
    return lines


def main() -> None:
    """Write the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    folders = sorted(
        path.parent
        for path in options.runs.glob("*/polyroute-blend.json")
        if any((path.parent / f"{name}.json").is_file() for name in NAMES if "-" not in name)
    )
    text = "\n".join(line for folder in folders for line in table(folder))
    before, _, rest = options.document.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.document.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
