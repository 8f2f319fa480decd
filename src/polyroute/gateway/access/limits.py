"""What a key may spend: held before the episode, settled with the exact bill after it.

The one decision here: money is hard. A request is let in with a budget that the key can pay, and
the whole of it is held until the bill is known; so however many run at once, on however many
machines, a key never spends more than it has. What nobody knows the price of costs what was held.
Tokens per minute are a rate: held as an estimate, then counted as they were.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from polyroute.errors import StateError
from polyroute.gateway.access.keys import AccessKey
from polyroute.gateway.access.permitted import permitted
from polyroute.gateway.access.ring import KeyRing
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.gateway.seams import Admission, Open
from polyroute.state.shared import LARGEST, Hold, Shared, Taken, units, usd_of

__all__ = ["Limits", "Window", "windows"]

_log = logging.getLogger(__name__)

_MINUTE_S = 60

_CHARACTERS_PER_TOKEN = 4
_COMPLETION = 512
"""Tokens that an answer without a limit is held to have, until it is known."""

_RETRY_AT_MOST_S = 60
"""A client is asked to wait for a minute's end, and not for a month's."""

_OPEN = Open()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One limit of a key, in the window that is open now."""

    kind: str
    """``requests_per_minute``, ``tokens_per_minute``, ``usd_per_day`` or ``usd_per_month``."""
    counter: str
    """Its counter in the shared state."""
    most: int
    """How much it may hold, in the counter's unit."""
    ends_at: float
    """Seconds since 1970."""

    @property
    def money(self) -> bool:
        """Whether it counts dollars."""
        return self.kind.startswith("usd")


def windows(key: AccessKey, now: float) -> tuple[Window, ...]:
    """Return the limits of `key`, each in the window that is open at `now`."""
    minute = math.floor(now / _MINUTE_S)
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow = today + timedelta(days=1)
    month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    minute_end = (minute + 1) * float(_MINUTE_S)
    limits: Sequence[tuple[str, int | Decimal | None, str, float]] = (
        ("requests_per_minute", key.requests_per_minute, str(minute), minute_end),
        ("tokens_per_minute", key.tokens_per_minute, str(minute), minute_end),
        ("usd_per_day", key.usd_per_day, f"{today:%Y-%m-%d}", tomorrow.timestamp()),
        ("usd_per_month", key.usd_per_month, f"{today:%Y-%m}", month.timestamp()),
    )
    return tuple(
        Window(
            kind=kind,
            counter=f"{kind}/{key.id}/{name}",
            most=units(limit) if isinstance(limit, Decimal) else limit,
            ends_at=ends_at,
        )
        for kind, limit, name, ends_at in limits
        if limit is not None
    )


class Limits:
    """Lets requests in as far as their keys allow; a `Gate`.

    Parameters
    ----------
    ring : KeyRing
        The keys and their limits.
    state : Shared
        Where it is counted.
    open_on_loss : bool, default=False
        When `state` cannot be reached: let requests in uncounted instead of refusing them.
    clock : callable, optional
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        ring: KeyRing,
        state: Shared,
        *,
        open_on_loss: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._state = state
        self._open_on_loss = open_on_loss
        self._clock = clock
        self._owed: dict[str, Mapping[str, int]] = {}
        """What could not be settled yet, by lease."""

    @property
    def owed(self) -> int:
        """How many requests wait to be settled until the shared state is back."""
        return len(self._owed)

    async def admit(self, caller: Caller, asked: Asked) -> Admission:
        """Let the request in, with a budget that its key can pay.

        Raises
        ------
        ApiError
            403 for a policy or a card that the key does not allow; 429 when a limit is used up;
            503 when it cannot be known.
        asyncio.CancelledError
            When the client has gone; what was held is then given back.
        """
        if caller.policies is not None or caller.cards is not None:
            asked = permitted(caller, asked)
        key = self._ring.key(caller.id)
        if key is None:
            return Admission(asked, _OPEN)
        if key.usd_per_request is not None:
            asked = _capped(asked, key.usd_per_request)
        if not key.limited:
            return Admission(asked, _OPEN)
        now = self._clock()
        open_windows = windows(key, now)
        tokens = _estimate(asked)
        holds = [_hold(window, asked, tokens) for window in open_windows]
        id = uuid.uuid4().hex
        try:
            await self._pay()
            taken = await self._state.take(id, holds)
        except asyncio.CancelledError:
            self._owed[id] = {}
            raise
        except StateError as error:
            self._owed[id] = {}
            return self._lost(asked, error)
        if not taken.ok:
            refusal = _used_up(open_windows, taken, now)
            raise refusal
        money = [
            granted
            for window, granted in zip(open_windows, taken.granted, strict=True)
            if window.money
        ]
        held = min(money, default=None)
        if held is not None:
            asked = _capped(asked, usd_of(held))
        return Admission(asked, _Lease(self, id, open_windows, tokens, held))

    async def settle(self, id: str, spent: Mapping[str, int]) -> None:
        """Settle a lease now, or as soon as the shared state is back."""
        self._owed[id] = spent
        try:
            await self._pay()
        except StateError as error:
            _log.warning("a bill is settled later: %s", error)

    async def _pay(self) -> None:
        """Settle what is owed."""
        while self._owed:
            id, spent = next(iter(self._owed.items()))
            await self._state.settle(id, spent)
            self._owed.pop(id, None)

    def _lost(self, asked: Asked, error: StateError) -> Admission:
        if self._open_on_loss:
            _log.warning("a request is let in uncounted (state.on_loss: open): %s", error)
            return Admission(asked, _OPEN)
        _log.warning("a request is refused (state.on_loss: closed): %s", error)
        raise ApiError(
            503,
            "what this key has left cannot be known at the moment; try again",
            type="server_error",
            code="limits_unavailable",
            headers={"retry-after": "1"},
        ) from error


@dataclass(frozen=True, slots=True)
class _Lease:
    """What one request holds."""

    limits: Limits
    id: str
    windows: tuple[Window, ...]
    tokens: int
    """As they were estimated."""
    held: int | None
    """Money, in units; `None` when none is limited."""

    async def settle(self, outcome: Outcome | None) -> None:
        """Replace what was held by what was spent."""
        usd = units(_usd(outcome, self.held))
        tokens = _tokens(outcome, self.tokens)
        spent = {"requests_per_minute": 1, "tokens_per_minute": tokens}
        await self.limits.settle(
            self.id,
            {
                window.counter: usd if window.money else spent[window.kind]
                for window in self.windows
            },
        )


def _hold(window: Window, asked: Asked, tokens: int) -> Hold:
    if window.kind == "requests_per_minute":
        return Hold(key=window.counter, amount=1, most=window.most, ends_at=window.ends_at)
    if not window.money:
        # a request that is larger than a minute is let in when the minute is all its own
        amount = min(tokens, window.most)
        return Hold(key=window.counter, amount=amount, most=window.most, ends_at=window.ends_at)
    usd = asked.request.budget.usd
    amount = min(LARGEST, window.most if usd is None else min(units(usd), window.most))
    wanted = amount > 0 or usd is None or usd > 0
    return Hold(
        key=window.counter,
        amount=max(amount, 1) if wanted else 0,
        least=1 if wanted else 0,
        most=window.most,
        ends_at=window.ends_at,
    )


def _capped(asked: Asked, usd: Decimal | None) -> Asked:
    budget = asked.request.budget
    if usd is None or (budget.usd is not None and budget.usd <= usd):
        return asked
    return replace(asked, request=replace(asked.request, budget=replace(budget, usd=usd)))


def _estimate(asked: Asked) -> int:
    """Return about how many tokens a request will use; exact only where it is limited."""
    request = asked.request
    prompt = sum(len(str(message.content)) for message in request.messages)
    limits = [request.params.get(name) for name in ("max_completion_tokens", "max_tokens")]
    completion = next((limit for limit in limits if limit is not None), _COMPLETION)
    total = prompt // _CHARACTERS_PER_TOKEN + int(completion)
    return min(max(1, total), LARGEST if request.budget.tokens is None else request.budget.tokens)


def _usd(outcome: Outcome | None, held: int | None) -> Decimal:
    """Return what a request cost; what was held where a part of it is unknown."""
    if outcome is None:
        return Decimal(0)
    bill = outcome.bill
    return max(bill.usd, usd_of(held)) if bill.unknown and held is not None else bill.usd


def _tokens(outcome: Outcome | None, estimate: int) -> int:
    if outcome is None:
        return 0
    used = sum(trace.usage.total for trace in outcome.traces)
    unknown = any(reply.usage is None for trace in outcome.traces for reply in trace.replies)
    return max(used, estimate) if unknown else used


def _used_up(open_windows: Sequence[Window], taken: Taken, now: float) -> ApiError:
    assert taken.refused is not None, "called only for a refusal"
    window = open_windows[taken.refused]
    wait = max(1, math.ceil(window.ends_at - now))
    most = f"${usd_of(window.most):f}" if window.money else str(window.most)
    what = window.kind.replace("_per_", " per ").replace("usd", "dollars")
    headers = {"retry-after": str(wait)}
    if wait > _RETRY_AT_MOST_S:
        headers["x-should-retry"] = "false"
    return ApiError(
        429,
        f"this key has used up its {what} ({most}); it can be used again in {wait} s",
        type="insufficient_quota" if window.money else "rate_limit_error",
        code="insufficient_quota" if window.money else "rate_limit_exceeded",
        headers=headers,
    )
