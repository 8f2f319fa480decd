"""Fit every estimator on every outcome table, and keep what each predicted: one file per cell.

A cell is a table and an estimator. Every point of the estimator's grid is fitted in folds of the
train split; the predictions on the questions held out are kept. The point with the least squared
error and the one with the best routed quality there are then fitted on all of train, once per seed,
and asked about val. `routers_report.py` makes the document of the files.

What a cell does is cut to the CPU seconds allowed for it, by what one fit takes: first the grid is
left out, then seeds. A cell is computed again only where more is now allowed than its file has, so
a run can be stopped and resumed, and repeated with more time.

    OMP_NUM_THREADS=1 python benchmarks/routers.py --tables evouna --routers ridge graph
"""

import argparse
import json
import resource
import time
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute import ModelCard, Pool, Request
from polyroute.outcomes import read_outcomes
from polyroute.protocols import Estimator, FloatArray, State
from polyroute.registry import load, names
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.sparse import Sparse

TABLES = [
    "llmrouter_mix",
    "mmlu_pro",
    "evouna",
    "routellm_mmlu",
    "routellm_gsm8k",
    "zeroeval_gsm",
    "zeroeval_math_l5",
    "zeroeval_crux",
    "reasoning_gym",
]
GRIDS: dict[str, dict[str, list[float]]] = {
    "ridge": {"alpha": [10.0, 3.0, 30.0, 100.0]},
    "kinds": {"strength": [20.0, 5.0]},
    "logistic": {"alpha": [1.0, 3.0, 10.0]},
    "neighbours": {"k": [50, 100, 200]},
    "svm": {"c": [0.05, 0.15, 0.015, 0.005]},
    "clusters": {"clusters": [64, 16], "strength": [10.0, 40.0]},
    "mlp": {"epochs": [5, 10]},
    "boosting": {"trees": [60, 30]},
    "competence": {"strength": [8.0, 40.0]},
    "item_response": {"penalty": [0.003, 0.03]},
    "factorization": {"penalty": [0.001, 0.01]},
    "bradley_terry": {"gamma": [1_000.0, 100.0]},
    "ranking": {"tie": [0.1, 0.0]},
    "contrastive": {"penalty": [0.01, 0.1]},
    "graph": {"epochs": [12, 24]},
    "blend": {},
}
"""What is chosen from; the defaults come first. Others run as they come."""
FOLDS = 3
SEEDS = 5
CRITERIA = ("squared", "routed")
MEMBERS = ("ridge", "neighbours", "clusters")
"""What the blend averages: their held-out predictions are needed, however they are tuned."""


class Prepared:
    """TF-IDF fitted once on the train split, its rows computed once: an encoder to share."""

    def __init__(self, train: list[str], texts: list[str]) -> None:
        encoder = TfIdf(of_words=(1, 2), min_df=2, sublinear=True).fit(train)
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
        """Return nothing: it is not stored."""
        return State()

    def restore(self, state: State) -> Self:
        """Return itself."""
        return self


class Table:
    """One outcome table, split: questions to fit with any outcome, to judge with all.

    `pooled`: those that every model answered, of train and val, are all in `train`, for folds.
    """

    def __init__(self, path: Path, *, pooled: bool = False) -> None:
        table = read_outcomes(path)
        score_NM, cost_NM = table.scores_NM(), table.costs_NM()
        split = np.array([question.split for question in table.queries])
        requests = [Request.of(question.prompt) for question in table.queries]
        kinds = [f"{question.dataset}/{question.task}" for question in table.queries]
        seen = ~np.isnan(score_NM)
        train = np.flatnonzero((split == "train") & seen.any(axis=1))
        val = np.flatnonzero((split == "val") & seen.all(axis=1))
        if pooled:
            train = np.flatnonzero(np.isin(split, ["train", "val"]) & seen.all(axis=1))
        self.pool = Pool(ModelCard(id=model) for model in table.models)
        self.train, self.val = ([requests[n] for n in rows] for rows in (train, val))
        self.kinds = [kinds[n] for n in train]
        self.target_NM, self.judged_NM = score_NM[train], score_NM[val]
        self.usd_NM = cost_NM[val]
        self.best = int(np.nanmean(self.target_NM, axis=0).argmax())
        self.order_N = np.random.default_rng(0).permutation(len(train))
        self._encoder: Prepared | None = None

    @property
    def encoder(self) -> Prepared:
        """The features of all questions, computed when first asked for."""
        if self._encoder is None:
            prompts = [[request.prompt for request in part] for part in (self.train, self.val)]
            self._encoder = Prepared(prompts[0], prompts[0] + prompts[1])
        return self._encoder

    def build(self, name: str, parameters: dict[str, Any], seed: int) -> Estimator:
        """Return the estimator, with the shared features where it reads any."""
        factory = load("estimators", name)
        known = factory.__init__.__kwdefaults__ or {}
        shared = {"encoder": self.encoder, "seed": seed}
        return factory(**parameters, **{k: v for k, v in shared.items() if k in known})

    def fitted(
        self,
        name: str,
        point: dict[str, Any],
        *,
        seed: int = 0,
        rows: slice | NDArray[np.bool_] = slice(None),
    ) -> Estimator:
        """Return the estimator fitted to some rows of train, all by default."""
        some = np.arange(len(self.train))[rows]
        estimator = self.build(name, point, seed)
        if hasattr(estimator, "tell"):
            estimator.tell([self.kinds[n] for n in some])
        return estimator.fit([self.train[n] for n in some], self.target_NM[some], self.pool)

    def held_out(self, name: str, point: dict[str, Any]) -> FloatArray:
        """Return predictions for train, each by a fit that did not see the question."""
        out_NM = np.full(self.target_NM.shape, np.nan)
        for fold in range(FOLDS):
            outside = np.flatnonzero(self.order_N % FOLDS == fold)
            fit = self.fitted(name, point, rows=self.order_N % FOLDS != fold)
            out_NM[outside] = fit.predict([self.train[n] for n in outside], self.pool)
        return out_NM


def squared(predicted_NM: FloatArray, target_NM: FloatArray) -> FloatArray:
    """Return every question's mean squared error over the models that answered it."""
    return np.asarray(np.nanmean((predicted_NM - target_NM) ** 2, axis=1))


def routed(predicted_NM: FloatArray, target_NM: FloatArray) -> FloatArray:
    """Return every question's score by the model with the largest prediction."""
    pick_N = np.nan_to_num(predicted_NM, nan=-np.inf).argmax(axis=1)
    return np.asarray(target_NM[np.arange(len(pick_N)), pick_N])


def best_point(held_PNM: NDArray[Any], target_NM: FloatArray, criterion: str) -> int:
    """Return the point of the grid that held-out questions speak for; the first among equals."""
    if criterion == "squared":
        return int(np.argmin([np.nanmean(squared(p, target_NM)) for p in held_PNM]))
    return int(np.argmax([np.nanmean(routed(p, target_NM)) for p in held_PNM]))


def grid_of(name: str) -> list[dict[str, Any]]:
    """Return the points that are tried for an estimator, the defaults first."""
    grid = GRIDS.get(name, {})
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def is_random(name: str) -> bool:
    """Return whether another seed gives another fit."""
    known = load("estimators", name).__init__.__kwdefaults__ or {}
    return "seed" in known and name != "neighbours"  # its seed is of a projection it lacks here


def planned(name: str, fit_s: float, cell_s: float) -> tuple[int, int]:
    """Return how many points to try and how many seeds to fit, in about `cell_s` CPU seconds."""
    points, most = len(grid_of(name)), SEEDS if is_random(name) else 1
    plans = [(points, most), (1, most), (1, min(3, most))]
    for tried, seeds in plans:
        in_folds = 2 * tried if tried > 1 or name in MEMBERS else 0  # three fits of two thirds
        if fit_s * (in_folds + seeds * min(tried, len(CRITERIA))) <= cell_s:
            return tried, seeds
    return 1, 1


def compute(
    table: Table, name: str, cell_s: float
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a cell: what was done and what it cost, and the predictions."""
    table.encoder  # noqa: B018 - is not to be counted as time to fit
    points = grid_of(name)
    # the first fit of all imports what it needs, which is not to be counted either
    table.fitted(name, points[0], rows=slice(8))
    began = time.process_time()
    fitted = table.fitted(name, points[0])
    fit_s = time.process_time() - began
    val_NM = fitted.predict(table.val, table.pool)
    tried, seeds = planned(name, fit_s, cell_s)
    began = time.process_time()
    arrays: dict[str, NDArray[Any]] = {}
    chosen = dict.fromkeys(CRITERIA, 0)
    if tried > 1 or (name in MEMBERS and 2 * fit_s <= cell_s):
        held_PNM = np.array([table.held_out(name, p) for p in points[:tried]], np.float32)
        arrays["held_PNM"] = held_PNM
        chosen = {c: best_point(held_PNM, table.target_NM, c) for c in CRITERIA}
    tune_s = time.process_time() - began
    for p in sorted(set(chosen.values())):
        val_SNM = [val_NM] if p == 0 else []
        for seed in range(len(val_SNM), seeds):
            fit = table.fitted(name, points[p], seed=seed)
            val_SNM.append(fit.predict(table.val, table.pool))
        arrays[f"val_{p}_SNM"] = np.array(val_SNM, np.float32)
    about = {
        "points": points[:tried], "chosen": chosen, "seeds": seeds, "fit_s": fit_s,
        "tune_s": tune_s, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    return about, arrays


def finished(stored: Path, name: str, cell_s: float) -> bool:
    """Return whether a cell has a file with all that is allowed now."""
    if not stored.is_file():
        return False
    about = json.loads(stored.read_text("utf-8"))
    tried, seeds = planned(name, about["fit_s"], cell_s)
    return bool(len(about["points"]) >= tried and about["seeds"] >= seeds)


def main() -> None:
    """Compute the cells that have no file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--tables", nargs="*", default=TABLES)
    parser.add_argument("--routers", nargs="*", default=None, help="default: all but token_cost")
    parser.add_argument("--out", type=Path, default=Path("build/routers"), help="finished cells")
    parser.add_argument("--cell-seconds", type=float, default=150.0, help="CPU allowed for a cell")
    options = parser.parse_args()
    routers = options.routers or [name for name in names("estimators") if name != "token_cost"]
    for name in options.tables:
        if not (options.data / f"{name}.queries.parquet").is_file():
            print(f"skipped {name}: not in {options.data}")
            continue
        folder = options.out / name
        wanted = [r for r in routers if not finished(folder / f"{r}.json", r, options.cell_seconds)]
        if not wanted:
            continue
        table = Table(options.data / name)
        for router in wanted:
            began = time.process_time()
            about, arrays = compute(table, router, options.cell_seconds)
            folder.mkdir(parents=True, exist_ok=True)
            stored = folder / f"{router}.npz"
            np.savez(stored, **arrays)  # type: ignore[arg-type]  # names, not options
            stored.with_suffix(".json").write_text(json.dumps(about), "utf-8")
            print(f"{name} {router}: {time.process_time() - began:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
