"""What pairs that have to agree reach at what price, on questions the choice did not see.

Usage: python benchmarks/agreement.py ../shared/data/dev/zeroeval_gsm number [SURE]

Five folds of the split train, by question; then train against val. Every fold chooses its own
members, other, and best single model; each is judged through the loop, on recorded replies.
"""

import sys
from collections.abc import Iterator

import numpy as np

from polyroute.errors import ConfigError
from polyroute.evaluate.baselines import best_constant, single_models
from polyroute.evaluate.bootstrap import mean_interval, ratio_interval
from polyroute.evaluate.harness import evaluate
from polyroute.outcomes import OutcomeTable, by_split, read_outcomes, side_of
from polyroute.outcomes.implied import pool_of
from polyroute.pool import Pool
from polyroute.spec import construct
from polyroute.train.agreement_fit import fit_agreement
from polyroute.types import JsonObject


def folds(table: OutcomeTable) -> Iterator[tuple[OutcomeTable, OutcomeTable]]:
    """Yield five divisions by question."""
    sides = {str(k): 0.2 for k in range(5)}
    side_N = np.array([int(side_of(q.prompt, sides, seed=0)) for q in table.queries])
    for k in range(5):
        yield table.only(side_N != k), table.only(side_N == k)


def chosen_on(seen: OutcomeTable, pool: Pool, answers: str, sure: float) -> JsonObject:
    """Return the policy; where nothing surely reaches the best single model, that model."""
    try:
        return fit_agreement(seen, pool, answers=answers, sure=sure)[0]
    except ConfigError:
        return {"name": "fixed", "model": best_constant(seen, pool)}


def main(path: str, answers: str, sure: str = "1.645") -> None:
    """Print the paired difference and the share of the price, by cross-validation and on val."""
    parts = by_split(read_outcomes(path))
    for name, pairs in (
        ("five folds", folds(parts["train"])),
        ("val", [(parts["train"], parts["val"])]),
    ):
        more, paid, single_paid, chosen = [], [], [], []
        for seen, judged in pairs:
            pool = pool_of(seen)
            spec = chosen_on(seen, pool, answers, float(sure))
            policy = construct("policies", spec, where="policy")
            got = evaluate({"agreement": policy}, judged, pool=pool)["agreement"]
            best = single_models(judged, pool)[best_constant(seen, pool)]
            more.append(got.score_N - best.score_N)
            paid.append(got.usd_N)
            single_paid.append(best.usd_N)
            members = "+".join(spec.get("members", ()))
            chosen.append(f"{members} > {spec['otherwise']}" if members else spec["model"])
        gain = mean_interval(np.concatenate(more))
        share = ratio_interval(np.concatenate(paid), np.concatenate(single_paid))
        print(
            f"{name}: {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] at "
            f"{share.estimate:.1%} [{share.low:.1%}, {share.high:.1%}] of the price, "
            f"{len(np.concatenate(more))} questions; {'; '.join(chosen)}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
