"""How long an answer is good for, and how alike two questions must be: by kind of question.

The one decision here: a kind is told by rules that a person wrote, and what none of them knows is
treated with care. Facts of the day grow old in minutes and translations never; two programming
questions that look alike are often not, two greetings always.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from polyroute.policies.rules import Rule
from polyroute.types import Request

__all__ = ["Category", "categorised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A kind of question.

    References
    ----------
    *Category-aware semantic caching*, arXiv:2510.26835: a threshold and a lifetime per category.
    """

    name: str
    seconds: float
    """How long an answer is good for."""
    threshold: float | None = None
    """Cosine from which on two questions count as one; `None`: only when they are the same."""
    rule: Rule | None = None
    """Says which requests are of it; `None`: all."""


def categorised(request: Request, categories: Sequence[Category]) -> Category:
    """Return the first category that `request` is of; the last has everything else."""
    return next(one for one in categories if one.rule is None or one.rule.holds(request))
