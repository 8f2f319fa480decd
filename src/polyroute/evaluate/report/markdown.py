"""The report as Markdown: the tables, for a pull request or a terminal."""

from collections.abc import Sequence

from polyroute.evaluate.report.figures import between, dollars, number, p_value, percent, signed
from polyroute.evaluate.summary import Summary

__all__ = ["markdown"]


def markdown(summary: Summary) -> str:
    """Return the summary of a run as Markdown."""
    name = summary.facts.get("table", "an outcome table")
    lines = [
        f"# Routers compared on {_plain(name)}",
        "",
        f"{summary.questions} questions, {len(summary.models)} models. Best constant: "
        f"{_plain(summary.constant)}, chosen on {summary.constant_from}. Intervals: "
        f"{percent(summary.level)}, bootstrap over questions, seed {summary.seed}.",
        "",
        *(f"- {_plain(k)}: {_plain(v)}" for k, v in summary.facts.items() if k != "table"),
        "",
        "## Results",
        "",
        *_table(
            ("router", "kind", "score", "interval", "to constant", "interval", "p (Holm)",
             "$ / 1000", "calls", "gap closed", "most used", "unrecorded"),
            [
                (row.name, row.kind, number(row.quality.estimate), between(row.quality),
                 signed(row.difference.estimate), between(row.difference),
                 p_value(row.p_corrected), dollars(1000 * row.usd), number(row.calls, 2),
                 percent(row.gap_closed), f"{row.most_used} {percent(row.most_used_share)}",
                 str(row.unrecorded))
                for row in summary.rows
            ],
        ),
    ]  # fmt: skip
    if summary.curves:
        lines += [
            "",
            "## Over the cost knob",
            "",
            *_table(
                ("router", "AIQ", "PerfGain", "CostSave", "ParetoDist", "APGR", "CPT 50",
                 "CPT 80", "CPT 95"),
                [
                    (c.name, number(c.aiq), signed(c.perf_gain), percent(c.cost_save),
                     number(c.pareto_dist), number(c.apgr), percent(c.cpt50), percent(c.cpt80),
                     percent(c.cpt95))
                    for c in summary.curves
                ],
            ),
        ]  # fmt: skip
    if summary.groups:
        names = list(summary.groups[0].quality)
        lines += ["", "## Who won where", ""]
        lines += _table(
            ("data set", "task", "questions", "highest", *names),
            [
                (g.dataset, g.task, str(g.questions), ", ".join(g.winners),
                 *(number(g.quality[n]) for n in names))
                for g in summary.groups
            ],
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(map(_plain, headers))} |",
        f"| {' | '.join('---' for _ in headers)} |",
        *(f"| {' | '.join(map(_plain, row))} |" for row in rows),
    ]


_MARKED = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})


def _plain(text: str) -> str:
    """Return text that Markdown does not read as markup."""
    return " ".join(text.split()).translate(_MARKED)
