"""Five-fold cross-validation of `kinds` against ridge and the best single model, by table.

All questions that every model answered, of train and val; in each fold everything, the best single
model too, is fitted on four fifths. Differences are paired by question, 95 % bootstrap intervals.

    OMP_NUM_THREADS=1 python benchmarks/kinds.py --tables llmrouter_mix
"""

import argparse
from pathlib import Path

import numpy as np
from routers import Table, routed
from routers_report import points

from polyroute.evaluate.bootstrap import paired_interval
from polyroute.protocols import FloatArray

FOLDS = 5
SEED = 20
"""Other folds than those on which `kinds` was designed."""


def scores(table: Table) -> dict[str, FloatArray]:
    """Return what every question scores by each router, fitted without its fold."""
    fold_N = np.random.default_rng(SEED).permutation(len(table.train)) % FOLDS
    found = {name: np.full(len(fold_N), np.nan) for name in ("kinds", "ridge", "mean")}
    for fold in range(FOLDS):
        own = np.flatnonzero(fold_N == fold)
        for name, score_N in found.items():
            fit = table.fitted(name, {}, rows=fold_N != fold)
            predicted_NM = fit.predict([table.train[n] for n in own], table.pool)
            score_N[own] = routed(predicted_NM, table.target_NM[own])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--tables", nargs="+", required=True)
    options = parser.parse_args()
    print("| table | questions | kinds | quality | less ridge | less best single | gap closed |")
    print("| --- | ---: | ---: | ---: | --- | --- | ---: |")
    for name in options.tables:
        table = Table(options.data / name, pooled=True)
        found = scores(table)
        kinds_N, single_N = found["kinds"], found["mean"]
        gain = paired_interval(kinds_N, single_N)
        headroom = (table.target_NM.max(axis=1) - single_N).mean()
        print(
            f"| {name} | {len(kinds_N)} | {len(set(table.kinds))} | {100 * kinds_N.mean():.1f} "
            f"| {points(paired_interval(kinds_N, found['ridge']))} | {points(gain)} "
            f"| {100 * gain.estimate / headroom:.0f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
