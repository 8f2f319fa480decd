"""The loop: decide, carry out, append, until answered. It trains, evaluates and serves.

The one decision here: everything that happens, from a refused call to a cancelled one, is a step
of the trace; only a broken policy is an exception.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polyroute.deadline import Deadline
from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.errors import BackendError, ConfigError, PolicyError, let_go
from polyroute.ledger import Ledger, Reservation
from polyroute.pool import Pool
from polyroute.protocols import Backend, Delta, Emit, Policy, Reserve
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Request, Usage

__all__ = [
    # the loop
    "Episode", "run_episode", "stream_episode",
    # what it reports as it goes
    "Decided", "Event", "Finished", "Replied", "Report", "Streamed",
]  # fmt: skip

_log = logging.getLogger(__name__)

_STEPS_PER_ROUND = 4
"""Steps a policy may take per round of its budget, own thinking and refused calls included."""

_SPARE_STEPS = 16
"""Steps a policy may take besides: enough to walk a long cascade whose calls are all refused."""

_A_MOMENT_S = 1.0
"""Seconds that a policy has for a decision when the budget of seconds is over."""

_EVENTS_AHEAD = 64
"""Events that may wait for a slow reader before the episode has to."""


class Decided(Struct, frozen=True):
    """The policy has decided."""

    decision: Decision


class Streamed(Struct, frozen=True):
    """A piece of the reply to the final call."""

    call: Call
    delta: Delta


class Replied(Struct, frozen=True):
    """A call has ended; replies come in the order in which they end."""

    index: int
    """Which call of the route, from 0."""
    call: Call
    reply: Reply


class Finished(Struct, frozen=True):
    """The episode is over."""

    trace: Trace


Event: TypeAlias = Decided | Streamed | Replied | Finished

Report: TypeAlias = Callable[[Event], Awaitable[None]]
"""Who is told what happens."""

_Resend: TypeAlias = Callable[[Call, Trace, Emit | None, Reserve], Awaitable[Reply]]


async def run_episode(policy: Policy, backend: Backend, request: Request, pool: Pool) -> Trace:
    """Answer `request` by letting `policy` route it through `pool`.

    Parameters
    ----------
    policy : Policy
        Decides what to ask next.
    backend : Backend
        Carries out the calls; a failed call is a reply with a `failure`.
    request : Request
        The conversation and its budget.
    pool : Pool
        The candidates that may be asked.

    Returns
    -------
    Trace
        The finished trace. It has an `answer`, or a `failure` that says why there is none, and
        it never exceeds the budget.

    Raises
    ------
    PolicyError
        If the policy raises, names a candidate that is not in the pool, does not decide in time,
        or never answers.
    """
    return await Episode(policy, backend, request, pool).run()


async def stream_episode(
    policy: Policy, backend: Backend, request: Request, pool: Pool
) -> AsyncGenerator[Event]:
    """Run an episode and yield what happens as it happens, ending with `Finished`.

    Closing the iterator cancels the calls that are running. Parameters and errors are those of
    `run_episode`.

    Yields
    ------
    Event
        `Decided`, then for each call `Replied`; `Streamed` for the pieces of a final call;
        `Finished` last.
    """
    async with aclosing(Episode(policy, backend, request, pool).events()) as events:
        async for event in events:
            yield event


class Episode:
    """One run of the loop, for callers that need the trace of a run that is cut short.

    Parameters are those of `run_episode`. Single use.
    """

    def __init__(self, policy: Policy, backend: Backend, request: Request, pool: Pool) -> None:
        self.trace = Trace(request, pool)
        """What has happened so far; after a cancellation, with the cancelled calls."""
        self._policy = policy
        self._backend = backend
        # a look at the name: asking whether it is a `Resends` takes longer than the loop itself
        self._resend: _Resend | None = getattr(backend, "complete_or_resend", None)
        self._ledger = Ledger(request.budget, pool)
        self._start = 0.0
        self._deadline: float | None = None
        """When the budget of seconds is over."""
        self._cutoff: float | None = None
        """The same, by the clock of the event loop, which stands still while it is busy."""
        self._streamed = False
        """Whether the reader has been given a part of a reply: then it cannot be replaced."""

    async def run(self, report: Report | None = None, *, stream: bool = False) -> Trace:
        """Run the episode to its end; see `run_episode`.

        Parameters
        ----------
        report : callable, optional
            Told what happens as it happens; awaiting it is the back-pressure.
        stream : bool, default=False
            Ask backends for the final reply in pieces.

        Raises
        ------
        PolicyError
            As in `run_episode`.
        """
        budget = self.trace.request.budget
        self._begin()
        tell = _nobody if report is None else report
        for _ in range(_STEPS_PER_ROUND * budget.rounds + _SPARE_STEPS):
            decision = await self._decide()
            await tell(Decided(decision))
            if isinstance(decision, Answer):
                step = Step(decision, (), time.monotonic() - self._start)
                self.trace = self.trace.with_step(step)
                break
            await self._carry_out(decision, tell, stream=stream and decision.final)
            if self._streamed or (decision.final and self.trace.final is not None):
                break
        else:
            raise PolicyError(
                f"{_name(self._policy)} took {len(self.trace.steps)} steps without an answer "
                f"({budget.rounds} rounds were allowed); a policy must answer when it is refused"
            )
        await tell(Finished(self.trace))
        return self.trace

    async def first(self) -> Decision:
        """Return the policy's first decision, and carry nothing out.

        Raises
        ------
        PolicyError
            If the policy raises, names a candidate that is not in the pool, or does not decide
            in time.
        """
        self._begin()
        return await self._decide()

    async def events(self, *, stream: bool = True) -> AsyncGenerator[Event]:
        """Run the episode; see `stream_episode`.

        Parameters
        ----------
        stream : bool, default=True
            Ask backends for the final reply in pieces.

        Raises
        ------
        PolicyError
            As in `run_episode`.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_EVENTS_AHEAD)

        async def run() -> None:
            try:
                await self.run(queue.put, stream=stream)
            finally:
                with suppress(asyncio.QueueFull):  # full: the reader looks at the task itself
                    queue.put_nowait(None)

        task = asyncio.create_task(run())
        try:
            while not (task.done() and queue.empty()):
                if (event := await queue.get()) is not None:
                    yield event
            task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _decide(self) -> Decision:
        try:
            with Deadline(self._latest_decision()):
                decision = await self._policy.decide(self.trace)
            if isinstance(decision, Route):
                _check(decision, self.trace.pool)
            elif not isinstance(decision, Answer):
                raise TypeError(f"a decision is a Route or an Answer, got {decision!r:.200}")
        except PolicyError:
            raise
        except TimeoutError as error:
            raise PolicyError(f"{_name(self._policy)} did not decide in time") from error
        except Exception as error:
            raise PolicyError(f"{_name(self._policy)}: {type(error).__name__}: {error}") from error
        return decision

    def _latest_decision(self) -> float | None:
        """When to be done with a decision; past the deadline a policy still has a moment."""
        if self._cutoff is None:
            return None
        return max(asyncio.get_running_loop().time() + _A_MOMENT_S, self._cutoff)

    async def _carry_out(self, route: Route, tell: Report, *, stream: bool) -> None:
        """Make the calls of `route` side by side and append the step, whatever happens."""
        reserved = self._reserve(route)
        replies: list[Reply | None] = [None] * len(route.calls)

        async def ask(index: int, reservation: Reservation) -> None:
            call = route.calls[index]
            emit = self._emitter(tell, call) if stream and len(route.calls) == 1 else None
            reply = replies[index] = await self._ask(reservation, emit)
            if emit is not None and reply.ok and not self._streamed:
                await emit(Delta(reply.text))
            await tell(Replied(index, call, reply))

        made = []
        try:
            for index, item in enumerate(reserved):
                if isinstance(item, Failure):
                    reply = replies[index] = _unbilled(route.calls[index], item)
                    await tell(Replied(index, route.calls[index], reply))
                else:
                    made.append(ask(index, item))
            if len(made) == 1:
                await made.pop()
            elif made:
                await _all(made)
        finally:
            for unmade in made:
                unmade.close()
            done = [
                _cancelled(call) if reply is None else reply
                for call, reply in zip(route.calls, replies, strict=True)
            ]
            step = Step(route, tuple(done), time.monotonic() - self._start)
            self.trace = self.trace.with_step(step)

    def _reserve(self, route: Route) -> list[Reservation | Failure]:
        budget = self.trace.request.budget
        if self.trace.steps and not route.own and self.trace.rounds >= budget.rounds:
            why = f"all {budget.rounds} rounds are used; answer now"
            return [Failure("budget", why) for _ in route.calls]
        if self._deadline is not None and time.monotonic() >= self._deadline:
            why = f"the {budget.seconds:g} seconds are over; answer now"
            return [Failure("budget", why) for _ in route.calls]
        return [self._ledger.reserve(call, self.trace.request) for call in route.calls]

    async def _ask(self, reservation: Reservation, emit: Emit | None) -> Reply:
        """Make one call; whatever goes wrong, a priced reply comes back."""
        call = reservation.call
        start = time.monotonic()
        again: list[Reservation] = []
        try:
            with Deadline(self._cutoff):
                reply = await self._send(reservation, emit, again)
        except BackendError as error:
            reply = _unanswered(call, error)
            let_go(error)
        except ConfigError as error:
            reply = _unbilled(call, Failure("unavailable", str(error)))
        except TimeoutError:
            failure = Failure("timeout", "cut off when the budget of seconds was over")
            reply = Reply(model=call.model, failure=failure, usage=None)
        except (Exception, asyncio.CancelledError) as error:
            if _is_being_cancelled(error):
                raise
            _log.exception("the backend of %s broke", call.model)
            failure = Failure("backend", f"{type(error).__name__}: {error}")
            reply = Reply(model=call.model, failure=failure, usage=None)
        seconds = reply.seconds or time.monotonic() - start
        if again or reply.discarded:
            reply = self._with_discarded(reply, again)
        return reply.priced(self._ledger.settle(reservation, reply), seconds)

    def _send(
        self, reservation: Reservation, emit: Emit | None, again: list[Reservation]
    ) -> Awaitable[Reply]:
        """Make the call; what the backend reserves for further sendings goes into `again`."""
        if self._resend is None:
            return self._backend.complete(reservation.call, self.trace, emit)

        def reserve() -> bool:
            further = self._ledger.reserve_again(reservation)
            if further is not None:
                again.append(further)
            return further is not None

        return self._resend(reservation.call, self.trace, emit, reserve)

    def _with_discarded(self, reply: Reply, again: list[Reservation]) -> Reply:
        """Price what was sent besides the reply; what nothing is known of is unknown, not free."""
        discarded = list(reply.discarded)
        discarded += [_cancelled(again[0].call)] * (len(again) - len(discarded))
        unreserved = Reservation(Call(reply.model), None, None)
        held = again + [unreserved] * (len(discarded) - len(again))
        pairs = zip(discarded, held, strict=True)
        return replace(
            reply,
            discarded=tuple(
                replace(lost, usd=self._ledger.settle(reserved, lost)) for lost, reserved in pairs
            ),
        )

    def _emitter(self, tell: Report, call: Call) -> Emit:
        async def emit(delta: Delta) -> None:
            self._streamed = True
            await tell(Streamed(call, delta))

        return emit

    def _begin(self) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        seconds = self.trace.request.budget.seconds
        if seconds is not None:
            self._deadline = self._start + seconds
            self._cutoff = asyncio.get_running_loop().time() + seconds


async def _nobody(_: Event) -> None:
    """Tell nobody."""


async def _all(made: list[Coroutine[None, None, None]]) -> None:
    """Await all of `made` side by side, and empty it; none is left running, whatever happens."""
    tasks = [asyncio.create_task(each) for each in made]
    made.clear()
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check(route: Route, pool: Pool) -> None:
    if not route.calls:
        raise PolicyError("a route needs one call or more, got none")
    for call in route.calls:
        pool.index_of(call.model)


def _name(policy: Policy) -> str:
    return type(policy).__name__


def _unanswered(call: Call, error: BackendError) -> Reply:
    """Return what stands for a call without a reply: its price is unknown if it may be billed."""
    return Reply(
        model=call.model,
        failure=Failure(error.failure_kind, str(error), error.status, error.retry_after_s),
        usage=None if error.billed else Usage(),
        usd=None if error.billed else Decimal(0),
        instance=error.instance,
        region=error.region,
        attempts=error.attempts,
    )


def _unbilled(call: Call, failure: Failure) -> Reply:
    return Reply(model=call.model, failure=failure, usage=Usage(), usd=Decimal(0))


def _cancelled(call: Call) -> Reply:
    failure = Failure("cancelled", "the episode was cancelled while the call was running")
    return Reply(model=call.model, failure=failure, usage=None)


def _is_being_cancelled(error: BaseException) -> bool:
    """Tell a cancellation of this task from one that a backend let slip out."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
