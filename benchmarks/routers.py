"""How well every estimator routes: fitted on train, judged on val, against the best single model.

Every question goes to the model with the largest predicted quality (cost plays no part here).
Hyper-parameters are chosen by three-fold cross-validation inside train, by squared error on what
was observed. The best single model is the one with the highest mean on train. Intervals are
paired bootstraps over the questions of val; estimators with randomness are fitted with three seeds
and judged by the mean over seeds. Each result is stored at once, so that a run can be resumed.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np

from polyroute import ModelCard, Pool, Request
from polyroute.outcomes import read_outcomes
from polyroute.protocols import Estimator, State
from polyroute.registry import load, names
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.sparse import Sparse

TABLES = [
    "llmrouter_mix",
    "evouna",
    "routellm_mmlu",
    "routellm_gsm8k",
    "zeroeval_gsm",
    "zeroeval_math_l5",
    "zeroeval_crux",
    "mmlu_pro",
    "reasoning_gym",
]
GRIDS = {
    "ridge": {"alpha": [10.0, 3.0, 30.0]},
    "logistic": {"alpha": [1.0, 3.0]},
    "neighbours": {"k": [50, 100]},
    "svm": {"c": [0.05, 0.15]},
}
"""What cross-validation chooses from; the defaults come first. Others run as they come."""
SEEDS = {"clusters": 3, "mlp": 3}
LARGEST = 60_000
"""Questions times models up to which cross-validation is cheap; beyond, the defaults are used."""
RESAMPLES = 4_000


class Prepared:
    """TF-IDF fitted once on the train split, its rows computed once: an encoder to share."""

    def __init__(self, train: list[str], texts: list[str]) -> None:
        encoder = TfIdf(of_words=(1, 2), min_df=2, sublinear=True).fit(train)
        self.state_of = encoder.state
        unique = list(dict.fromkeys(texts))
        self.row = {text: n for n, text in enumerate(unique)}
        self.x_ND = encoder.encode(unique)

    def fit(self, texts: list[str]) -> Self:
        """Return itself: it is fitted."""
        return self

    def encode(self, texts: list[str]) -> Sparse:
        """Return the stored rows."""
        return self.x_ND.rows(np.array([self.row[text] for text in texts], np.int64))

    def state(self) -> State:
        """Return what the vocabulary is."""
        return self.state_of()

    def restore(self, state: State) -> Self:
        """Return itself."""
        return self


class Table:
    """One outcome table, split."""

    def __init__(self, path: Path) -> None:
        table = read_outcomes(path)
        score_NM, cost_NM = table.scores_NM(), table.costs_NM()
        split = np.array([question.split for question in table.queries])
        requests = [Request.of(question.prompt) for question in table.queries]
        seen = ~np.isnan(score_NM)
        train = np.flatnonzero((split == "train") & seen.any(axis=1))
        val = np.flatnonzero((split == "val") & seen.all(axis=1))
        self.pool = Pool(ModelCard(id=model) for model in table.models)
        self.train, self.val = ([requests[n] for n in rows] for rows in (train, val))
        self.target_NM, self.judged_NM = score_NM[train], score_NM[val]
        self.usd_NM = cost_NM[val]
        self.best = int(np.nanmean(self.target_NM, axis=0).argmax())
        prompts = [[request.prompt for request in part] for part in (self.train, self.val)]
        self.encoder = Prepared(prompts[0], prompts[0] + prompts[1])

    def build(self, name: str, parameters: dict[str, float], seed: int) -> Estimator:
        """Return the estimator, with the shared features where it reads any."""
        factory = load("estimators", name)
        known = factory.__init__.__kwdefaults__ or {}
        shared = {"encoder": self.encoder, "seed": seed}
        return factory(**parameters, **{k: v for k, v in shared.items() if k in known})


def chosen(table: Table, name: str) -> dict[str, float]:
    """Return the point of the grid with the least squared error over three folds of train."""
    grid = GRIDS.get(name, {})
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if len(points) == 1 or table.target_NM.size > LARGEST:
        return points[0]
    fold_N = np.random.default_rng(0).permutation(len(table.train)) % 3
    errors = []
    for point in points:
        squared = []
        for fold in range(3):
            inside, outside = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            fit = table.build(name, point, 0)
            fit.fit([table.train[n] for n in inside], table.target_NM[inside], table.pool)
            predicted_NM = fit.predict([table.train[n] for n in outside], table.pool)
            squared.append(((predicted_NM - table.target_NM[outside]) ** 2).ravel())
        errors.append(np.nanmean(np.concatenate(squared)))
    return points[int(np.argmin(errors))]


def judge(table: Table, name: str) -> dict[str, Any]:
    """Fit on train, route val, and compare with the best single model."""
    rows = np.arange(len(table.val))
    started = time.process_time()
    point = chosen(table, name)
    tune_s = time.process_time() - started
    quality, usd, shares, fit_s = [], [], [], []
    for seed in range(SEEDS.get(name, 1)):
        started_fit = time.process_time()
        fit = table.build(name, point, seed).fit(table.train, table.target_NM, table.pool)
        fit_s.append(time.process_time() - started_fit)
        pick_N = fit.predict(table.val, table.pool).argmax(axis=1)
        quality.append(table.judged_NM[rows, pick_N])
        usd.append(table.usd_NM[rows, pick_N])
        shares.append(np.bincount(pick_N, minlength=len(table.pool)).max() / len(rows))
    quality_N, single_N = np.mean(quality, axis=0), table.judged_NM[:, table.best]
    draws = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    low, high = np.percentile((quality_N - single_N)[draws].mean(axis=1), [2.5, 97.5])
    return {
        "quality": quality_N.mean(),
        "gain": (quality_N - single_N).mean(),
        "low": low,
        "high": high,
        "gap": (quality_N - single_N).mean()
        / ((table.judged_NM.max(axis=1) - single_N).mean() or np.nan),
        "usd": float(np.nanmean(usd)) if np.isfinite(usd).any() else None,
        "share": float(np.mean(shares)),
        "chosen": point,
        "tune_s": tune_s,
        "fit_s": float(np.mean(fit_s)),
    }


def heading(name: str, table: Table) -> str:
    """Return what stands above a table's results."""
    single_N = table.judged_NM[:, table.best]
    oracle = table.judged_NM.max(axis=1).mean()
    usd = table.usd_NM[:, table.best]
    return (
        f"\n## {name}\n\n{len(table.train)} questions to fit, {len(table.val)} to judge, "
        f"{len(table.pool)} models. Best single model on train: `{table.pool[table.best].id}`, "
        f"{single_N.mean():.4f} on val"
        + (
            f" at {1e3 * np.nanmean(usd):.3f} $ per 1,000 questions"
            if np.isfinite(usd).any()
            else ""
        )
        + f". Oracle: {oracle:.4f}.\n\n"
        "| estimator | quality | against best single, 95 % interval | gap closed "
        "| largest share | $ per 1,000 | chosen | fit, CPU s |\n"
        "| --- | ---: | --- | ---: | ---: | ---: | --- | ---: |"
    )


def line(name: str, result: dict[str, Any]) -> str:
    """Return one row."""
    point = ", ".join(f"{key} {value:g}" for key, value in result["chosen"].items())
    significant = "**" if result["low"] > 0 or result["high"] < 0 else ""
    usd = "" if result["usd"] is None else f"{1e3 * result['usd']:.3f}"
    gain = f"{100 * result['gain']:+.2f} [{100 * result['low']:+.2f}, {100 * result['high']:+.2f}]"
    return (
        f"| {name} | {result['quality']:.4f} | {significant}{gain}{significant} "
        f"| {100 * result['gap']:.0f} % | {100 * result['share']:.0f} % | {usd} | {point} "
        f"| {result['fit_s']:.1f} |"
    )


def main() -> None:
    """Print the results as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--tables", nargs="*", default=TABLES)
    parser.add_argument("--routers", nargs="*", default=None, help="default: all but token_cost")
    parser.add_argument("--out", type=Path, default=Path("build/routers"), help="finished results")
    options = parser.parse_args()
    routers = options.routers or [name for name in names("estimators") if name != "token_cost"]
    for name in options.tables:
        if not (options.data / f"{name}.queries.parquet").is_file():
            print(f"skipped {name}: not in {options.data}")
            continue
        table = Table(options.data / name)
        print(heading(name, table), flush=True)
        for router in routers:
            stored = options.out / name / f"{router}.json"
            if not stored.is_file():
                stored.parent.mkdir(parents=True, exist_ok=True)
                stored.write_text(json.dumps(judge(table, router)), "utf-8")
            print(line(router, json.loads(stored.read_text("utf-8"))), flush=True)


if __name__ == "__main__":
    main()
