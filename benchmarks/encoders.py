"""What an encoder costs: milliseconds a text, at several lengths, alone and 256 at once.

Every text is new: a slice of this project's own documentation, beginning at another word each
time. The encoders take turns within a round, so that the ratios hold on a machine whose speed
drifts; medians over the rounds, with the range of the ratio. CPU time of the one thread.

    OMP_NUM_THREADS=1 python benchmarks/encoders.py [--rounds 5] [--seconds 0.05]
"""

import argparse
import itertools
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyroute.protocols import Encoder
from polyroute.signals.encoders.cached import Cached
from polyroute.signals.encoders.hashed import Hashed
from polyroute.signals.encoders.minilm import MiniLM
from polyroute.signals.encoders.static import Static
from polyroute.signals.encoders.tfidf import TfIdf
from polyroute.signals.encoders.wordpiece import pieces

DOCS = Path(__file__).parents[1] / "docs"
MODELS = 8
"""Columns of the linear head."""
BATCH = 256


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of text."""

    name: str
    make: Callable[[random.Random], str]


def corpus() -> list[str]:
    """Return the words of the documentation, with their punctuation."""
    texts = [path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))]
    return re.findall(r"\S+", "\n".join(texts))


def of_tokens(words: list[str], count: int) -> Callable[[random.Random], str]:
    """Return how to make a text of about `count` tokens."""

    def make(draw: random.Random) -> str:
        start = draw.randrange(len(words) - count)
        end = start + count // 2
        while (
            lacking := count - len(pieces(" ".join(words[start:end]), most_characters=None))
        ) > 0:
            end += (lacking + 3) // 4
        return " ".join(words[start:end])

    return make


def kinds() -> list[Kind]:
    """Return the kinds of text, the shortest first."""
    words = corpus()
    return [
        *(Kind(f"{count} tokens", of_tokens(words, count)) for count in (20, 128, 500)),
        Kind(
            "20,000 characters",
            lambda draw: " ".join(draw.choices(words, k=6_000))[:20_000],
        ),
        Kind(
            "1,024 Cyrillic letters",
            lambda draw: "".join(draw.choices("оеаинтсрвлкмдпуяыьгз     ", k=1_024)),
        ),
        Kind(
            "1,024 Chinese characters",
            lambda draw: "".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(1_024)),
        ),
    ]


def encoders() -> dict[str, Encoder]:
    """Return what is compared; the first is what the others are compared with."""
    words = corpus()
    texts = [" ".join(words[k : k + 60]) for k in range(0, len(words), 30)]
    known = Cached(encoder=MiniLM())
    return {
        "hashed": Hashed(),
        "hashed, characters 3 to 5 too": Hashed(of_characters=(3, 5)),
        "tfidf": TfIdf().fit(texts),
        "static": Static(),
        "minilm int8": MiniLM(),
        "minilm fp32": MiniLM(precision="fp32"),
        "cached, a text it knows": known,
    }


def timed(work: Callable[[], object], seconds: float) -> float:
    """Return the median CPU seconds of calls that together take about `seconds`, 3 at least."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def turn(encoder: Encoder, texts: Iterator[str], seconds: float) -> tuple[float, float]:
    """Return milliseconds a text by itself, without and with a linear head of 8 columns."""
    first = next(texts)
    width = encoder.encode([first]).shape[1]
    weights = np.zeros((width, MODELS), np.float32)

    def text() -> str:
        return first if isinstance(encoder, Cached) else next(texts)

    return (
        timed(lambda: encoder.encode([text()]), seconds) * 1e3,
        timed(lambda: encoder.encode([text()]) @ weights, seconds) * 1e3,
    )


def measure(kind: Kind, built: dict[str, Encoder], *, rounds: int, seconds: float) -> list[str]:
    """Return the rows of the table for one kind of text."""
    draw = random.Random(0)
    pool = [kind.make(draw) for _ in range(BATCH)]
    texts = itertools.cycle(pool)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in built}
    for _ in range(rounds):
        for name, encoder in built.items():
            alone, headed = turn(encoder, texts, seconds)
            # MiniLM takes one text at a time anyway
            many = pool[:4] if name.startswith("minilm") else pool
            start = time.thread_time()
            encoder.encode(many)
            found[name].append((alone, headed, (time.thread_time() - start) * 1e3 / len(many)))
    base = [alone for alone, _, _ in next(iter(found.values()))]
    rows = []
    for name, values in found.items():
        alone, headed, many = zip(*values, strict=True)
        ratios = [value / of for value, of in zip(alone, base, strict=True)]
        rows.append(
            f"| {kind.name} | {name} | {statistics.median(alone):.3f} | {min(alone):.3f} "
            f"| {statistics.median(headed):.3f} | {statistics.median(many):.3f} "
            f"| {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05)
    args = parser.parse_args()
    print(
        "| text | encoder | CPU ms, median | best round | with a head | a text, of 256 at once "
        "| × hashed |\n| --- | --- | ---: | ---: | ---: | ---: | --- |"
    )
    built = encoders()
    for kind in kinds():
        rows = measure(kind, built, rounds=args.rounds, seconds=args.seconds)
        print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
