"""Divide a table by question, so that no question is learned from and judged on.

The one decision here: the side of a question is a function of its text and a seed, never of its
row or of the other questions. The same question is on the same side in every table, today and
after rows were added.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from polyroute.errors import ConfigError
from polyroute.outcomes.leaks import normal_question
from polyroute.outcomes.table import OutcomeTable

__all__ = ["USUAL", "by_split", "side_of", "with_splits"]

USUAL: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Fractions that will do where nothing speaks for others."""


def with_splits(
    table: OutcomeTable, fractions: Mapping[str, float] = USUAL, *, seed: int = 0
) -> OutcomeTable:
    """Return `table` with every question's `split` set by its text.

    Parameters
    ----------
    table : OutcomeTable
        Splits that it has are overwritten.
    fractions : mapping of str to float
        Share of the questions per split; they sum to 1.
    seed : int, default=0
        Another seed is another division.

    Raises
    ------
    ConfigError
        If a fraction is negative, or they do not sum to 1.
    """
    questions = tuple(
        replace(question, split=side_of(question.prompt, fractions, seed=seed))
        for question in table.queries
    )
    return replace(table, queries=questions)


def side_of(prompt: str, fractions: Mapping[str, float] = USUAL, *, seed: int = 0) -> str:
    """Return the split of a question, the same wherever it is asked.

    Raises
    ------
    ConfigError
        As in `with_splits`.

    Examples
    --------
    >>> side_of("Capital of France?") == side_of("capital of  france")
    True
    """
    shares = list(fractions.values())
    if not shares or min(shares) < 0 or not math.isclose(sum(shares), 1):
        raise ConfigError(f"fractions must be 0 or more and sum to 1, got {dict(fractions)}")
    text = f"{seed}\n{normal_question(prompt)}".encode("utf-8", "surrogatepass")
    place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
    names = [name for name, share in fractions.items() if share > 0]
    end = 0.0
    for name in names:
        end += fractions[name]
        if place < end:
            return name
    return names[-1]  # the shares may sum to a little less than 1


def by_split(table: OutcomeTable) -> dict[str, OutcomeTable]:
    """Return one table per split, in the order in which the splits are met.

    All have the models of `table`, in its order, so that their columns are comparable.
    """
    names = np.array([question.split for question in table.queries])
    return {name: table.only(names == name) for name in dict.fromkeys(names.tolist())}
