"""Judge what `routers.py` predicted, and write the figures between two marks of a document.

python benchmarks/routers_report.py docs/benchmarks/routers.md
"""

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from routers import FOLDS, MEMBERS, TABLES, Table, best_point, routed, squared
from scipy.optimize import nnls

from polyroute.evaluate.bootstrap import (
    Interval,
    holm,
    paired_interval,
    sign_flip_p,
)
from polyroute.protocols import FloatArray

BEGIN, END = "<!-- figures: written by benchmarks/routers_report.py -->", "<!-- end of figures -->"


@dataclass
class Cell:
    """What one estimator predicted on one table."""

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    quality_N: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def held_PNM(self) -> NDArray[Any] | None:  # noqa: N802 - a shape
        """Predictions for train by fits that did not see the question; none if untried."""
        return self.arrays.get("held_PNM")

    def point(self, criterion: str) -> int:
        """Return the point that was chosen."""
        return int(self.about["chosen"][criterion])

    def val_SNM(self, criterion: str) -> NDArray[Any]:  # noqa: N802 - a shape
        """Return the predictions on val, a row of them for each seed."""
        return np.asarray(self.arrays[f"val_{self.point(criterion)}_SNM"], np.float64)


def cells(folder: Path) -> dict[str, Cell]:
    """Return the finished cells of one table, by estimator."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text("utf-8"))
        with np.load(path.with_suffix(".npz")) as arrays:
            found[path.stem] = Cell(about, dict(arrays))
    return found


def ten_lines(folder: Path, table: Table) -> FloatArray:
    """Return what a ridge with alpha 10 predicts for val."""
    stored = folder / "ten_lines.npy"
    if not stored.is_file():
        fit = table.fitted("ridge", {"alpha": 10.0})
        np.save(stored, fit.predict(table.val, table.pool))
    return np.asarray(np.load(stored))


def points(interval: Interval, *, strong: bool | None = None) -> str:
    """Return an interval in points of quality; bold where it leaves out zero."""
    text = f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"**{text}**" if (interval.excludes_zero if strong is None else strong) else text


def differences(predicted_NM: FloatArray, target_NM: FloatArray) -> FloatArray:
    """Return the squared error of what tells the models of a question apart, by question."""
    seen_NM = np.where(np.isnan(target_NM), np.nan, predicted_NM)
    away_NM = seen_NM - np.nanmean(seen_NM, axis=1, keepdims=True)
    return squared(away_NM, target_NM - np.nanmean(target_NM, axis=1, keepdims=True))


def by_criterion(table: Table, found: dict[str, Cell]) -> dict[str, FloatArray]:
    """Return what questions of train score if the point is chosen on the other folds.

    The mean over the estimators that have more than one point, for every way to choose.
    """
    fold_N = table.order_N % FOLDS
    scores: dict[str, list[FloatArray]] = defaultdict(list)
    for cell in found.values():
        if cell.held_PNM is None or len(cell.held_PNM) < 2:
            continue
        held_PNM = cell.held_PNM.astype(np.float64)
        parts = defaultdict(lambda: np.full(len(fold_N), np.nan))
        for fold in range(FOLDS):
            others, own = fold_N != fold, fold_N == fold
            target_NM = table.target_NM[others]
            chosen = {
                "default": 0,
                "squared": best_point(held_PNM[:, others], target_NM, "squared"),
                "routed": best_point(held_PNM[:, others], target_NM, "routed"),
                "differences": int(
                    np.argmin([np.nanmean(differences(p, target_NM)) for p in held_PNM[:, others]])
                ),
            }
            for name, p in chosen.items():
                parts[name][own] = routed(held_PNM[p][own], table.target_NM[own])
        for name, score_N in parts.items():
            scores[name].append(score_N)
    return {name: np.mean(values, axis=0) for name, values in scores.items()}


def blends(table: Table, found: dict[str, Cell]) -> dict[str, FloatArray] | None:
    """Return what questions of train score by a blend with equal and with stacked weights."""
    parts = [found[name].held_PNM for name in MEMBERS if name in found]
    if len(parts) < len(MEMBERS) or any(part is None for part in parts):
        return None
    held_KNM = np.array([part[0] for part in parts if part is not None], np.float64)
    target_NM, fold_N = table.target_NM, table.order_N % FOLDS
    stacked_NM = np.empty(target_NM.shape)
    for fold in range(FOLDS):
        others, own = fold_N != fold, fold_N == fold
        mean_M = np.nanmean(target_NM[others], axis=0)
        seen_NM = ~np.isnan(target_NM[others])
        columns = np.stack([(one - mean_M)[others][seen_NM] for one in held_KNM], axis=1)
        weights, _ = nnls(columns, (target_NM - mean_M)[others][seen_NM])
        stacked_NM[own] = mean_M + np.tensordot(weights, (held_KNM - mean_M)[:, own], 1)
    scores = {name: routed(one, target_NM) for name, one in zip(MEMBERS, held_KNM, strict=True)}
    return {
        **scores,
        "equal weights": routed(held_KNM.mean(axis=0), target_NM),
        "stacked weights": routed(stacked_NM, target_NM),
    }


def results(
    table: Table, found: dict[str, Cell], ridge_NM: FloatArray, criterion: str
) -> list[str]:
    """Return a row for every estimator."""
    single_N, rows = table.judged_NM[:, table.best], np.arange(len(table.val))
    ridge_N = routed(ridge_NM, table.judged_NM)
    headroom = (table.judged_NM.max(axis=1) - single_N).mean()
    priced = ~np.isnan(table.usd_NM).any()
    shown, values = [], []
    for name, cell in found.items():
        picks_SN = cell.val_SNM(criterion).argmax(axis=2)
        cell.quality_N = np.mean([table.judged_NM[rows, pick_N] for pick_N in picks_SN], axis=0)
        values.append(sign_flip_p(cell.quality_N - single_N, resamples=999))
        shown.append((name, cell, picks_SN))
    lines = []
    for (name, cell, picks_SN), p in zip(shown, holm(values), strict=True):
        gain = paired_interval(cell.quality_N, single_N)
        spread = [table.judged_NM[rows, pick_N].mean() for pick_N in picks_SN]
        usd = 1e3 * np.mean([table.usd_NM[rows, pick_N].mean() for pick_N in picks_SN])
        share = np.mean([np.bincount(pick_N).max() / len(rows) for pick_N in picks_SN])
        point = cell.about["points"][cell.point(criterion)]
        chosen = ", ".join(f"{key} {value:g}" for key, value in point.items())
        if point and cell.held_PNM is None:
            chosen = "not tuned"
        seeds = f"{len(spread)}, ±{100 * np.std(spread):.1f}" if len(spread) > 1 else "1"
        lines.append(
            f"| {name} | {100 * cell.quality_N.mean():.1f} | {points(gain)} "
            f"| {p:.2g} | {100 * gain.estimate / headroom:.0f} % "
            f"| {points(paired_interval(cell.quality_N, ridge_N))} | {100 * share:.0f} % "
            f"| {f'{usd:.3f}' if priced else ''} | {chosen} | {seeds} | {cell.about['fit_s']:.1f} |"
        )
    return lines


def heading(name: str, table: Table, ridge_NM: FloatArray) -> str:
    """Return what stands above a table's results."""
    single_N = table.judged_NM[:, table.best]
    usd = table.usd_NM[:, table.best].mean()
    price = "" if np.isnan(usd) else f" for {1e3 * usd:.3f} $ per 1,000 questions"
    return (
        f"\n### {name}\n\n{len(table.train)} questions to fit, {len(table.val)} to judge, "
        f"{len(table.pool)} models. Best single model on train: `{table.pool[table.best].id}`, "
        f"{100 * single_N.mean():.1f} on val{price}. Oracle "
        f"{100 * table.judged_NM.max(axis=1).mean():.1f}; the ten lines "
        f"{100 * routed(ridge_NM, table.judged_NM).mean():.1f}.\n\n"
        "| estimator | quality | less best single | p, of all rows | gap closed "
        "| less the ten lines | top | $ per 1,000 | chosen | seeds | fit, s |\n"
        "| --- | ---: | --- | ---: | ---: | --- | ---: | ---: | --- | --- | ---: |"
    )


def choosing(nested: dict[str, dict[str, FloatArray]]) -> list[str]:
    """Return how ways to choose compare, by table and over all questions."""
    lines = [
        "\n### What should choose the hyper-parameters?\n",
        "| table | squared error less defaults | squared error of differences less defaults "
        "| routed quality less defaults | routed quality less squared error |",
        "| --- | --- | --- | --- | --- |",
    ]
    pairs = [("squared", "default"), ("differences", "default"), ("routed", "default"),
             ("routed", "squared")]  # fmt: skip
    whole: dict[str, FloatArray] = {
        way: np.concatenate([scores[way] for scores in nested.values()])
        for way in ("default", "squared", "differences", "routed")
    }
    for name, scores in {**nested, "all questions": whole}.items():
        row = [points(paired_interval(scores[a], scores[b])) for a, b in pairs]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return lines


def blending(by_table: dict[str, dict[str, FloatArray]]) -> list[str]:
    """Return how the blend compares with its members and with stacked weights, on train."""
    columns = [*MEMBERS, "stacked weights"]
    lines = [
        "\n### Does the blend earn its place?\n",
        f"| table | {' | '.join(f'equal weights less {name}' for name in columns)} |",
        f"| --- |{' --- |' * len(columns)}",
    ]
    whole = {
        way: np.concatenate([scores[way] for scores in by_table.values()])
        for way in ("equal weights", *columns)
    }
    for name, scores in {**by_table, "all questions": whole}.items():
        row = [points(paired_interval(scores["equal weights"], scores[way])) for way in columns]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return lines


def figures(data: Path, out: Path, wanted: Sequence[str], criterion: str) -> str:
    """Return everything that is measured, as Markdown."""
    nested, mixed, tables = {}, {}, []
    for name in wanted:
        found = cells(out / name)
        if not found:
            continue
        table = Table(data / name)
        ridge_NM = ten_lines(out / name, table)
        nested[name] = by_criterion(table, found)
        if (blend := blends(table, found)) is not None:
            mixed[name] = blend
        tables += [heading(name, table, ridge_NM), *results(table, found, ridge_NM, criterion)]
    return "\n".join([*choosing(nested), *blending(mixed), *tables, ""])


def main() -> None:
    """Write the figures into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--cells", type=Path, default=Path("build/routers"))
    parser.add_argument("--criterion", choices=["squared", "routed"], default="routed")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should
        text = figures(options.data, options.cells, TABLES, options.criterion)
    before, _, rest = options.document.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
