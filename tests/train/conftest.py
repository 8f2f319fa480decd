"""A small table in which some questions are easy, and the strong model costs ten times more."""

import numpy as np
import pytest

from polyroute.outcomes import OutcomeTable

PRICES = {"small": 0.001, "large": 0.01}

TOPICS = {"sum": (0.9, 0.95), "poem": (0.8, 0.3), "proof": (0.1, 0.7)}
"""Chance of a right answer of small and large, by the word that a question has."""


def make_table(size=300, seed=0, split="train"):
    rng = np.random.default_rng(seed)
    queries, responses = [], []
    for n in range(size):
        topic = list(TOPICS)[n % len(TOPICS)]
        id = f"{split}-{seed}-{n}"
        prompt = f"Write the {topic} of {split} number {seed} {n}"
        queries.append({"query_id": id, "prompt": prompt, "split": split})
        for model, usd, chance in zip(
            ("small", "large"), (0.001, 0.01), TOPICS[topic], strict=True
        ):
            responses.append(
                {
                    "query_id": id,
                    "model": model,
                    "score": float(rng.random() < chance),
                    "cost_usd": usd * float(rng.uniform(0.5, 1.5)),
                    "response_text": f"{model} on {topic}",
                    "prompt_tokens": 10,
                    "completion_tokens": 20,
                }
            )
    return OutcomeTable.of(queries, responses)


@pytest.fixture(scope="session")
def table():
    return make_table()


@pytest.fixture(scope="session")
def make():
    """Return `make_table`."""
    return make_table
