"""The cost-quality plot as a PNG, where matplotlib is installed."""

import math
from pathlib import Path

import numpy as np

from polyroute.errors import MissingExtraError
from polyroute.evaluate.summary import Summary

__all__ = ["write_picture"]


def write_picture(summary: Summary, path: Path) -> None:
    """Draw quality against cost, with hulls and intervals, into the file `path`.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a PNG needs matplotlib; run: pip install matplotlib") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    costs = []
    for row in summary.rows:
        if row.kind != "router" and math.isfinite(row.usd) and math.isfinite(row.quality.estimate):
            costs.append(row.usd)
            axes.plot(row.usd, row.quality.estimate, "o", color="0.6", markersize=4)
    for curve in summary.curves:
        known = [(u, q) for u, q in zip(curve.usd, curve.quality, strict=True) if math.isfinite(u)]
        if not known:
            continue
        usd = [u for u, _ in known]
        costs += usd
        middle = [q.estimate for _, q in known]
        ends = [[q.estimate - q.low for _, q in known], [q.high - q.estimate for _, q in known]]
        drawn = axes.errorbar(usd, middle, yerr=ends, fmt="o", label=_label(curve.name), capsize=2)
        cost, quality = zip(*curve.hull, strict=True)
        grid = np.geomspace(cost[0], cost[-1], 100) if cost[0] > 0 else np.array(cost)
        axes.plot(grid, np.interp(grid, cost, quality), color=drawn[0].get_color())
    if costs and min(costs) > 0 and max(costs) > 20 * min(costs):
        axes.set_xscale("log")
    axes.set_xlabel("dollars per question")
    axes.set_ylabel("mean score")
    if summary.curves:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def _label(name: str) -> str:
    """Return a name without what the font may lack, or what would be read as a formula."""
    return name[:40].encode("ascii", "backslashreplace").decode().replace("$", r"\$")
