"""One call on its way: which instance is asked, which one next, and when two at once.

The one decision here: a sending that may be billed is followed by another only where the loop has
set the worst case aside once more, and the reply then shows both.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from msgspec import Struct, field
from msgspec.structs import replace

from polyroute.backends.openai.exchange import Exchange
from polyroute.backends.openai.form import Form
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.transport import Address, Transport
from polyroute.balance.instances import Instances
from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, ConfigError, RateLimitError, let_go
from polyroute.protocols import Delta, Emit, Reserve
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["Delivery", "Hedge", "Hedging", "Upstreams"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 30.0
"""Seconds that a call waits for an instance that rests."""

_MOST_SAVED = 10.0
"""Hedges that may follow each other when there were none for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a second instance is asked besides a slow first one.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    References
    ----------
    Dean and Barroso, *The tail at scale*, Communications of the ACM 56(2), 2013: hedged requests
    after the 95th percentile.
    """

    after_s: float | None = None
    """Seconds without an answer; `None`: the quantile of the instance that was asked."""
    quantile: float = 0.95
    """Of its last 128 latencies, to the first text of streams, else to the end; over 0 to 1."""
    least_calls: int = 20
    """Latencies that the quantile needs before it says anything."""
    most: float = 0.1
    """Share of the calls that may be hedged, over 0 to 1."""

    def __post_init__(self) -> None:
        if self.after_s is not None and not self.after_s > 0:
            raise ConfigError(f"hedge.after_s must be more than 0, got {self.after_s!r}")
        for name in ("quantile", "most"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"hedge.{name} must be over 0 to 1, got {getattr(self, name)!r}")
        if self.least_calls < 1:
            raise ConfigError(f"hedge.least_calls must be 1 or more, got {self.least_calls!r}")


class Hedging:
    """Decides after how long a call is hedged, and keeps to the share that may be.

    Parameters
    ----------
    hedge : Hedge
        What is configured.
    instances : Instances
        Their latencies.
    """

    def __init__(self, hedge: Hedge, instances: Instances) -> None:
        self._hedge = hedge
        self._instances = instances
        self._saved = 1.0

    def after_s(self, place: int, *, stream: bool) -> float | None:
        """Return the seconds to wait for an instance; `None`: no second one is asked."""
        self._saved = min(self._saved + self._hedge.most, _MOST_SAVED)
        if self._hedge.after_s is not None:
            return self._hedge.after_s
        live = self._instances.live[place]
        seen = live.first if stream else live.whole
        if len(seen) < self._hedge.least_calls:
            return None
        return seen.quantile(self._hedge.quantile)

    def take(self) -> bool:
        """Use one hedge of those that may be made; false when there is none."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """What all calls of one backend share."""

    form: Form
    configured: tuple[Instance, ...]
    instances: Instances
    retries: int
    hedging: Hedging | None
    address: Callable[[int], Address]
    transport: Callable[[int], Transport]
    wait: Callable[[BackendError, int, float], Awaitable[None]]
    """Waits until an instance that failed may be asked again; raises its error if we cannot."""
    sleep: Callable[[float], Awaitable[None]]


class Delivery(Struct, kw_only=True):
    """One call; single use."""

    up: Upstreams
    call: Call
    trace: Trace
    emit: Emit | None
    reserve: Reserve
    start: float
    """When the call began, by the clock of the event loop."""
    attempt: int = 0
    """How often it was sent."""
    failures: dict[int, BackendError] = field(default_factory=dict)
    """By place, the one that failed longest ago first."""
    _discarded: list[Reply] = field(default_factory=list)

    async def run(self) -> Reply:
        """Send the call until there is a reply, or none can be hoped for.

        Raises
        ------
        BackendError
            If there is no reply, and nothing was sent besides that may be billed.
        """
        up = self.up
        place = up.instances.choose(self.call, self.trace.request)
        if place is None:
            place = await self._first_back()
        while True:
            self.attempt += 1
            try:
                if up.hedging is None:
                    reply = await self.send(place, self.exchange(place, self.emit))
                else:
                    reply = await self._ask(place, up.hedging)
            except BackendError as error:
                asked = self.up.configured[place]
                error.instance, error.region = asked.label, asked.region
                error.attempts = self.attempt
                following = await self._after(place, error)
                if following is None and not self._discarded:
                    raise
                let_go(error)
                if following is None:
                    return self._with_all(self._failed(place, error))
                place = following
            else:
                return self._with_all(reply) if self._discarded else reply

    # ---- who is asked -------------------------------------------------------------------------

    async def _first_back(self) -> int:
        """Return the instance that is back first when all rest after a 429, if calls may wait."""
        up, request = self.up, self.trace.request
        place = None
        while place is None:
            rest_s = up.instances.wait_s()
            if rest_s is None:
                raise BackendError(f"no instance is fit to be asked: {up.instances.why_out()}")
            if not up.retries or rest_s > min(_LONGEST_WAIT_S, self._time_left(0)):
                why = f"no instance is fit to be asked: {up.instances.why_out()}"
                raise RateLimitError(why, status=429, retry_after_s=rest_s)
            await up.sleep(rest_s)
            place = up.instances.choose(self.call, request)
        return place

    async def _after(self, place: int, error: BackendError) -> int | None:
        """Return who is asked after `place` has failed; `None`: nobody."""
        up = self.up
        if self.attempt > up.retries:
            return None
        self.failures.pop(place, None)
        self.failures[place] = error
        if error.billed:
            return self._after_a_cut(place, error)
        if error.failure_kind not in ("rate_limit", "unavailable", "timeout"):
            return None
        label = up.configured[place].label
        _log.info("%s: attempt %d failed (%s)", label, self.attempt, error.failure_kind)
        other = up.instances.choose(self.call, self.trace.request, self.failures)
        if other is not None:
            return other
        earliest = next(iter(self.failures))
        known = self.failures[earliest]
        try:
            await up.wait(known, self.attempt + 1, self._time_left(earliest))
        except BackendError:
            if known is error:
                return None
            raise
        return earliest if up.instances.again(earliest) else None

    def _after_a_cut(self, place: int, error: BackendError) -> int | None:
        """Return who is asked when a connection was cut that had carried the call.

        It may be billed, so the next sending needs a place in the budget of its own. After a
        silence nobody is asked: the upstream may still be at work.
        """
        if error.failure_kind != "unavailable" or len(self.up.configured) == 1:
            return None
        other = self.up.instances.choose(self.call, self.trace.request, self.failures)
        if other is None:
            return None
        if not self.reserve():
            self.up.instances.ended(other)
            return None
        self._discarded.append(self._failed(place, error))
        return other

    # ---- one sending, or two ------------------------------------------------------------------

    async def _ask(self, place: int, hedging: Hedging) -> Reply:
        after_s = hedging.after_s(place, stream=self.emit is not None)
        if after_s is not None:
            return await _Race(self, hedging).run(place, after_s)
        return await self.send(place, self.exchange(place, self.emit))

    def exchange(self, place: int, emit: Emit | None) -> Exchange:
        """Return one sending to an instance."""
        up = self.up
        try:
            address = up.address(place)
        except BackendError as error:
            up.instances.ended(place, error)
            raise
        if emit is not None and up.instances.is_on_trial(place):
            emit = self._noting(place, emit)
        instance = up.configured[place]
        return Exchange(
            call=self.call,
            trace=self.trace,
            emit=emit,
            instance=instance,
            model=instance.model or self.trace.pool.card(self.call.model).id,
            address=address,
            start=self.start,
            attempt=self.attempt,
            form=up.form,
        )

    async def send(self, place: int, exchange: Exchange) -> Reply:
        """Send, and tell the instances how it ended."""
        instances = self.up.instances
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            reply = await exchange.run(self.up.transport(place))
        except BackendError as error:
            instances.ended(place, error, seconds=clock() - began)
            raise
        except BaseException:
            instances.ended(place, at_least_s=clock() - began)
            raise
        if reply.failure is not None:
            broke = BackendError("", kind=reply.failure.kind, status=reply.failure.status)
            instances.ended(place, broke, seconds=clock() - began)
            return reply
        first = reply.first_token_s
        instances.ended(
            place,
            seconds=clock() - began,
            first_token_s=None if first is None else first - (began - self.start),
        )
        return reply

    def _noting(self, place: int, emit: Emit) -> Emit:
        """Return `emit`, with word of its first piece to the trial it decides."""
        clock = asyncio.get_running_loop().time
        began = clock()

        async def note(delta: Delta) -> None:
            self.up.instances.answered(place, clock() - began)
            await emit(delta)

        return note

    # ---- what comes of it ---------------------------------------------------------------------

    def discard(self, reply: Reply) -> None:
        """Take note of a sending that nobody reads."""
        self._discarded.append(reply)

    def _failed(self, place: int, error: BackendError) -> Reply:
        """Return the reply that stands for a sending without one."""
        failure = Failure(error.failure_kind, str(error), error.status, error.retry_after_s)
        return _unread(self.call, self.up.configured[place], failure, billed=error.billed)

    def _with_all(self, reply: Reply) -> Reply:
        return replace(reply, attempts=self.attempt, discarded=tuple(self._discarded))

    def _time_left(self, place: int) -> float:
        """Seconds until the call, or the request's budget, is over."""
        limits = [self.up.configured[place].total_s]
        left = self.trace.left.seconds
        if left is not None:
            limits.append(left)
        return self.start + min(limits) - asyncio.get_running_loop().time()


class _Race:
    """Two sendings of one call, of which the first to answer is read."""

    def __init__(self, delivery: Delivery, hedging: Hedging) -> None:
        self._delivery = delivery
        self._hedging = hedging
        self._answers: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The place whose reply is read, once that is known."""
        self._tasks: dict[int, asyncio.Task[Reply]] = {}
        self._exchanges: dict[int, Exchange] = {}

    async def run(self, place: int, after_s: float) -> Reply:
        """Ask `place`, and another besides it when it has not answered after `after_s` seconds.

        Raises
        ------
        BackendError
            If neither has a reply.
        """
        try:
            self._begin(place)
            await asyncio.wait([self._answers], timeout=after_s)
            if not self._answers.done():
                self._hedge(place)
            return await self._tasks[await self._answers]
        finally:
            await self._end()

    def _hedge(self, place: int) -> None:
        """Ask a second instance, where there is one, and the budget and the share allow it."""
        delivery = self._delivery
        instances = delivery.up.instances
        but = {*delivery.failures, place}
        other = instances.choose(delivery.call, delivery.trace.request, but)
        if other is None:
            return
        if not (self._hedging.take() and delivery.reserve()):
            instances.ended(other)
            return
        delivery.attempt += 1
        try:
            self._begin(other)
        except BackendError as error:  # its key is missing: nothing was sent
            failure = Failure(error.failure_kind, str(error))
            configured = delivery.up.configured[other]
            delivery.discard(_unread(delivery.call, configured, failure, billed=False))

    def _begin(self, place: int) -> None:
        emit = self._delivery.emit
        own = None if emit is None else self._first_only(place, emit)
        exchange = self._exchanges[place] = self._delivery.exchange(place, own)
        task = asyncio.create_task(self._delivery.send(place, exchange))
        self._tasks[place] = task
        task.add_done_callback(lambda _: self._ended(place))

    def _ended(self, place: int) -> None:
        """Take note that a sending is over: it wins if it has a reply, or if it is the last."""
        task = self._tasks[place]
        has_reply = not task.cancelled() and task.exception() is None
        if not self._answers.done() and (
            has_reply or all(each.done() for each in self._tasks.values())
        ):
            self._answers.set_result(place)

    def _first_only(self, place: int, emit: Emit) -> Emit:
        """Return `emit` for the sending that begins to answer first; another waits to be ended."""

        async def pass_on(delta: Delta) -> None:
            if not self._answers.done():
                self._answers.set_result(place)
            if self._answers.result() != place:
                await asyncio.Event().wait()
            await emit(delta)

        return pass_on

    async def _end(self) -> None:
        """End what still runs, and take note of what nobody reads."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if not self._answers.done():  # the call itself was cut short
            return
        for place, task in self._tasks.items():
            if not task.cancelled() and isinstance(error := task.exception(), BackendError):
                self._delivery.failures[place] = error
            if place != self._answers.result():
                self._delivery.discard(self._lost(place, task))

    def _lost(self, place: int, task: asyncio.Task[Reply]) -> Reply:
        if not task.cancelled() and task.exception() is None:
            return replace(task.result(), raw=None)
        exchange = self._exchanges[place]
        failure = Failure("cancelled", "asked twice; the other instance answered first")
        billed = exchange.sent
        if not task.cancelled() and isinstance(error := task.exception(), BackendError):
            failure = Failure(error.failure_kind, str(error), error.status, error.retry_after_s)
            billed = error.billed
        return _unread(self._delivery.call, exchange.instance, failure, billed=billed)


def _unread(call: Call, instance: Instance, failure: Failure, *, billed: bool) -> Reply:
    """Return what stands for a sending without a reply: its price is unknown, or nothing."""
    return Reply(
        model=call.model,
        usage=None if billed else Usage(),
        usd=None if billed else Decimal(0),
        failure=failure,
        instance=instance.label,
        region=instance.region,
    )
