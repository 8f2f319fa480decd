"""Judge what peers and this project decided, and write the tables into a document.

python benchmarks/peers/report.py docs/benchmarks/peers.md
"""

import argparse
import json
import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyroute.evaluate.bootstrap import Interval, paired_interval

BEGIN, END = "<!-- figures: written by benchmarks/peers/report.py -->", "<!-- end of figures -->"
OWN = {
    "polyroute-ridge": "**polyroute** ridge, TF-IDF",
    "polyroute-blend": "**polyroute** blend, TF-IDF",
    "polyroute-ridge-minilm": "**polyroute** ridge, MiniLM",
}
PEERS = {
    "knnrouter": "llmrouter-lib kNN",
    "knnrouter-ordered": "llmrouter-lib kNN, best first",
    "svmrouter": "llmrouter-lib SVM",
    "svmrouter-ordered": "llmrouter-lib SVM, best first",
    "mlprouter": "llmrouter-lib MLP",
    "mlprouter-ordered": "llmrouter-lib MLP, best first",
    "mfrouter": "llmrouter-lib MF",
    "mfrouter-ordered": "llmrouter-lib MF, best first",
    "graphrouter": "llmrouter-lib GraphRouter",
    "routerdc": "llmrouter-lib RouterDC",
    "routellm-mf": "RouteLLM MF, trained here",
    "routellm-released": "RouteLLM MF, as released",
}
SHARES = (0.2, 0.5, 0.8)
Floats = NDArray[np.float64]


@dataclass
class Table:
    """The questions of one table to judge, and what was decided about them."""

    folder: Path
    about: dict[str, Any]
    trained: int
    score_NM: Floats
    usd_NM: Floats
    best: int
    """The model that was best on train."""
    usd_M: Floats
    """Mean dollars on train."""
    ties: float
    """Share of the questions of train with more than one best model."""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Table":
        """Return the table of a folder that `prepare.py` made."""
        with np.load(folder / "questions.npz") as arrays:
            train_N, score_NM, usd_NM = arrays["train_N"], arrays["score_NM"], arrays["usd_NM"]
        top_N1 = np.nanmax(score_NM[train_N], axis=1, keepdims=True)
        known = ~np.isnan(usd_NM[train_N]).all(axis=0)
        usd_M = np.full(usd_NM.shape[1], np.nan)
        usd_M[known] = np.nanmean(usd_NM[train_N][:, known], axis=0)
        return cls(
            folder,
            json.loads((folder / "questions.json").read_text("utf-8")),
            int(train_N.sum()),
            score_NM[~train_N],
            usd_NM[~train_N],
            int(np.nanmean(score_NM[train_N], axis=0).argmax()),
            usd_M,
            float((np.sum(score_NM[train_N] == top_N1, axis=1) > 1).mean()),
            {
                name: json.loads((folder / f"{name}.json").read_text("utf-8"))
                for name in OWN | PEERS
                if (folder / f"{name}.json").is_file()
            },
        )

    def quality_of(self, name: str) -> Floats:
        """Return the score of the model that a router chose, for every question."""
        return self.score_of(self.runs[name]["picks"])

    def score_of(self, picks: object) -> Floats:
        """Return the scores of one model for every question."""
        return self.score_NM[np.arange(len(self.score_NM)), np.asarray(picks)]

    def usd_of(self, picks: object) -> float:
        """Return the mean dollars of one model for every question; NaN where one is unknown."""
        return float(self.usd_NM[np.arange(len(self.usd_NM)), np.asarray(picks)].mean())

    @cached_property
    def expected(self) -> Floats:
        """What the blend expects of every model."""
        return np.asarray(np.load(self.folder / "polyroute-blend.npy"), np.float64)

    def within(self, usd: float) -> NDArray[np.intp] | None:
        """Return the blend's choice at the least weight on cost that spends no more than `usd`.

        Nothing of the scores is read: what a model costs is its mean on train, and what was spent
        is what the answers chosen did cost.
        """
        for weight in (0.0, *np.geomspace(1e-3, 1e7, 801)):
            picks = (self.expected - weight * self.usd_M).argmax(axis=1)
            if self.usd_of(picks) <= usd:
                return picks
        return None


def points(interval: Interval) -> str:
    """Return an interval in points of quality; bold where it leaves out zero."""
    text = f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"**{text}**" if interval.excludes_zero else text


def quality_row(table: Table, name: str) -> str:
    """Return what a router reached on a table, or why it did not."""
    run, title = table.runs[name], (OWN | PEERS)[name]
    if "failure" in run:
        why = textwrap.shorten(run["failure"], 140, placeholder=" …").replace("|", "\\|")
        return f"| {title} | failed | {why} | | | | | | |"
    quality_N, single_N = table.quality_of(name), table.score_NM[:, table.best]
    gain = paired_interval(quality_N, single_N)
    headroom = (table.score_NM.max(axis=1) - single_N).mean()
    less = [
        "" if ours == name else points(paired_interval(table.quality_of(ours), quality_N))
        for ours in ("polyroute-ridge", "polyroute-blend")
    ]
    usd = table.usd_of(run["picks"])
    dollars = same_cost = ""
    if not np.isnan(table.usd_NM).any():
        dollars = f"{1e3 * usd:.3f}"
        if name not in OWN:
            picks = table.within(usd)
            same_cost = (
                "cannot be that cheap"
                if picks is None
                else f"{points(paired_interval(table.score_of(picks), quality_N))} "
                f"for {1e3 * table.usd_of(picks):.3f}"
            )
    return (
        f"| {title} | {100 * quality_N.mean():.1f} | {points(gain)} "
        f"| {100 * gain.estimate / headroom:.0f} % "
        f"| {100 * np.mean(np.asarray(run['picks']) == table.best):.0f} % | {less[0]} | {less[1]} "
        f"| {dollars} | {same_cost} |"
    )


def section(table: Table) -> list[str]:
    """Return what is to be said of one table."""
    single, oracle = (
        100 * table.score_NM[:, table.best].mean(),
        100 * table.score_NM.max(axis=1).mean(),
    )
    dollars = table.usd_of(np.full(len(table.usd_NM), table.best))
    price = "" if np.isnan(dollars) else f" (${1e3 * dollars:.3f} per 1,000)"
    lines = [
        f"\n### {table.folder.name}\n\n{table.trained:,} questions to train "
        f"({100 * table.ties:.0f} % with more than one best model), "
        f"{len(table.score_NM):,} to judge, {len(table.about['models'])} models. Best single model "
        f"{single:.1f}{price}, oracle {oracle:.1f}. A MiniLM embedding costs "
        f"{1e3 * table.about['embed_ms']:,.0f} µs more for every decision that reads one.\n",
        "| router | quality | less best single | gap closed | asks best single | our ridge less it "
        "| our blend less it | $ per 1,000 | our blend for no more dollars, less it |",
        "| --- | ---: | --- | ---: | ---: | --- | --- | ---: | --- |",
        *(quality_row(table, name) for name in table.runs),
        "",
        "| router | training, CPU s | a decision alone, CPU µs | in a batch, CPU µs | memory, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, run in table.runs.items():
        if "failure" not in run:
            lines.append(
                f"| {(OWN | PEERS)[name]} | {run['train_s']:.1f} | {run['one_us']:,.0f} "
                f"| {run['batch_us']:,.0f} | {run['memory_mb']:.0f} |"
            )
    if "wins" in table.runs.get("routellm-mf", {}):
        lines += knob(table)
    return lines


def knob(table: Table) -> list[str]:
    """Return what the share of strong calls does, where there are two models.

    A question whose score has the k-th place is answered by the strong model at every share from
    k / N on: over all shares its weight is 1 - (k - 1/2) / N, and the mean of gain times weight
    is the area that RouteLLM's APGR divides by the strong model's lead.
    """
    strong = table.best
    weak_N, strong_N = table.score_NM[:, 1 - strong], table.score_NM[:, strong]
    count = len(weak_N)
    leads = {"routellm-mf": np.array(table.runs["routellm-mf"]["wins"])}
    for name in OWN:
        quality_NM = np.load(table.folder / f"{name}.npy")
        leads[name] = quality_NM[:, strong] - quality_NM[:, 1 - strong]
    rank = {name: np.argsort(np.argsort(-lead, kind="stable")) for name, lead in leads.items()}
    rank["perfect"] = np.argsort(np.argsort(weak_N - strong_N, kind="stable"))
    gain_N = strong_N - weak_N

    def area_of(name: str) -> Floats:
        return np.asarray(gain_N * (1 - (rank[name] + 0.5) / count))

    def quality_at(name: str, share: float) -> Floats:
        return np.where(rank[name] < round(share * count), strong_N, weak_N)

    lines = [
        f"\nThe share of questions that *{table.about['models'][strong]}* answers, by the order in "
        "which a router puts the questions; dollars per 1,000 in brackets.\n",
        f"| router | {' | '.join(f'{100 * share:.0f} % strong' for share in SHARES)} "
        "| APGR | our blend less it, mean of all shares |",
        f"| --- | {' | '.join('---:' for _ in SHARES)} | ---: | --- |",
    ]
    for name in ("routellm-mf", *OWN, "perfect"):
        cells = []
        for share in SHARES:
            usd_N = np.where(
                rank[name] < round(share * count),
                table.usd_NM[:, strong],
                table.usd_NM[:, 1 - strong],
            )
            cost = "" if np.isnan(usd_N).any() else f" (${1e3 * usd_N.mean():.2f})"
            cells.append(f"{100 * quality_at(name, share).mean():.1f}{cost}")
        less = points(paired_interval(area_of("polyroute-blend"), area_of(name)))
        title = (OWN | PEERS).get(name, "who knows the scores")
        lines.append(
            f"| {title} | {' | '.join(cells)} | {area_of(name).mean() / gain_N.mean():.2f} "
            f"| {'' if name == 'polyroute-blend' else less} |"
        )
    return [*lines, "\nAt random the APGR is 0.50."]


def summary(tables: list[Table]) -> list[str]:
    """Return every peer over all tables on which it ran."""
    lines = [
        "\n### All tables\n",
        "| router | tables | questions | our ridge less it | our ridge on MiniLM less it "
        "| our blend less it | our blend better / worse | failed |",
        "| --- | ---: | ---: | --- | --- | --- | ---: | ---: |",
    ]
    for name, title in PEERS.items():
        tried = [table for table in tables if name in table.runs]
        ran = [table for table in tried if "failure" not in table.runs[name]]
        if not ran:
            if tried:
                lines.append(f"| {title} | 0 | | | | | | {len(tried)} |")
            continue
        theirs = np.concatenate([table.quality_of(name) for table in ran])
        less = [
            points(
                paired_interval(np.concatenate([table.quality_of(ours) for table in ran]), theirs)
            )
            for ours in ("polyroute-ridge", "polyroute-ridge-minilm", "polyroute-blend")
        ]
        each = [
            paired_interval(table.quality_of("polyroute-blend"), table.quality_of(name))
            for table in ran
        ]
        better, worse = sum(i.low > 0 for i in each), sum(i.high < 0 for i in each)
        lines.append(
            f"| {title} | {len(ran)} | {len(theirs):,} | {' | '.join(less)} "
            f"| {better} / {worse} | {len(tried) - len(ran)} |"
        )
    return lines


def main() -> None:
    """Write the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    tables = [
        Table.read(path.parent)
        for path in sorted(options.runs.glob("*/polyroute-blend.npy"))
        if any((path.parent / f"{name}.json").is_file() for name in PEERS)
    ]
    text = "\n".join(summary(tables) + [line for table in tables for line in section(table)])
    before, _, rest = options.document.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.document.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
