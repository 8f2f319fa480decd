"""Answers requests from what was answered before; a `Memory` of the gateway.

The one decision here: a remembered answer is an episode of its own. It has a record in which
nobody was called and nothing was spent, and which says whose answer it was and what it had cost.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from polyroute.decision import Answer
from polyroute.errors import PolyrouteError
from polyroute.gateway.asked import Asked
from polyroute.gateway.cache.category import Category, categorised
from polyroute.gateway.cache.control import Control
from polyroute.gateway.cache.entries import Entries
from polyroute.gateway.cache.entry import Entry, entry_of
from polyroute.gateway.cache.key import Key, key_of, repeatable, temperature
from polyroute.gateway.caller import Caller
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.run import Outcome, Recalled
from polyroute.trace import Step, Trace
from polyroute.types import Json

if TYPE_CHECKING:
    from polyroute.gateway.cache.similar import Similar

__all__ = ["Cache", "Counts", "Terms"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What a cache did since the server started."""

    same: int = 0
    """Requests answered with the answer to the same request."""
    alike: int = 0
    """Requests answered with the answer to one that means the same."""
    misses: int = 0
    """Requests whose answer was not known."""
    passed: int = 0
    """Requests that may not be answered from memory."""
    stored: int = 0
    """Answers that were remembered."""
    unfit: int = 0
    """Answers that may not be remembered."""
    errors: int = 0
    """Times the place where they are held could not be reached."""
    saved_usd: Decimal = Decimal(0)
    """What the answers that were given again had cost."""
    saved_seconds: float = 0.0
    """How long they had taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Which requests may be answered from memory."""

    generation: str
    """Of the configuration: another one answers differently."""
    categories: Sequence[Category]
    """The last has everything that no other has."""
    max_temperature: float = 0.0
    """Requests above it must ask for it."""
    policies: frozenset[str] | None = None
    """Whose requests; `None`: all."""
    max_entry_bytes: int = 256_000


class Cache:
    """Remembers answers.

    Parameters
    ----------
    entries : Entries
        Where they are held.
    terms : Terms
        Which requests may be answered from memory, and for how long.
    keeper : Keeper
        Keeps the records of answers that were given again.
    similar : Similar, optional
        Finds questions that mean the same.
    clock : callable, optional
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        entries: Entries,
        terms: Terms,
        keeper: Keeper,
        *,
        similar: "Similar | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts = Counts()
        self._entries = entries
        self._terms = terms
        self._keeper = keeper
        self._similar = similar
        self._clock = clock
        self._failing = False

    async def recall(self, caller: Caller, asked: Asked) -> Outcome | None:
        """Return an answer that is remembered, as an outcome; `None` when none may be given."""
        began, control = time.monotonic(), _control(asked)
        key = self._key(caller, asked)
        if key is None or control.fresh:
            self.counts.passed += 1
            return None
        try:
            found = await self._same(key, asked, control) or await self._alike(key, asked, control)
        except PolyrouteError as error:  # of what holds them, or of the encoder
            self._lost(error)
            found = None
        if found is None:
            self.counts.misses += 1
            return None
        entry, similarity = found
        return await self._again(asked, entry, similarity, seconds=time.monotonic() - began)

    async def remember(self, caller: Caller, asked: Asked, outcome: Outcome) -> None:
        """Remember the answer of an outcome, when it is one that may be given again."""
        key = self._key(caller, asked)
        if key is None or not _control(asked).store:
            return
        now = self._clock()
        category = categorised(asked.request, self._terms.categories)
        entry = entry_of(outcome, asked, now=now, seconds=category.seconds, category=category.name)
        stored = b"" if entry is None else entry.to_bytes()
        if entry is None or len(stored) > self._terms.max_entry_bytes:
            self.counts.unfit += 1
            return
        try:
            if not await self._entries.put(_place(key.exact), stored, ttl_s=category.seconds):
                return
            self.counts.stored += 1
            if self._similar is not None:
                await self._similar.add(key, category, now)
        except PolyrouteError as error:
            self._lost(error)
        except Exception:  # noqa: BLE001 - the answer has been sent, and is not what has failed
            _log.exception("the answer of %s is not remembered", asked.request.id)
            self.counts.errors += 1
        else:
            self._failing = False

    def _key(self, caller: Caller, asked: Asked) -> Key | None:
        """Return the key of a request; `None` when it may not be answered from memory."""
        terms, wanted = self._terms, asked.options.cache
        if wanted is False or not repeatable(asked):
            return None
        if terms.policies is not None and asked.choice.name not in terms.policies:
            return None
        if wanted is None and temperature(asked) > terms.max_temperature:
            return None
        return key_of(caller, asked, generation=terms.generation)

    async def _same(
        self, key: Key, asked: Asked, control: Control
    ) -> tuple[Entry, float | None] | None:
        entry = await self._entry(key.exact, asked, control)
        return None if entry is None else (entry, None)

    async def _alike(
        self, key: Key, asked: Asked, control: Control
    ) -> tuple[Entry, float | None] | None:
        if self._similar is None:
            return None
        category = categorised(asked.request, self._terms.categories)
        for found in await self._similar.find(key, category, self._clock()):
            entry = await self._entry(found.exact, asked, control)
            if entry is not None:
                return entry, found.similarity
        return None

    async def _entry(self, exact: str, asked: Asked, control: Control) -> Entry | None:
        """Return the answer at a place, when it is good for this request."""
        stored = await self._entries.get(_place(exact))
        entry = None if stored is None else Entry.from_bytes(stored)
        now = self._clock()
        if entry is None or entry.ends_at <= now:
            return None
        if control.max_age_s is not None and now - entry.made_at > control.max_age_s:
            return None
        return entry if entry.made_with(asked.request.budget.usd) else None

    async def _again(
        self, asked: Asked, entry: Entry, similarity: float | None, *, seconds: float
    ) -> Outcome:
        """Return the outcome of giving an answer again, and keep its record."""
        kind: Literal["same", "alike"] = "same" if similarity is None else "alike"
        recalled = Recalled(
            kind=kind,
            model=entry.model,
            age_s=max(0.0, self._clock() - entry.made_at),
            trace_id=entry.trace_id,
            usd=None if entry.usd is None else Decimal(entry.usd),
        )
        about: dict[str, Json] = {
            "kind": kind,
            "policy": asked.choice.name,
            "model": entry.model,
            "trace_id": entry.trace_id,
            "age_s": round(recalled.age_s, 3),
            "category": entry.category,
            "saved_usd": entry.usd,
            "saved_seconds": entry.seconds,
            "saved_tokens": entry.tokens,
        }
        if similarity is not None:
            about["similarity"] = similarity
        answer = Answer(
            text=entry.text,
            reason=f"the answer to {'the same request' if kind == 'same' else 'one like it'}, "
            "remembered",
            fields={**entry.fields, "cache": about},
        )
        trace = Trace(asked.request, asked.pool).with_step(Step(answer, (), seconds))
        counts = self.counts
        setattr(counts, kind, getattr(counts, kind) + 1)
        counts.saved_usd += recalled.usd or 0
        counts.saved_seconds += entry.seconds
        kept = await self._keeper.keep(trace, policy=None)
        return Outcome(trace=trace, recalled=recalled, recorded=kept)

    def _lost(self, error: PolyrouteError) -> None:
        """Go on without what cannot be reached, and say so once."""
        self.counts.errors += 1
        if not self._failing:
            _log.warning("answers are not remembered at the moment: %s", error)
        self._failing = True


def _control(asked: Asked) -> Control:
    said = asked.options.cache_control
    return _NOTHING_SAID if said is None else Control.parse(said)


_NOTHING_SAID = Control()


def _place(exact: str) -> str:
    return f"cache/{exact}"
