"""A table of three models on four questions, two samples each, and policies that think."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from polyroute.decision import Answer, Call, Route
from polyroute.outcomes import OutcomeTable
from polyroute.protocols import Method

SCORES = {
    "small": [(1, 1), (0, 1), (0, 0), (1, 0)],
    "middle": [(0, 0), (1, 1), (1, 1), (0, 0)],
    "large": [(1, 1), (1, 1), (0, 1), (1, 1)],
}
TOKENS = {"small": 10, "middle": 20, "large": 40}
RATE = {"small": 1e-6, "middle": 2e-6, "large": 1e-5}


def rows():
    for model, cells in SCORES.items():
        for n, cell in enumerate(cells):
            for sample, score in enumerate(cell):
                tokens = TOKENS[model] + n + sample
                yield {
                    "query_id": f"q{n}",
                    "model": model,
                    "sample": sample,
                    "score": score,
                    "response_text": f"{model} says {n}.{sample}",
                    "prompt_tokens": 100 + 10 * n,
                    "completion_tokens": tokens,
                    "cost_usd": round((100 + 10 * n + 4 * tokens) * RATE[model], 12),
                    "latency_s": tokens / 10,
                }


def questions():
    return [
        {
            "query_id": f"q{n}",
            "prompt": f"question {n}?",
            "dataset": "sums" if n < 2 else "riddles",
            "task": f"t{n % 2}",
            "split": "val",
        }
        for n in range(4)
    ]


@dataclass(frozen=True, slots=True)
class FirstThenLast:
    """Ask two models one after the other and repeat what the second said."""

    method: ClassVar[Method] = Method(when="multi-stage", what=("response",), how="heuristic")

    first: str
    last: str

    async def decide(self, trace):
        if not trace.steps:
            return Route(calls=(Call(self.first),), reason="a first look")
        if len(trace.steps) == 1:
            return Route(calls=(Call(self.last),))
        return Answer(text=trace.good_replies[-1].text)


@pytest.fixture
def table():
    return OutcomeTable.of(questions(), list(rows()))


@pytest.fixture
def both():
    return FirstThenLast("small", "large")
