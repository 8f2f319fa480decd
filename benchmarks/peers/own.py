"""Train one estimator of this project on the table that the peers are trained on, and decide val.

What it expects of every model on every question of val goes to OUT.npy beside the result, for what
needs more than the choice: other prices, or a share of the questions.

OMP_NUM_THREADS=1 python benchmarks/peers/own.py ridge evouna OUT.json
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from polyroute import ModelCard, Pool, Request
from polyroute.outcomes import read_outcomes
from polyroute.protocols import Estimator
from polyroute.registry import load
from polyroute.signals.encoders.minilm import MiniLM


class Remembered(MiniLM):
    """MiniLM's embeddings of prompts that were embedded before."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        about = json.loads((folder / "questions.json").read_text("utf-8"))
        self._row = {prompt: n for n, prompt in enumerate(about["prompts"])}
        self._stored_ND = np.load(folder / "questions.npz")["embedding_ND"]

    def encode(self, texts: list[str]) -> np.ndarray:
        """Return the stored rows."""
        return np.asarray(self._stored_ND[[self._row[text] for text in texts]])


def built(name: str, folder: Path) -> Estimator:
    """Return the estimator; ``-minilm`` gives it the peers' features."""
    estimator, _, feature = name.partition("-")
    return load("estimators", estimator)(**({"encoder": Remembered(folder)} if feature else {}))


def main() -> None:
    """Run one estimator once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("table")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    options = parser.parse_args()
    table = read_outcomes(options.data / options.table)
    score_NM = table.scores_NM()
    split = np.array([question.split for question in table.queries])
    seen_NM = ~np.isnan(score_NM)
    train = np.flatnonzero((split == "train") & seen_NM.any(axis=1))
    val = np.flatnonzero((split == "val") & seen_NM.all(axis=1))
    requests = [Request.of(question.prompt) for question in table.queries]
    pool = Pool(ModelCard(id=model) for model in table.models)
    began = time.process_time()
    fitted = built(options.name, options.out.parent)
    fitted.fit([requests[n] for n in train], score_NM[train], pool)
    train_s = time.process_time() - began
    asked = [requests[n] for n in val]
    began = time.process_time()
    quality_NM = np.nan_to_num(fitted.predict(asked, pool), nan=-np.inf)
    picks = quality_NM.argmax(axis=1)
    batch_us = 1e6 * (time.process_time() - began) / len(asked)
    alone = []
    for one in asked[:50]:
        began = time.process_time()
        fitted.predict([one], pool).argmax()
        alone.append(1e6 * (time.process_time() - began))
    result = {
        "picks": picks.tolist(), "train_s": train_s, "one_us": float(np.median(alone)),
        "batch_us": batch_us,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    np.save(options.out.with_suffix(".npy"), quality_NM)
    options.out.write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
