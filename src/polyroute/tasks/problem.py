"""What a task gives: questions, the candidates that may be asked, and what counts as right.

A policy sees the request and the pool of a problem, never its golds or hops. Those are for a
reward, a teacher and a report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from polyroute.pool import Pool
from polyroute.protocols import Backend
from polyroute.types import Request

__all__ = ["Hop", "Problem", "Split", "Task"]

Split: TypeAlias = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of the reasoning that a question needs."""

    query: str
    """What to ask, with ``{}`` where the answer of the hop before goes."""
    skill: str
    """What a candidate must know to answer it."""
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """One question in its world."""

    request: Request
    pool: Pool
    """The candidates; a router that is a card itself is not among them."""
    backend: Backend
    """Answers calls to the candidates."""
    golds: tuple[str, ...]
    """Right answers; any of them will do."""
    metric: str
    """Name of the metric that compares an answer with `golds` (`polyroute.rewards.outcome`)."""
    kind: str
    """What sort of question it is (a data set, a number of hops), for reports."""
    hops: tuple[Hop, ...] = ()
    """The steps from the question to its answer, where the task knows them."""


@runtime_checkable
class Task(Protocol):
    """A source of problems."""

    name: str

    def problems(self, split: Split, n: int, seed: int) -> Sequence[Problem]:
        """Return `n` problems of `split`, drawn by `seed`; the same arguments, the same problems.

        A task with fewer than `n` gives all it has.
        """
        ...
