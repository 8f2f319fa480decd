"""``GET /v1/budgets``: what a key may spend, and what of it is left."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from polyroute.errors import StateError
from polyroute.gateway.access.audit import Audit
from polyroute.gateway.access.keys import AccessKey
from polyroute.gateway.access.limits import windows
from polyroute.gateway.access.ring import KeyRing
from polyroute.gateway.caller import caller_of
from polyroute.gateway.errors import ApiError
from polyroute.gateway.wire import refuse, respond
from polyroute.state.shared import Shared, usd_of
from polyroute.types import Json, JsonObject

__all__ = ["Budgets"]


class Budgets:
    """The endpoint: a key sees itself, an administrator sees all.

    Parameters
    ----------
    ring : KeyRing or None
        The keys; `None` when there are none.
    state : Shared
        Where it is counted.
    audit : Audit, optional
        Where it is noted that an administrator has looked.
    clock : callable, optional
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        ring: KeyRing | None,
        state: Shared,
        *,
        audit: Audit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._state = state
        self._audit = audit
        self._clock = clock

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = caller_of(scope)
        keys = () if self._ring is None else self._ring.keys
        if not caller.admin:
            keys = tuple(key for key in keys if key.id == caller.id)
        elif self._audit is not None and self._ring is not None:
            self._audit.note(f"key:{caller.id}", "budgets.read")
        try:
            listed = [await self._of(key) for key in keys]
        except StateError:
            error = "the counters cannot be read at the moment; try again"
            headers = {"retry-after": "1"}
            code = "limits_unavailable"
            await refuse(
                send, ApiError(503, error, type="server_error", code=code, headers=headers)
            )
            return
        await respond(send, {"object": "list", "data": listed}, headers=_PRIVATE)

    async def _of(self, key: AccessKey) -> JsonObject:
        now = self._clock()
        open_windows = windows(key, now)
        used = await self._state.read([window.counter for window in open_windows])
        limits: dict[str, Json] = {}
        for window, taken in zip(open_windows, used, strict=True):
            left = max(0, window.most - taken)
            amounts: list[Json] = [window.most, taken, left]
            if window.money:
                amounts = [f"{usd_of(n):f}" for n in (window.most, taken, left)]
            limits[window.kind] = {
                "most": amounts[0],
                "used": amounts[1],
                "left": amounts[2],
                "resets_at": _iso(datetime.fromtimestamp(window.ends_at, UTC)),
            }
        cap = key.usd_per_request
        return {
            "object": "budget",
            "key": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "state": key.state(datetime.fromtimestamp(now, UTC)),
            "expires_at": None if key.expires_at is None else _iso(key.expires_at),
            "scopes": sorted(key.scopes),
            "policies": None if key.policies is None else sorted(key.policies),
            "cards": None if key.cards is None else sorted(key.cards),
            "usd_per_request": None if cap is None else f"{cap:f}",
            "limits": limits,
        }


_PRIVATE = {"cache-control": "no-store"}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
