"""The report as one HTML page: no script, no font, nothing that is fetched.

The one decision here: every text that is not ours is escaped where it enters the page. Prompts and
replies come from anywhere.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from polyroute.evaluate.bootstrap import Interval
from polyroute.evaluate.report.figures import (
    UNKNOWN,
    between,
    dollars,
    number,
    p_value,
    percent,
    signed,
)
from polyroute.evaluate.report.plot import COLOURS, cost_quality, differences, shares
from polyroute.evaluate.result import Outcome
from polyroute.evaluate.summary import CurveRow, Dispute, Row, Summary
from polyroute.types import Json

__all__ = ["page", "said"]

_PROMPT = 3_000
"""Characters of a question that are shown."""


def page(summary: Summary) -> str:
    """Return the whole page."""
    style = (files("polyroute.evaluate.report") / "page.css").read_text("utf-8")
    title = f"Routers compared on {summary.facts.get('table', 'an outcome table')}"
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _facts(summary),
            _verdict(summary),
            _results(summary),
            _curves(summary),
            _collapse(summary),
            _groups(summary),
            _disputes(summary),
            _reading(summary),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _facts(summary: Summary) -> str:
    facts = {
        "questions": str(summary.questions),
        "models": f"{len(summary.models)}: {', '.join(summary.models)}",
        "best constant": f"{summary.constant}, chosen on {summary.constant_from}",
        "intervals": f"{percent(summary.level)}, bootstrap over questions, seed {summary.seed}",
        **{key: value for key, value in summary.facts.items() if key != "table"},
    }
    if summary.without_text:
        facts["replies without text"] = (
            f"{summary.without_text}; a router that reads replies sees a placeholder for them"
        )
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{items}</dl>"


def _verdict(summary: Summary) -> str:
    """Return what is sure and what is not, in one sentence for each router."""
    lines = [
        f"<li><b>{escape(row.name)}</b> {said(row, summary.constant, summary.level)}</li>"
        for row in summary.rows
        if row.kind == "router"
    ]
    return f"<h2>In short</h2><ul>{''.join(lines)}</ul>"


def said(row: Row, constant: str, level: float) -> str:
    """Return the sentence on one router's difference to the best constant, as HTML."""
    reference = escape(constant)
    if not row.questions:
        return "has no score on this table."
    numbers = f"{signed(row.difference.estimate)} ({between(row.difference)})"
    if row.p_corrected < 1 - level and row.difference.excludes_zero:
        word, mark = ("better", "yes") if row.difference.estimate > 0 else ("worse", "no")
        return (
            f'is <span class="{mark}">{word}</span> than always {reference}: {numbers}, '
            f"corrected p {p_value(row.p_corrected)}."
        )
    return (
        f"cannot be told from always {reference}: {numbers}, corrected p "
        f"{p_value(row.p_corrected)}."
    )


_HEADERS = (
    "", "questions", "score", "interval", "to constant", "interval", "p (Holm)", "to coin",
    "$ / 1000", "seconds", "calls", "gap closed", "regret", "V_b", "arena", "opt. sel.",
    "opt. cost", "opt. acc.", "failed", "unrecorded",
)  # fmt: skip


def _results(summary: Summary) -> str:
    rows = [(row.kind, _cells(row)) for row in summary.rows]
    routers = [row for row in summary.rows if row.kind in ("router", "baseline")]
    return (
        "<h2>Results</h2>"
        + differences([row for row in routers if row.name != "best constant"])
        + _table(_HEADERS, rows)
    )


def _cells(row: Row) -> list[str]:
    per_thousand = dollars(1000 * row.usd)
    return [
        _titled(row), str(row.questions), number(row.quality.estimate), between(row.quality),
        signed(row.difference.estimate), between(row.difference), p_value(row.p_corrected),
        _estimate(row.over_coin), per_thousand, number(row.seconds, 2), number(row.calls, 2),
        percent(row.gap_closed), number(row.regret), number(row.value_over_best),
        number(100 * row.arena, 2), percent(row.optimal_selection), number(row.optimal_cost),
        number(row.optimal_accuracy), str(row.failed), str(row.unrecorded),
    ]  # fmt: skip


def _titled(row: Row) -> str:
    return row.name if row.kind in ("router", "model") else f"{row.name} ({row.kind})"


def _estimate(interval: Interval | None) -> str:
    if interval is None:
        return UNKNOWN
    return f"{signed(interval.estimate)} ({between(interval)})"


_CURVE_HEADERS = (
    "", "AIQ", "PerfGain", "CostSave", "ParetoDist", "APGR", "CPT 50", "CPT 80", "CPT 95",
)  # fmt: skip


def _curves(summary: Summary) -> str:
    if not summary.curves:
        return ""
    names = "".join(
        f'<li><i style="background:var(--c{k % COLOURS})"></i>{escape(curve.name)}</li>'
        for k, curve in enumerate(summary.curves)
    )
    rows = [("router", _curve_cells(curve)) for curve in summary.curves]
    turning = [curve for curve in summary.curves if curve.turns]
    bars = "".join(
        f"<h3>{escape(curve.name)}</h3>{shares(curve, summary.models)}" for curve in turning
    )
    return (
        "<h2>Quality against cost</h2><p>One point for each willingness to pay, with its "
        "interval; the line is the non-decreasing hull. Grey dots are single models, rings are "
        "baselines, dashed rings are bounds that saw the outcomes.</p>"
        f'{cost_quality(summary.curves, summary.rows)}<ul class="key">{names}</ul>'
        f"{_table(_CURVE_HEADERS, rows)}"
        + (f"<h2>Who is called as the knob turns</h2>{bars}" if turning else "")
    )


def _curve_cells(curve: CurveRow) -> list[str]:
    return [
        curve.name, number(curve.aiq), signed(curve.perf_gain), percent(curve.cost_save),
        number(curve.pareto_dist), number(curve.apgr), percent(curve.cpt50),
        percent(curve.cpt80), percent(curve.cpt95),
    ]  # fmt: skip


def _collapse(summary: Summary) -> str:
    rows = []
    for row in summary.rows:
        if row.kind in ("router", "baseline"):
            top = sorted(row.shares.items(), key=lambda item: -item[1])[:4]
            named = ", ".join(f"{model} {percent(share)}" for model, share in top)
            rows.append(
                (row.kind, [_titled(row), percent(row.most_used_share), number(row.entropy, 2),
                            number(row.predicted_entropy, 2), percent(row.robustness),
                            signed(row.regret_to_constant), named])
            )  # fmt: skip
    headers = (
        "", "most used", "entropy, bits", "E_p, bits", "robustness", "regret to constant",
        "calls go to",
    )  # fmt: skip
    return f"<h2>Collapse and robustness</h2>{_table(headers, rows)}"


def _groups(summary: Summary) -> str:
    if not summary.groups:
        return ""
    names = list(summary.groups[0].quality)
    rows = []
    for group in summary.groups:
        place = f"{group.dataset} / {group.task}".strip(" /") or "all"
        cells = [place, str(group.questions), ", ".join(group.winners)]
        rows.append(("", cells + [number(group.quality[name]) for name in names]))
    headers = ("task", "questions", "highest", *names)
    return (
        "<h2>Who won where</h2><p>With few questions a lead here is luck more often than not: "
        f"these numbers have no intervals.</p>{_table(headers, rows)}"
    )


def _disputes(summary: Summary) -> str:
    if not summary.disputes:
        return ""
    items = "".join(_dispute(dispute) for dispute in summary.disputes)
    return f"<h2>Where the routers differ most</h2>{items}"


def _dispute(dispute: Dispute) -> str:
    scores = ", ".join(
        f"{name} {UNKNOWN if o.score is None else number(o.score, 2)}"
        for name, o in dispute.outcomes.items()
    )
    start = " ".join(dispute.prompt.split())[:110]
    traces = "".join(_trace(name, outcome) for name, outcome in dispute.outcomes.items())
    return (
        f"<details><summary>{escape(start)} <small>{escape(scores)}</small></summary><div>"
        f"<small>{escape(dispute.query_id)} {escape(dispute.dataset)} {escape(dispute.task)}"
        f"</small><pre>{escape(dispute.prompt[:_PROMPT])}</pre>{traces}</div></details>"
    )


def _trace(name: str, outcome: Outcome) -> str:
    steps = "".join(_step(step) for step in outcome.steps)
    price = "price unknown" if outcome.usd is None else f"${outcome.usd:f}"
    end = f" {escape(outcome.failure)}" if outcome.failure else ""
    return f"<h4>{escape(name)} <small>{escape(price)}{end}</small></h4>{steps}"


def _step(step: Json) -> str:
    reason = f'<div class="quiet">{escape(str(step["reason"]))}</div>' if step["reason"] else ""
    if "answer" in step:
        return f"{reason}<pre>answer: {escape(str(step['answer']))}</pre>"
    replies = "".join(
        f"<pre><b>{escape(str(reply['model']))}</b>: "
        f"{escape(str(reply['failure'] or reply['text']))}</pre>"
        for reply in step["replies"]
    )
    return reason + replies


def _reading(summary: Summary) -> str:
    return (
        "<h2>How to read this</h2><p>Every score is a recorded one. Intervals are over questions; "
        "<i>to constant</i> is the paired difference to the best single model, which was chosen on "
        f"{escape(summary.constant_from)}; its p-value, by flipping signs, is corrected (Holm) for "
        "the number of routers. <i>To coin</i> is the difference to a draw between two single "
        "models that costs the same. Bounds chose with sight of the outcomes: no router reaches "
        "them. A question of which the table cannot say how a router would have done has no score "
        "for it, and counts under <i>unrecorded</i> when the router asked what was never "
        "recorded.</p>"
    )


def _table(headers: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    head = "".join(
        f'<th class="{"text" if header in _TEXTS else ""}">{escape(header)}</th>'
        for header in headers
    )
    body = "".join(
        f'<tr class="{kind}">{"".join(map(_cell, headers, cells))}</tr>' for kind, cells in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inner}</table></div>'


_TEXTS = ("calls go to", "highest")
"""Columns of words; the others are numbers, aligned to the right."""


def _cell(header: str, text: str) -> str:
    return f'<td class="{"text" if header in _TEXTS else ""}">{escape(text)}</td>'
