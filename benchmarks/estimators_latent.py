"""Quality routed by one estimator on one table, with its interval.

Usage: python benchmarks/estimators_latent.py ../shared/data/dev/evouna graph
"""

import sys
import time

import numpy as np

from polyroute.outcomes import read_outcomes
from polyroute.pool import ModelCard, Pool, Price
from polyroute.registry import load
from polyroute.types import Request


def main(path: str, name: str) -> None:
    """Fit on train, ask the card with the largest prediction on val, print what came of it."""
    table = read_outcomes(path)
    score_NM, cost_NM = table.scores_NM(), table.costs_NM()
    prices = [column[~np.isnan(column)] for column in cost_NM.T]
    pool = Pool(
        ModelCard(id=model, price=Price.per_million(0, 0, call=float(usd.mean())))
        if usd.size
        else ModelCard(id=model)
        for model, usd in zip(table.models, prices, strict=True)
    )
    requests = [Request.of(question.prompt, id=question.query_id) for question in table.queries]
    split = np.array([question.split for question in table.queries])
    train, val = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")

    start = time.perf_counter()
    estimator = load("estimators", name)()
    estimator.fit([requests[n] for n in train], score_NM[train], pool)
    fit_s = time.perf_counter() - start
    predicted_NM = estimator.predict([requests[n] for n in val], pool)

    best = int(np.nanargmax(np.nanmean(score_NM[train], axis=0)))
    pick_N = np.argmax(np.nan_to_num(predicted_NM, nan=-np.inf), axis=1)
    routed_N, single_N = score_NM[val, pick_N], score_NM[val, best]
    judged_N = ~np.isnan(routed_N) & ~np.isnan(single_N)
    gain_N = (routed_N - single_N)[judged_N]
    rng = np.random.default_rng(0)
    draws = [gain_N[rng.integers(len(gain_N), size=len(gain_N))].mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    rmse = np.sqrt(np.nanmean((predicted_NM - score_NM[val]) ** 2))
    top = np.bincount(pick_N).max() / len(val)
    print(
        f"{name}: {routed_N[judged_N].mean():.3f}, best single {single_N[judged_N].mean():.3f}, "
        f"difference {gain_N.mean():+.3f} [{low:+.3f}, {high:+.3f}], RMSE {rmse:.3f}, "
        f"top {top:.0%}, fit {fit_s:.0f} s"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
