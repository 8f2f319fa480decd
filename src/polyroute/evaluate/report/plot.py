"""Plots as SVG text: what a report needs, and no more.

The one decision here: colours are CSS variables of the page, so that a plot follows light and dark
mode, and everything that is shown has a text beside it or in its `<title>`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from polyroute.evaluate.bootstrap import Interval
from polyroute.evaluate.report.figures import dollars, number, percent, signed
from polyroute.evaluate.summary import CurveRow, Row

__all__ = ["COLOURS", "cost_quality", "differences", "shares"]

COLOURS = 8
"""Series colours that the page defines: ``--c0`` … ``--c7``; later series begin again."""

_WIDE, _HIGH = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 30, 12, 44

_TICKS = 5

_PIECES = 12
"""Of each line of a hull."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From a value to a place on the page."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._inner(self.low), self._inner(self.high)
        part = (self._inner(value) - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values inside."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**k for k in range(first, last + 1)] or [self.low, self.high]
        step = _round_step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def cost_quality(curves: Sequence[CurveRow], rows: Sequence[Row]) -> str:
    """Return the plot of quality against cost: routers with hulls, models, bounds.

    Returns
    -------
    str
        An ``<svg>`` element that scrolls where the page is narrow; a sentence without costs.
    """
    dots = [row for row in rows if row.kind != "router" and _shown(row.usd, row.quality.estimate)]
    points = [
        (usd, quality)
        for curve in curves
        for usd, quality in zip(curve.usd, curve.quality, strict=True)
        if _shown(usd, quality.estimate)
    ]
    costs = [row.usd for row in dots] + [usd for usd, _ in points]
    if not costs or max(costs) <= 0:
        return "<p>No cost is known, so there is no curve of it.</p>"
    heights = [row.quality.estimate for row in dots]
    heights += [end for _, q in points for end in (q.low, q.high)]
    x, y = _scales([cost for cost in costs if cost > 0], heights)
    parts = [_axes(x, y, "dollars per question", "mean score")]
    for row in dots:
        label = f"{row.name}: {number(row.quality.estimate)} for {dollars(row.usd)}"
        mark = "bound" if row.kind == "bound" else "model" if row.kind == "model" else "baseline"
        parts.append(_dot(x(max(row.usd, x.low)), y(row.quality.estimate), mark, label))
    for k, curve in enumerate(curves):
        parts.append(_series(k, curve, x, y))
    return _svg(_HIGH, "Quality against cost", parts)


def differences(rows: Sequence[Row]) -> str:
    """Return the plot of each row's difference to the best constant, with its interval."""
    shown = [row for row in rows if math.isfinite(row.difference.low)]
    if not shown:
        return "<p>No difference is known.</p>"
    ends = [0.0] + [end for row in shown for end in (row.difference.low, row.difference.high)]
    pad = 0.05 * (max(ends) - min(ends)) or 0.1
    left, line = 190, 24
    x = _Scale(min(ends) - pad, max(ends) + pad, left, _WIDE - _RIGHT)
    high = _TOP + line * len(shown) + _BOTTOM
    bottom = high - _BOTTOM
    parts = [
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{_TOP}" y2="{bottom}"/>',
        *(_tick_below(x(tick), bottom, signed(tick, 2)) for tick in x.ticks()),
        _text((left + _WIDE) / 2, high - 6, "score less that of the best constant", "middle"),
    ]
    for k, row in enumerate(shown):
        y = _TOP + line * (k + 0.5)
        low, middle, end = (
            x(v) for v in (row.difference.low, row.difference.estimate, row.difference.high)
        )
        label = f"{row.name}: {signed(row.difference.estimate)}"
        colour = f"var(--c{k % COLOURS})" if row.kind == "router" else "var(--quiet)"
        name = row.name if row.kind == "router" else f"{row.name} ({row.kind})"
        parts.append(_text(left - 8, y + 4, name[:28], "end"))
        parts.append(
            f'<g style="color:{colour}"><title>{escape(label)}</title>'
            f'<line class="bar" x1="{low:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot" cx="{middle:.1f}" cy="{y:.1f}" r="4"/></g>'
        )
    return _svg(high, "Difference to the best constant", parts)


def shares(curve: CurveRow, models: Sequence[str]) -> str:
    """Return the plot of each model's share of the calls, one bar per setting of the knob."""
    total = {m: sum(share.get(m, 0.0) for share in curve.shares) for m in models}
    used = [m for m in sorted(models, key=lambda m: -total[m]) if total[m]][: COLOURS - 1]
    bar, gap, high = 26, 8, 40 + 34 * len(curve.shares)
    left = 90
    parts = []
    for k, (knob, share) in enumerate(zip(curve.knob, curve.shares, strict=True)):
        y, start = 8 + k * (bar + gap), float(left)
        parts.append(_text(left - 8, y + 17, dollars(knob), "end"))
        for model in used:
            wide = (_WIDE - _RIGHT - left) * share.get(model, 0.0)
            if wide > 0:
                colour = f"var(--c{used.index(model) % COLOURS})"
                parts.append(
                    f'<rect x="{start:.1f}" y="{y}" width="{wide:.1f}" height="{bar}" '
                    f'style="fill:{colour}"><title>{escape(model)}: {percent(share[model])}'
                    "</title></rect>"
                )
                start += wide
        if _WIDE - _RIGHT - start > 1:
            rest = percent((_WIDE - _RIGHT - start) / (_WIDE - _RIGHT - left))
            parts.append(
                f'<rect x="{start:.1f}" y="{y}" width="{_WIDE - _RIGHT - start:.1f}" '
                f'height="{bar}" style="fill:var(--line)"><title>others: {rest}</title></rect>'
            )
    parts.append(_text(left, high - 8, "share of the calls, by dollars per unit of quality"))
    return _svg(high, f"Share per model of {curve.name}", parts) + _key(used)


def _series(k: int, curve: CurveRow, x: _Scale, y: _Scale) -> str:
    """Return the points, intervals and hull of one router."""
    known = [(u, q) for u, q in zip(curve.usd, curve.quality, strict=True)
             if _shown(u, q.estimate)]  # fmt: skip
    corners = " ".join(f"{x(max(u, x.low)):.1f},{y(q):.1f}" for u, q in _line(curve.hull))
    marks = "".join(_interval(x(max(u, x.low)), q, y, curve.name, u) for u, q in known)
    return (
        f'<g style="color:var(--c{k % COLOURS})">'
        f'<polyline class="hull" points="{corners}"/>{marks}</g>'
    )


def _line(hull: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points along the hull: its straight lines are curves on a logarithmic axis."""
    points = list(hull[:1])
    for (u0, q0), (u1, q1) in pairwise(hull):
        for k in range(1, _PIECES + 1):
            part = k / _PIECES if u0 <= 0 else ((u1 / u0) ** (k / _PIECES) - 1) / (u1 / u0 - 1)
            points.append((u0 + part * (u1 - u0), q0 + part * (q1 - q0)))
    return points


def _interval(place: float, quality: Interval, y: _Scale, name: str, usd: float) -> str:
    label = (
        f"{name}: {number(quality.estimate)} ({number(quality.low)} to {number(quality.high)}) "
        f"for {dollars(usd)}"
    )
    return (
        f'<line class="bar" x1="{place:.1f}" x2="{place:.1f}" y1="{y(quality.low):.1f}" '
        f'y2="{y(quality.high):.1f}"/>'
        + _dot(place, y(quality.estimate), "dot", label)
    )  # fmt: skip


def _scales(costs: Sequence[float], heights: Sequence[float]) -> tuple[_Scale, _Scale]:
    wide = max(costs) > 20 * min(costs)
    low, high = min(costs), max(costs)
    if wide:
        low, high = low / 1.3, high * 1.3
    else:
        pad = 0.06 * (high - low) or 0.5 * high
        low, high = max(0.0, low - pad), high + pad
    pad = 0.06 * (max(heights) - min(heights)) or 0.05
    return (
        _Scale(low, high, _LEFT, _WIDE - _RIGHT, logarithmic=wide),
        _Scale(min(heights) - pad, max(heights) + pad, _HIGH - _BOTTOM, _TOP),
    )


def _axes(x: _Scale, y: _Scale, below: str, beside: str) -> str:
    bottom = _HIGH - _BOTTOM
    lines = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        + _text(_LEFT - 6, y(t) + 4, f"{t:.2f}", "end")
        for t in y.ticks()
    ]
    lines += [_tick_below(x(t), bottom, dollars(t)) for t in x.ticks()]
    lines.append(_text((_LEFT + _WIDE) / 2, _HIGH - 6, below, "middle"))
    middle = (_TOP + bottom) / 2
    lines.append(
        f'<text transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(beside)}</text>"
    )
    return "".join(lines)


def _tick_below(x: float, bottom: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        + _text(x, bottom + 19, label, "middle")
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dot(x: float, y: float, mark: str, label: str) -> str:
    return (
        f'<circle class="{mark}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(label)}</title>'
        "</circle>"
    )


def _svg(high: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDE} {high:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></div>'
    )


def _key(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><i style="background:var(--c{k % COLOURS})"></i>{escape(name)}</li>'
        for k, name in enumerate(names)
    )
    return f'<ul class="key">{items}</ul>'


def _shown(usd: float, quality: float) -> bool:
    return math.isfinite(usd) and math.isfinite(quality)


def _round_step(step: float) -> float:
    scale = 10.0 ** math.floor(math.log10(step))
    return next(k * scale for k in (1, 2, 5, 10) if k * scale >= step * (1 - 1e-9))
