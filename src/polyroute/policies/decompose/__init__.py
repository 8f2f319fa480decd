"""Split a question, ask the specialists, merge: the prompted baseline of what RL learns."""

from polyroute.policies.decompose.plan import Part, Plan, grammar, read_plan
from polyroute.policies.decompose.policy import Decompose
from polyroute.policies.decompose.prompt import Example

__all__ = [
    "Decompose",
    # what it is configured with
    "Example",
    # what the router model writes
    "Part", "Plan", "grammar", "read_plan",
]  # fmt: skip
