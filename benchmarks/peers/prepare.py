"""Write outcome tables in the form the peers read, with one sentence embedding for every prompt.

The peers embed prompts by a model that must be downloaded (Longformer) or bought (OpenAI's); here
all of them, and this project too where the document says so, get the same MiniLM embeddings. For
every table there are `questions.npz` (embeddings, scores, dollars, split) and `routing.jsonl` (a
row for every answer on train). A table that is there already is not written again.

    OMP_NUM_THREADS=1 python benchmarks/peers/prepare.py OUT --tables evouna
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from polyroute.outcomes import read_outcomes
from polyroute.signals.encoders.minilm import MiniLM


def write(path: Path, out: Path) -> None:
    """Write one table."""
    table = read_outcomes(path)
    score_NM, cost_NM = table.scores_NM(), table.costs_NM()
    split = np.array([question.split for question in table.queries])
    seen_NM = ~np.isnan(score_NM)
    kept = np.flatnonzero(
        ((split == "train") & seen_NM.any(axis=1)) | ((split == "val") & seen_NM.all(axis=1))
    )
    prompts = [table.queries[n].prompt for n in kept]
    began = time.process_time()
    embedding_ND = MiniLM().encode(prompts)
    out.mkdir(parents=True, exist_ok=True)
    (out / "questions.json").write_text(
        json.dumps({
            "prompts": prompts,
            "models": list(table.models),
            "embed_ms": 1e3 * (time.process_time() - began) / len(prompts),
        }),
        "utf-8",
    )  # fmt: skip
    rows = []
    for position, n in enumerate(kept):
        for m in np.flatnonzero(seen_NM[n] & (split[n] == "train")):
            rows.append({
                "task_name": table.queries[n].dataset, "query": table.queries[n].prompt,
                "model_name": table.models[m], "performance": float(score_NM[n, m]),
                "embedding_id": position,
            })  # fmt: skip
    (out / "routing.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    np.savez(
        out / "questions.npz", embedding_ND=embedding_ND, score_NM=score_NM[kept],
        usd_NM=cost_NM[kept], train_N=split[kept] == "train",
    )  # fmt: skip


def main() -> None:
    """Write the tables that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--tables", nargs="+", required=True)
    options = parser.parse_args()
    for name in options.tables:
        if not (options.out / name / "questions.npz").is_file():
            write(options.data / name, options.out / name)


if __name__ == "__main__":
    main()
