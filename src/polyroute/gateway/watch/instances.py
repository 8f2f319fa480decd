"""How the places are where models are served: what they say, what calls met, who is left out.

The one decision here: asking is rare. Whoever looks on is shown the newest answers, and a place is
asked again only when those are old.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any, Protocol, runtime_checkable

from polyroute.balance.instances import InstanceState
from polyroute.gateway.watch.account import Account
from polyroute.protocols import Backend
from polyroute.types import Json, JsonObject

__all__ = ["Instances", "Judged"]

_FRESH_S = 10.0
_MOST = 1_000
"""Places that are remembered."""


@runtime_checkable
class _Probed(Protocol):
    """A backend that can say how its instances are."""

    async def probe(self) -> tuple[Any, ...]: ...


@runtime_checkable
class Judged(Protocol):
    """A backend that takes instances out, and brings them back."""

    def snapshot(self) -> tuple[InstanceState, ...]:
        """Return how each is."""
        ...


@dataclass(slots=True)
class _Met:
    """What calls met at one place."""

    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    failed_in_a_row: int = 0
    seconds: float = 0.0
    """Exponential mean of the calls that succeeded."""
    last: float = 0.0


class Instances:
    """Knows how every instance of a server's pool is.

    Parameters
    ----------
    backends : mapping of str to Backend
        By card id.
    """

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = backends
        self._met: OrderedDict[tuple[str, str], _Met] = OrderedDict()
        self._asked = 0.0
        self._said: dict[str, list[JsonObject]] = {}
        self._asking = asyncio.Lock()

    def ended(self, account: Account) -> None:
        """Take note of what the calls of a request met."""
        for called in account.called:
            reply = called.reply
            if called.refused:
                continue
            place = (called.card, reply.instance or "")
            if (met := self._met.get(place)) is None:
                met = self._met[place] = _Met()
            met.calls += 1
            met.last = account.began
            if reply.failure is None:
                met.failed_in_a_row = 0
                share = 0.2 if met.seconds else 1.0
                met.seconds += share * (reply.seconds - met.seconds)
            elif reply.failure.kind not in ("cancelled", "refusal"):
                met.failed_in_a_row += 1
                met.failures[reply.failure.kind] += 1
        while len(self._met) > _MOST:
            self._met.popitem(last=False)

    async def report(self) -> list[JsonObject]:
        """Return every card with its instances, asking those that can be asked."""
        async with self._asking:
            if time.monotonic() - self._asked > _FRESH_S or not self._said:
                names = list(self._backends)
                said = await asyncio.gather(*(self._ask(name) for name in names))
                self._said = dict(zip(names, said, strict=True))
                self._asked = time.monotonic()
        return [
            {
                "card": card,
                "backend": type(backend).__name__,
                "instances": [
                    {**self._with_met(card, said, single=len(self._said[card]) == 1), **health}
                    for said, health in zip(self._said[card], _health(backend), strict=False)
                ],
            }
            for card, backend in self._backends.items()
        ]

    async def _ask(self, card: str) -> list[JsonObject]:
        backend = self._backends[card]
        if not isinstance(backend, _Probed):
            return [{"instance": "", "ok": None, "message": "", "seconds": None}]
        return [
            {
                "instance": probe.instance,
                "ok": probe.ok,
                "message": probe.message,
                "seconds": probe.seconds,
            }
            for probe in await backend.probe()
        ]

    def _with_met(self, card: str, place: JsonObject, *, single: bool) -> dict[str, Json]:
        met = self._met.get((card, place["instance"]))
        if met is None and single:
            met = self._met.get((card, ""))
        met = met or _Met()
        return {
            **place,
            "calls": met.calls,
            "failures": dict(met.failures),
            "failed_in_a_row": met.failed_in_a_row,
            "mean_seconds": met.seconds or None,
            "last": met.last or None,
        }


def _health(backend: Backend) -> Iterator[JsonObject]:
    """Yield, for every instance in order, ``region`` and ``health``; both `None` when unknown."""
    if isinstance(backend, Judged):
        for state in backend.snapshot():
            health = asdict(state)
            del health["label"]
            yield {"region": health.pop("region"), "health": health}
    else:
        yield from repeat({"region": None, "health": None})
