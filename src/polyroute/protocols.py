"""What can be plugged in. Structural: there is no base class to inherit.

A class that satisfies a protocol here, plus one entry point, is a plug-in; the built-in ones use
the same door (`polyroute.registry`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from polyroute.decision import Call, Decision
from polyroute.pool import Pool
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject, Request

__all__ = [
    # what a plug-in is
    "Backend", "Estimator", "Policy", "Reward",
    # what they exchange
    "Delta", "Emit", "FloatArray", "Method",
]  # fmt: skip

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply, as it is streamed."""

    text: str = ""
    chunk: JsonObject | None = field(default=None, compare=False)
    """The upstream's chunk (OpenAI's ``chat.completion.chunk``), for a gateway that relays it."""


Emit: TypeAlias = Callable[[Delta], Awaitable[None]]
"""Where a backend sends the pieces of a reply; awaiting it is the back-pressure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Where a policy or estimator stands in the field's taxonomy.

    References
    ----------
    Moslem and Kelleher, survey of dynamic model routing and cascading, arXiv:2603.04445: the
    axes *when*, *what* and *how*.
    """

    when: Literal["pre-generation", "post-generation", "multi-stage", "online"]
    """When the decision is made."""
    what: tuple[Literal["query", "model metadata", "response", "feedback"], ...]
    """What it is made from."""
    how: Literal["heuristic", "supervised", "bandit", "rl", "prompted"]
    """How it is made."""
    paper: str = ""
    """Where it comes from: authors, title, arXiv number; empty for common practice."""


@runtime_checkable
class Policy(Protocol):
    """Choose the next decision from everything that happened so far."""

    method: ClassVar[Method]

    async def decide(self, trace: Trace) -> Decision:
        """Return the next decision.

        It must depend on nothing but `trace` (randomness: ``trace.request.seed``), and call
        nothing: what it wants to ask a model, it asks by a `Route`, with ``own=True`` when the
        reply is for the policy itself.
        """
        ...


@runtime_checkable
class Backend(Protocol):
    """Carry out calls."""

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Ask the candidate of `call`.

        Parameters
        ----------
        call : Call
            What to ask, and whom. Its parameters are those to send: budget caps are in them.
        trace : Trace
            The episode so far; ``call.messages(trace.request)`` are the messages to send.
        emit : callable, optional
            Given: stream, and pass on each piece as it comes. A backend that cannot stream
            leaves it alone; the loop then passes on the whole text at the end.

        Returns
        -------
        Reply
            With usage and without price: the loop prices it.

        Raises
        ------
        polyroute.errors.BackendError
            If there is no reply. The loop makes a `Failure` of it.

        Notes
        -----
        When the task is cancelled the call must be cancelled upstream too.
        """
        ...

    async def close(self) -> None:
        """Release connections, processes and memory. May be called twice."""
        ...


class Estimator(Protocol):
    """Predict the quality of every candidate on every request, before asking any."""

    method: ClassVar[Method]

    def fit(self, requests: Sequence[Request], quality_NM: FloatArray) -> Self:
        """Learn from observed outcomes.

        Parameters
        ----------
        requests : sequence of Request, length N
        quality_NM : ndarray of shape (N, M)
            Score in [0, 1] of each of M candidates; NaN where not observed.
        """
        ...

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return expected quality, shape (N, M), columns in pool order."""
        ...


class Reward(Protocol):
    """Score a finished trace; a plain function will do."""

    def __call__(self, trace: Trace) -> float:
        """Return the reward, higher is better."""
        ...
