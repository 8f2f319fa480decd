"""How right an answer is: one metric per file, ``score(answer, golds) -> float`` from 0 to 1.

A metric reads the part of a reply that is marked as its answer (`polyroute.answers`), takes the
best over the right answers, and gives 0 to an empty reply. Rewards and evaluation share them.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from polyroute.correctness import choice, code, contains, exact_match, f1, number

__all__ = ["METRICS", "Metric"]

Metric: TypeAlias = Callable[[str, Sequence[str]], float]

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "exact_match": exact_match.score,
        "f1": f1.score,
        "contains": contains.score,
        "number": number.score,
        "choice": choice.score,
        "code": code.score,
    }
)
"""The metrics by name."""
