"""A learned cascade on recorded replies: fitted on train, judged once on val.

Run: python benchmarks/cascades.py TABLE MODEL MODEL [MODEL ...]

Prints, for several caps on the mean price, the cascade found, its quality and price on val, the
quality of the chance mixture of single models at that price, and the paired 95 % interval of the
difference (bootstrap over questions).
"""

import asyncio
import sys

import numpy as np

from polyroute import ModelCard, Pool, Request
from polyroute.backends.replay import Replay
from polyroute.episode import run_episode
from polyroute.outcomes import by_split, read_outcomes
from polyroute.protocols import FloatArray
from polyroute.train.cascade_fit import fit_frugal


def mixture(quality_M: FloatArray, usd_M: FloatArray, usd: float) -> tuple[int, int, float]:
    """Return the two single models and the share of the second that are best for `usd`."""
    best, shares = -1.0, (0, 0, 0.0)
    for i in range(len(usd_M)):
        for j in range(len(usd_M)):
            if usd_M[i] <= usd <= usd_M[j] and usd_M[i] < usd_M[j]:
                share = (usd - usd_M[i]) / (usd_M[j] - usd_M[i])
            elif i == j and usd_M[i] <= usd:
                share = 1.0
            else:
                continue
            value = (1 - share) * quality_M[i] + share * quality_M[j]
            if value > best:
                best, shares = value, (i, j, share)
    return shares


def main(name: str, models: list[str]) -> None:
    """Fit and judge on the table `name`."""
    table = read_outcomes(name)
    pool = Pool([ModelCard(id=model) for model in models])
    columns = [table.models.index(model) for model in models]
    train, val = by_split(table)["train"], by_split(table)["val"]
    quality_NM, usd_NM = val.scores_NM()[:, columns], val.costs_NM()[:, columns]
    whole = np.isfinite(quality_NM + usd_NM).all(axis=1)
    rng = np.random.default_rng(0)
    print(f"{name}: {whole.sum()} questions of val answered by all")
    for model, quality, usd in zip(
        models, quality_NM[whole].mean(0), usd_NM[whole].mean(0), strict=True
    ):
        print(f"  {model}: {quality:.3f} for ${usd:.2g}")
    dearest = np.nanmean(train.costs_NM()[:, columns], axis=0).max()
    backend = Replay.of(val)
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        fitted = fit_frugal(train, pool, usd=share * dearest)
        got, usd, rows = [], [], np.flatnonzero(whole)
        for n in rows:
            request = Request.of(val.queries[n].prompt)
            trace = asyncio.run(run_episode(fitted.policy, backend, request, pool))
            answered_by = models.index((trace.final or trace.good_replies[-1]).model)
            got.append(quality_NM[n, answered_by])
            usd.append(float(trace.bill.usd))
        i, j, part = mixture(quality_NM[rows].mean(0), usd_NM[rows].mean(0), np.mean(usd))
        gain = np.array(got) - (1 - part) * quality_NM[rows, i] - part * quality_NM[rows, j]
        resampled = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(2000)]
        low, high = np.percentile(resampled, [2.5, 97.5])
        print(
            f"  cap {share:.0%}: {' > '.join(fitted.policy.order)} {np.mean(got):.3f} for "
            f"${np.mean(usd):.2g} (expected {fitted.training['expected']['quality']:.3f}); over "
            f"the mixture at that price {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
