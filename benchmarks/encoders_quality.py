"""Which features route best: the same ridge regression on each encoder, judged on val.

Fitted on train, the penalty chosen on a quarter of train, then asked for the best model of every
question of val. Quality is the mean recorded score of the chosen model; differences are paired by
question, with 95 % bootstrap intervals.

    python benchmarks/encoders_quality.py FOLDER_OF_TABLES llmrouter_mix evouna
"""

import argparse
from pathlib import Path

import numpy as np

from polyroute import ModelCard, Pool, Request
from polyroute.estimators.ridge import Ridge
from polyroute.evaluate.bootstrap import paired_interval
from polyroute.outcomes.read import read_outcomes
from polyroute.outcomes.table import OutcomeTable
from polyroute.protocols import Encoder, FloatArray
from polyroute.signals.encoders.cached import Cached
from polyroute.signals.encoders.hashed import Hashed
from polyroute.signals.encoders.minilm import MiniLM
from polyroute.signals.encoders.static import Static
from polyroute.signals.encoders.tfidf import TfIdf

ALPHAS = (0.1, 1.0, 10.0, 100.0)


def encoders() -> dict[str, Encoder]:
    """Return what is compared; the first is what the others are compared with."""
    return {
        "tfidf": TfIdf(),
        "hashed": Hashed(),
        "static": Static(),
        "minilm": Cached(encoder=MiniLM()),
    }


def chosen(encoder: Encoder, alpha: float, train: OutcomeTable, val: OutcomeTable) -> FloatArray:
    """Return the recorded scores, shape (N,), of the models that ridge regression picks."""
    pool = Pool([ModelCard(id=name) for name in train.models])
    router = Ridge(encoder=encoder, alpha=alpha)
    router.fit([Request.of(q.prompt) for q in train.queries], train.scores_NM(), pool)
    predicted_NM = router.predict([Request.of(q.prompt) for q in val.queries], pool)
    scores_NM = val.scores_NM()
    picks = np.where(np.isnan(scores_NM), -np.inf, predicted_NM).argmax(axis=1)
    return scores_NM[np.arange(len(picks)), picks]


def compare(name: str, table: OutcomeTable, wanted: list[str]) -> list[str]:
    """Return the rows of the report for one table."""
    table = table.only(~np.isnan(table.scores_NM()).all(axis=1))
    split = np.array([query.split for query in table.queries])
    train, val = table.only(split == "train"), table.only(split == "val")
    inner = np.random.default_rng(0).random(len(train.queries)) < 0.75
    fit, check = train.only(inner), train.only(~inner)
    best = np.nanargmax(np.nanmean(train.scores_NM(), axis=0))
    oracle, constant = np.nanmax(val.scores_NM(), axis=1), val.scores_NM()[:, best]
    rows, found = [], {}
    for encoder_name in wanted:
        encoder = encoders()[encoder_name]
        alpha = max(ALPHAS, key=lambda a, e=encoder: np.nanmean(chosen(e, a, fit, check)))
        found[encoder_name] = chosen(encoder, alpha, train, val)
        against = [
            paired_interval(found[encoder_name], other) for other in (constant, found["tfidf"])
        ]
        shown = (f"{i.estimate:+.3f} [{i.low:+.3f}, {i.high:+.3f}]" for i in against)
        rows.append(
            f"| {name} | {encoder_name} | {alpha:g} | {found[encoder_name].mean():.3f} "
            f"| {' | '.join(shown)} |"
        )
    rows.append(
        f"| {name} | best single / oracle | | {constant.mean():.3f} / {oracle.mean():.3f} | | |"
    )
    if {"static", "minilm"} <= found.keys():
        both = paired_interval(found["static"], found["minilm"])
        rows.append(
            f"| {name} | static less minilm | | | | {both.estimate:+.3f} "
            f"[{both.low:+.3f}, {both.high:+.3f}] |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--encoders", nargs="+", default=list(encoders()), help="tfidf first")
    args = parser.parse_args()
    print("| table | encoder | alpha | quality on val | less best single | less tfidf |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    for name in args.tables:
        table = read_outcomes(args.folder / f"{name}.responses.parquet")
        print("\n".join(compare(name, table, args.encoders)), flush=True)


if __name__ == "__main__":
    main()
