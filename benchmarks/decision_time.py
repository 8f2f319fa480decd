"""What a decision costs: features, heads, both; neighbours among 100,000; fitting; loading.

CPU time of the one thread, the least of several repeats, so that neither waiting for a core nor a
cold cache counts; the load of the machine is printed with it. Heads are measured by `predict` on
features that are there already: the call, the product, the columns of the pool.

    OMP_NUM_THREADS=1 python benchmarks/decision_time.py features heads decisions neighbours load
    OMP_NUM_THREADS=1 python benchmarks/decision_time.py fit --estimators ridge graph
"""

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polyroute import ModelCard, Pool, Request
from polyroute.estimators.neighbours import Neighbours
from polyroute.estimators.ridge import Ridge
from polyroute.outcomes import read_outcomes
from polyroute.protocols import Encoder, FloatArray, State
from polyroute.registry import load, names
from polyroute.signals.encoders.hashed import Hashed
from polyroute.signals.encoders.minilm import MiniLM
from polyroute.signals.encoders.static import Static
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.signals.encoders.wordpiece import pieces

NEURAL = {"graph", "encoder_tuning"}
ROWS = 100_000
BATCH = 256
FAST = {"tfidf": TfIdf, "hashed": Hashed, "static": Static}


class Stored:
    """Features that are there already."""

    def __init__(self, x_ND: NDArray[np.float32]) -> None:
        self.x_ND = x_ND

    def fit(self, texts: Sequence[str]) -> Self:
        """Return itself."""
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the first rows, as many as there are texts."""
        return self.x_ND[: len(texts)]

    def state(self) -> State:
        """Return nothing."""
        return State()

    def restore(self, state: State) -> Self:
        """Return itself."""
        return self


def microseconds(work: Callable[[], object], *, repeats: int = 15, least_s: float = 0.01) -> float:
    """Return the least CPU time of a call over repeats that each take `least_s` or more."""
    count = 1
    while True:
        took = _cpu(work, count)
        if took >= least_s or count > 10_000:
            break
        count = max(2 * count, int(count * least_s / max(took, 1e-6)))
    return 1e6 * min([took, *(_cpu(work, count) for _ in range(repeats))]) / count


def _cpu(work: Callable[[], object], count: int) -> float:
    began = time.thread_time()
    for _ in range(count):
        work()
    return time.thread_time() - began


def spread(work: Callable[[Any], object], asked: Sequence[Any]) -> tuple[float, float]:
    """Return median and 95th percentile over what is asked of the CPU time of one, in microseconds.

    The least of nine turns for each.
    """
    least = []
    for one in asked:
        least.append(min(_cpu(lambda one=one: work(one), 1) for _ in range(9)))
    return 1e6 * statistics.median(least), 1e6 * float(np.quantile(least, 0.95))


def kinds(data: Path, name: str) -> list[str]:
    """Return the data set and task of every question of train."""
    questions = read_outcomes(data / name).queries
    return [f"{one.dataset}/{one.task}" for one in questions if one.split == "train"]


def outcomes(data: Path, name: str) -> tuple[list[Request], FloatArray, Pool, list[str]]:
    """Return the questions of train with their scores, the pool, and the prompts of val."""
    table = read_outcomes(data / name)
    split = np.array([question.split for question in table.queries])
    train = np.flatnonzero(split == "train")
    pool = Pool(ModelCard(id=model) for model in table.models)
    requests = [Request.of(table.queries[n].prompt) for n in train]
    prompts = [table.queries[n].prompt for n in np.flatnonzero(split == "val")]
    return requests, table.scores_NM()[train], pool, prompts


def of_tokens(words: list[str], count: int, draw: random.Random) -> str:
    """Return words of about `count` tokens, two for the ends of the sequence included."""
    start, end = draw.randrange(len(words) - 2 * count), 0
    chosen: list[str] = []
    while len(pieces(" ".join(chosen), most_characters=None)) < count - 2:
        chosen.append(words[start + end])
        end += 1
    return " ".join(chosen)


def features(data: Path) -> None:
    """Print what features with a ridge of nine models cost, by length of the prompt."""
    requests, target_NM, pool, prompts = outcomes(data, "llmrouter_mix")
    words = re.findall(r"\S+", " ".join(prompts))
    draw = random.Random(0)
    kinds = {
        "20 tokens": [of_tokens(words, 20, draw) for _ in range(60)],
        "128 tokens": [of_tokens(words, 128, draw) for _ in range(40)],
        "1,024 characters": [
            " ".join(words[k : k + 400])[:1024] for k in range(0, 40 * 200, 200)
        ],
        "20,000 characters": [
            " ".join(words[k : k + 8_000])[:20_000] for k in range(0, 20 * 500, 500)
        ],
    }  # fmt: skip
    print("| prompt | features | features alone, µs | with a ridge: median | 95 % | of 256, each |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    few = requests[:400]
    for name, factory in {**FAST, "minilm": MiniLM}.items():
        encoder: Encoder = factory()
        fitted = Ridge(encoder=encoder).fit(
            few if name == "minilm" else requests, target_NM[: len(few)] if name == "minilm"
            else target_NM, pool,
        )  # fmt: skip
        for kind, texts in kinds.items():
            chosen = texts[:8] if name == "minilm" else texts
            alone, _ = spread(lambda text, e=encoder: e.encode([text]), chosen)
            asked = {text: [Request.of(text)] for text in chosen}
            middle, high = spread(lambda text, f=fitted, a=asked: f.predict(a[text], pool), chosen)
            many = [
                asked[texts[k % len(chosen)]][0] for k in range(8 if name == "minilm" else BATCH)
            ]
            batch = microseconds(lambda f=fitted, m=many: f.predict(m, pool), repeats=2) / len(many)
            print(f"| {kind} | {name} | {alone:.0f} | {middle:.0f} | {high:.0f} | {batch:.0f} |")


def heads(data: Path, wanted: Sequence[str]) -> None:
    """Print what every head costs on features that are there already."""
    requests, target_NM, pool, _ = outcomes(data, "llmrouter_mix")
    encoder = Stored(Static().encode([request.prompt for request in requests]))
    print("| head | one request, µs | of 256, each, µs |\n| --- | ---: | ---: |")
    for name in wanted:
        factory = load("estimators", name)
        reads = "encoder" in (factory.__init__.__kwdefaults__ or {})
        estimator = factory(encoder=encoder) if reads else factory()
        if hasattr(estimator, "tell"):
            estimator.tell(kinds(data, "llmrouter_mix"))
        fitted = estimator.fit(requests, target_NM, pool)
        one = microseconds(lambda f=fitted: f.predict(requests[:1], pool))
        many = microseconds(lambda f=fitted: f.predict(requests[:BATCH], pool), repeats=3) / BATCH
        print(f"| {name} | {one:.1f} | {many:.1f} |", flush=True)


def decisions(data: Path, wanted: Sequence[str]) -> None:
    """Print the whole decision on real prompts, by estimator and feature, alone and of 256."""
    requests, target_NM, pool, prompts = outcomes(data, "llmrouter_mix")
    asked = {prompt: [Request.of(prompt)] for prompt in prompts[:BATCH]}
    many = [one for ones in asked.values() for one in ones]
    print("| estimator | features | one request: median, µs | 95 % | of 256, each, µs |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in wanted:
        for feature, factory in FAST.items():
            estimator = load("estimators", name)(encoder=factory())
            if hasattr(estimator, "tell"):
                estimator.tell(kinds(data, "llmrouter_mix"))
            fitted = estimator.fit(requests, target_NM, pool)
            middle, high = spread(lambda p, f=fitted: f.predict(asked[p], pool), list(asked)[:100])
            batch = microseconds(lambda f=fitted: f.predict(many, pool), repeats=2) / len(many)
            print(f"| {name} | {feature} | {middle:.0f} | {high:.0f} | {batch:.0f} |", flush=True)


def neighbours(data: Path) -> None:
    """Print what finding neighbours among 100,000 costs, and how many of them are the nearest.

    The rows are static embeddings of passages of the tables' own prompts of train, 40 words each;
    asked are 300 such passages of val.
    """
    words: list[str] = []
    asked: list[str] = []
    for name in ("llmrouter_mix", "mmlu_pro", "routellm_mmlu", "evouna", "zeroeval_math_l5"):
        requests, _, _, prompts = outcomes(data, name)
        words += re.findall(r"\S+", " ".join(request.prompt for request in requests))
        asked += re.findall(r"\S+", " ".join(prompts[:60]))
    step = max(1, (len(words) - 40) // ROWS)
    passages = [" ".join(words[k * step : k * step + 40]) for k in range(ROWS)]
    x_ND = Static().encode(passages)
    query_ND = Static().encode([" ".join(asked[k : k + 40]) for k in range(0, 300 * 40, 40)])
    true_QK = np.argsort(-(query_ND @ x_ND.T), axis=1)[:, :10]
    print(f"{len(x_ND):,} rows of {x_ND.shape[1]} numbers; {len(query_ND)} questions.\n")
    print("| index | build, CPU s | search for 10: median, µs | 95 % | recall@10 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    pool = Pool(ModelCard(id=f"m{m}") for m in range(9))
    target_NM = np.random.default_rng(0).random((len(x_ND), 9))
    request = Request.of("q")
    for index in ("ivf", "exact", "hnsw"):
        stored = Stored(x_ND)
        began = time.process_time()
        fitted = Neighbours(encoder=stored, k=10, index=index).fit(
            [request] * len(x_ND), target_NM, pool
        )
        built = time.process_time() - began
        rows = fitted._rows
        found = [set(rows.nearest(query_ND, q, 10)[0].tolist()) for q in range(len(query_ND))]
        recall = np.mean([len(found[q] & set(true_QK[q].tolist())) / 10 for q in range(len(found))])
        middle, high = spread(lambda q, r=rows: r.nearest(query_ND, q, 10), range(len(query_ND)))
        print(f"| {index} | {built:.1f} | {middle:.0f} | {high:.0f} | {recall:.4f} |", flush=True)


def fit(data: Path, wanted: Sequence[str]) -> None:
    """Print what fitting mmlu_pro's questions costs, each in a process of its own."""
    print("| estimator | fit with its features, CPU s | most memory, MB |\n| --- | ---: | ---: |")
    for name in wanted:
        done = subprocess.run(
            [sys.executable, __file__, "one_fit", "--data", str(data), "--estimators", name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(
            f"| {name} | {json.loads(done.stdout)['s']:.1f} | {json.loads(done.stdout)['mb']:.0f} |"
        )


def one_fit(data: Path, name: str) -> None:
    """Print the CPU seconds and the most memory of one estimator with its default features."""
    requests, target_NM, pool, _ = outcomes(data, "mmlu_pro")
    began = time.process_time()
    load("estimators", name)().fit(requests, target_NM, pool)
    print(json.dumps({
        "s": time.process_time() - began,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


def loading(rows: int = 1_000_000) -> None:
    """Print what reading a million outcomes costs: 40,000 questions, 25 models, prices, tokens."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, models = np.random.default_rng(0), 25
    ids = [f"q{n}" for n in range(rows // models)]
    with tempfile.TemporaryDirectory() as place:
        start = Path(place) / "million"
        questions = {"query_id": ids, "prompt": [f"What is {one}?" for one in ids]}
        pq.write_table(pa.table(questions), f"{start}.queries.parquet")
        pq.write_table(
            pa.table({
                "query_id": np.repeat(ids, models),
                "model": np.tile([f"model-{m}" for m in range(models)], len(ids)),
                "score": rng.integers(0, 2, rows).astype(float),
                "cost_usd": rng.random(rows), "latency_s": rng.random(rows),
                "prompt_tokens": rng.integers(1, 999, rows),
                "completion_tokens": rng.integers(1, 999, rows),
            }),
            f"{start}.responses.parquet",
        )  # fmt: skip
        wall, cpu = time.perf_counter(), time.process_time()
        table = read_outcomes(start)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(table.responses):,} rows: {cpu:.1f} CPU s, {wall:.1f} s, at most {memory:.0f} MB.")


def main() -> None:
    """Print what was asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everything = ["features", "heads", "decisions", "neighbours", "fit", "load"]
    parser.add_argument("parts", nargs="+", choices=[*everything, "one_fit"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--estimators", nargs="*")
    options = parser.parse_args()
    every = [one for one in names("estimators") if one not in {"token_cost", "encoder_tuning"}]
    wanted = options.estimators or every
    work: dict[str, Callable[[], Any]] = {
        "features": lambda: features(options.data),
        "heads": lambda: heads(options.data, wanted),
        "decisions": lambda: decisions(options.data, [w for w in wanted if w != "mean"]),
        "neighbours": lambda: neighbours(options.data),
        "fit": lambda: fit(options.data, [w for w in wanted if w not in NEURAL]),
        "one_fit": lambda: one_fit(options.data, wanted[0]),
        "load": loading,
    }
    for part in options.parts:
        if part != "one_fit":
            print(f"\n<!-- {part}, load average {os.getloadavg()[0]:.1f} -->\n", flush=True)
        work[part]()


if __name__ == "__main__":
    main()
