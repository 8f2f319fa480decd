"""One request on its way through the loop: the episode, its record, and the declared fallback.

The one decision here: when a policy breaks, the fallback card answers in an episode of its own,
inside what the first one left of the budget. Both are recorded, and the reply says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polyroute.decision import Failure
from polyroute.episode import Decided, Episode, Finished, Replied, Streamed
from polyroute.errors import PolicyError, UnknownModelError
from polyroute.gateway.asked import Asked
from polyroute.gateway.errors import ApiError, InvalidError, broken_policy, failed
from polyroute.gateway.keeper import Keeper
from polyroute.once import once
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Backend, Policy
from polyroute.records.record import Status
from polyroute.trace import Bill, Reply, Trace
from polyroute.types import Budget, JsonObject, Request

__all__ = ["FellBack", "Happening", "Outcome", "Recalled", "Report", "Run"]


class FellBack(Struct, frozen=True):
    """The policy broke, and the fallback card is asked."""

    card: str
    reason: str
    trace_id: str
    """Of the episode that broke."""

    @property
    def answer_id(self) -> str:
        """Id of the trace of the fallback's own episode."""
        return f"{self.trace_id}-fallback"

    @property
    def spec(self) -> JsonObject:
        """What the policy of the fallback's episode is built from."""
        return {"name": "fixed", "model": self.card}


class Recalled(Struct, frozen=True, kw_only=True):
    """The answer is one that was given before."""

    kind: Literal["same", "alike"]
    """Whether it was the answer to the same request, or to one that means the same."""
    model: str | None
    """Who gave it; `None` when a policy wrote it."""
    age_s: float
    trace_id: str
    """Of the episode that gave it first."""
    usd: Decimal | None
    """What that episode cost; `None` when nobody knows."""


Happening: TypeAlias = Decided | Streamed | Replied | Finished | FellBack

Report: TypeAlias = Callable[[Happening], Awaitable[None]]
"""Who is told what happens."""


class Outcome(Struct, frozen=True, kw_only=True, dict=True):
    """What a run came to."""

    trace: Trace
    """Of the episode that answered, or was the last to fail."""
    before: tuple[Trace, ...] = ()
    """Of the episode whose policy broke."""
    fallback: FellBack | None = None
    error: ApiError | None = None
    """What the client is told; `None` when there is an answer."""
    recorded: bool = True
    """Whether every record was kept."""
    recalled: Recalled | None = None
    """Whose answer was given again; `None` when the episode made its own."""

    @once
    def traces(self) -> tuple[Trace, ...]:
        """All traces, oldest first: together they are the bill."""
        return (*self.before, self.trace)

    @once
    def made(self) -> tuple[Reply, ...]:
        """The replies to all calls that were made: those that the budget refused are left out."""
        made: list[Reply] = []
        for trace in self.traces:
            for step in trace.steps:
                for reply in step.replies:
                    if reply.failure is None or reply.failure.kind != "budget":
                        made.append(reply)
        return tuple(made)

    @once
    def bill(self) -> Bill:
        """Of all traces."""
        bill = self.trace.bill
        for trace in self.before:
            earlier = trace.bill
            bill = Bill(bill.usd + earlier.usd, bill.unknown + earlier.unknown)
        return bill

    @once
    def usd(self) -> str | None:
        """The exact price of the run, as text; `None` when a part of it is unknown."""
        return None if self.bill.unknown else f"{self.bill.usd:f}"

    @once
    def rounds(self) -> int:
        """Of all traces."""
        return sum(trace.rounds for trace in self.traces)


class Run:
    """Carry out one request. Single use.

    Parameters
    ----------
    asked : Asked
        The request.
    backend : Backend
        Carries out the calls.
    keeper : Keeper
        Keeps the records.
    fallback : str or None
        The card that answers when the policy breaks.
    """

    def __init__(
        self, asked: Asked, backend: Backend, keeper: Keeper, *, fallback: str | None
    ) -> None:
        self._asked = asked
        self._backend = backend
        self._keeper = keeper
        self._fallback = fallback
        self._traces: list[Trace] = []
        self.fell_back: FellBack | None = None
        """Set when the policy has broken and the fallback card is asked."""
        self._error: ApiError | None = None
        self._recorded = True

    async def carry_out(self, report: Report, *, stream: bool) -> None:
        """Run the episode, and the fallback's where it is needed; `outcome` is there then.

        Cancelling it cancels the calls that are running, and records what there was.

        Parameters
        ----------
        report : callable
            Told what happens as it happens; awaiting it is the back-pressure.
        stream : bool
            Ask backends for the final reply in pieces.
        """
        asked = self._asked
        start = time.monotonic()
        try:
            await self._episode(
                asked.choice.policy, asked.request, asked.choice.spec, report, stream
            )
        except PolicyError as error:
            broken = error
        else:
            return
        trace = self._traces[-1]
        self._error = self._no_fallback(broken, trace)
        if self._error is not None or self._fallback is None or trace.rest is None:
            return
        self.fell_back = FellBack(self._fallback, str(broken), asked.request.id)
        await report(self.fell_back)
        seconds = time.monotonic() - start
        request = _again(asked.request, trace.rest, seconds, id=self.fell_back.answer_id)
        policy = Fixed(self._fallback)
        await self._episode(policy, request, self.fell_back.spec, report, stream)

    @property
    def begun(self) -> bool:
        """Whether there is a trace to speak of."""
        return bool(self._traces)

    @property
    def outcome(self) -> Outcome:
        """What it came to, once `events` has ended."""
        trace = self._traces[-1]
        error = self._error
        if error is None and trace.answer is None:
            nothing = Failure("backend", "the episode ended without an answer")
            error = failed(trace.failure or nothing)
        return Outcome(
            trace=trace,
            before=tuple(self._traces[:-1]),
            fallback=self.fell_back,
            error=error,
            recorded=self._recorded,
        )

    async def _episode(
        self, policy: Policy, request: Request, spec: JsonObject, report: Report, stream: bool
    ) -> None:
        """Run one episode, and keep its record however it ends."""
        episode = Episode(policy, self._backend, request, self._asked.pool)
        status: Status | None = None
        why: str | None = None
        try:
            await episode.run(report, stream=stream)
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        except Exception as error:
            status = "failed"
            why = str(error) if isinstance(error, PolicyError) else repr(error)
            raise
        finally:
            self._traces.append(episode.trace)
            kept = await self._keeper.keep(episode.trace, policy=spec, status=status, error=why)
            self._recorded = self._recorded and kept

    def _no_fallback(self, broken: PolicyError, trace: Trace) -> ApiError | None:
        """Return what the client is told when the fallback cannot answer; `None` when it can."""
        asked = self._asked
        if asked.restricted and isinstance(broken.__cause__, UnknownModelError):
            return InvalidError(
                f"the policy {asked.choice.name!r} needs a card that polyroute.allow and "
                f"polyroute.deny leave out: {broken.__cause__}",
                param="polyroute.allow",
            )
        if self._fallback is None:
            return broken_policy(str(broken))
        if self._fallback not in asked.pool.ids:
            why = "is left out by this request"
            return broken_policy(f"{broken} (the fallback {self._fallback!r} {why})")
        if trace.rest is None:
            why = "cannot be asked: what a failed call cost is unknown, and so is what is left"
            return broken_policy(f"{broken} (the fallback {self._fallback!r} {why})")
        return None


def _again(request: Request, rest: Budget, seconds: float, *, id: str) -> Request:
    """Return the request of the fallback's episode: the same, with what is left to spend."""
    if request.budget.seconds is not None:
        rest = replace(rest, seconds=max(0.0, request.budget.seconds - seconds))
    return replace(request, id=id, budget=rest)
