"""Curves as pictures: of training, and of what a willingness to pay buys."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from played import Played

from polyroute.evaluate.bootstrap import mean_interval

mpl.use("Agg")
import matplotlib.pyplot as plt

Curve = Mapping[str, Sequence[float]]
"""Numbers by name, one for each step of a run."""

SHOWN = {
    "reward": "reward of a sampled episode",
    "outcome": "share of right answers",
    "format_rate": "share of well-formed episodes",
    "calls": "calls a question",
    "top_share": "share of the most asked",
    "usd": "dollars a question",
}


def training_figure(path: Path, curves: Sequence[Curve], window: int = 5) -> None:
    """Draw the curves of several seeds: the mean of each window of steps, and their range."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.8), constrained_layout=True)
    steps = min(len(curve["reward"]) for curve in curves) // window * window
    at = np.arange(window, steps + 1, window)
    for axis, (name, title) in zip(axes.flat, SHOWN.items(), strict=True):
        smooth = np.array([_means(curve[name][:steps], window) for curve in curves])
        axis.plot(at, smooth.mean(axis=0), color="C0")
        axis.fill_between(at, smooth.min(axis=0), smooth.max(axis=0), alpha=0.25, color="C0")
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        if name in ("outcome", "format_rate", "top_share"):
            axis.set_ylim(0, 1.02)
    figure.supxlabel(f"batches of episodes (means of {window}; {len(curves)} seeds)", fontsize=9)
    _save(path)


def knob_figure(path: Path, worths: Sequence[int], sides: Mapping[str, Sequence[Played]]) -> None:
    """Draw quality over cost, one point for each willingness to pay, with 95 % intervals."""
    plt.figure(figsize=(5.6, 3.8), constrained_layout=True)
    for name, points in sides.items():
        usd = [mean_interval(np.asarray(each.usd) * 1e6) for each in points]
        quality = [mean_interval(each.quality) for each in points]
        x, y = ([each.estimate for each in found] for found in (usd, quality))
        plt.errorbar(x, y, xerr=_bars(usd), yerr=_bars(quality), marker="o", label=name, capsize=2)
        for worth, *place in zip(worths, x, y, strict=True):
            note = {"textcoords": "offset points", "xytext": (4, -9), "fontsize": 7}
            plt.annotate(str(worth), place, **note)
    plt.xlabel("µ$ a question")
    plt.ylabel("share of right answers")
    plt.legend(fontsize=8)
    _save(path)


def _bars(found: Sequence) -> np.ndarray:
    low = [each.estimate - each.low for each in found]
    high = [each.high - each.estimate for each in found]
    return np.maximum(0, np.array([low, high]))


def _means(values: Sequence[float], window: int) -> np.ndarray:
    return np.asarray(values, float).reshape(-1, window).mean(axis=1)


def _save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.savefig(path, dpi=110, metadata={"Software": None})
    plt.close("all")
