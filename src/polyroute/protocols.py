"""What can be plugged in. Structural: there is no base class to inherit.

A class that satisfies a protocol here, plus one entry point, is a plug-in; the built-in ones use
the same door (`polyroute.registry`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    runtime_checkable,
)

from msgspec import Struct

from polyroute.decision import Call, Decision
from polyroute.pool import Pool
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject, Request

__all__ = [
    # what a plug-in is
    "Backend", "Balancer", "Encoder", "Estimator", "Policy", "Resends", "Reward",
    # what they exchange
    "Delta", "Emit", "Facts", "Features", "FloatArray", "Method", "Reserve", "State",
]  # fmt: skip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from polyroute.sparse import Sparse

    FloatArray: TypeAlias = NDArray[np.float64]

    Features: TypeAlias = Sparse | NDArray[np.float32]
    """One row per text, shape (N, D): sparse, or dense in single precision."""
else:  # names for annotations: numpy, a tenth of a server's memory, is for those who compute
    FloatArray = Features = Any


class Delta(Struct, frozen=True):
    """A piece of a reply, as it is streamed."""

    text: str = ""
    chunk: JsonObject | None = None
    """The upstream's chunk (OpenAI's ``chat.completion.chunk``), for a gateway that relays it."""
    more: bool = False
    """Whether the next piece is here already: a writer may send both in one go."""
    parts: tuple[str, ...] = ()
    """The texts of several chunks, of which `text` is all: they are like `chunk` but for that.
    None of them has a character that JSON escapes. Empty when `chunk` is the one that came."""


Emit: TypeAlias = Callable[[Delta], Awaitable[None]]
"""Where a backend sends the pieces of a reply; awaiting it is the back-pressure."""

Reserve: TypeAlias = Callable[[], bool]
"""Set aside the worst case of a call once more; false when the budget does not allow it."""


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


@runtime_checkable
class Resends(Backend, Protocol):
    """A backend that may send a call again although the first sending may be billed.

    A hedge is such a second sending, and so is a call whose connection was cut.
    """

    async def complete_or_resend(
        self, call: Call, trace: Trace, emit: Emit | None, reserve: Reserve
    ) -> Reply:
        """Ask the candidate of `call`, as `Backend.complete` does.

        Parameters
        ----------
        call, trace, emit
            As of `Backend.complete`.
        reserve : callable
            Called right before each sending that may be billed besides an earlier one; when it
            is false the call is not sent again.

        Returns
        -------
        Reply
            With one entry in `Reply.discarded` for each time `reserve` was true.

        Raises
        ------
        polyroute.errors.BackendError
            If there is no reply, and `reserve` was never true.
        """
        ...


class Facts(Protocol):
    """What is known of one instance right now."""

    @property
    def label(self) -> str:
        """Name of the instance, the same as long as it is configured."""
        ...

    @property
    def region(self) -> str | None:
        """Where it is, as the configuration names it; `None` when it does not."""
        ...

    @property
    def weight(self) -> float:
        """Share of the calls it is meant to take, relative to the others; more than 0."""
        ...

    @property
    def outstanding(self) -> int:
        """Calls that it is carrying out."""
        ...

    @property
    def latency_s(self) -> float:
        """Recent seconds to its first byte, peaks kept for a while; 0 when nothing is known."""
        ...


@runtime_checkable
class Balancer(Protocol):
    """Choose the instance of a model that gets a call. It belongs to one backend."""

    def choose(
        self, facts: Sequence[Facts], among: Sequence[int], call: Call, request: Request
    ) -> int:
        """Return the place of the instance to ask.

        Parameters
        ----------
        facts : sequence of Facts
            All instances of the model, always in the same order.
        among : sequence of int
            Places in `facts` that may be chosen, ascending, at least one: the healthy ones that
            this call has not been sent to yet.
        call, request
            What is to be sent, as of `Call.messages`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """What a fitted plug-in has learned: arrays and plain values, never code."""

    arrays: Mapping[str, "NDArray[Any]"] = field(default_factory=dict)
    values: JsonObject = field(default_factory=dict)
    """Whatever JSON can express."""


@runtime_checkable
class Encoder(Protocol):
    """Turn texts into features."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what there is to learn (a vocabulary, document frequencies); return self."""
        ...

    def encode(self, texts: Sequence[str]) -> Features:
        """Return one row per text, shape (N, D); the same text always gives the same row."""
        ...

    def state(self) -> State:
        """Return what `fit` learned."""
        ...

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self.

        A state belongs to an encoder that was built with the same parameters.
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """Predict a number for every candidate on every request, before asking any.

    The number is what it was fitted on: quality in [0, 1], or the logarithm of a cost. Built with
    keyword hyper-parameters only, like a scikit-learn estimator; `fit` learns everything anew.
    """

    method: ClassVar[Method]

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Learn from observed outcomes, and return self.

        Parameters
        ----------
        requests : sequence of Request, length N
        target_NM : ndarray of shape (N, M)
            What was observed; NaN where it was not, which is never read as zero.
        pool : Pool
            The M candidates, in column order.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        """
        ...

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)), columns in the order of `pool`.

        A card that was not fitted, and that nothing can be said of from its descriptor, has a
        column of NaN: unknown.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        """
        ...

    def state(self) -> State:
        """Return what `fit` learned, so that `restore` predicts bit for bit the same."""
        ...

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        ...


class Reward(Protocol):
    """Score a finished trace; a plain function will do."""

    def __call__(self, trace: Trace) -> float:
        """Return the reward, higher is better."""
        ...
