"""Hands finished episodes to the record store, and counts those that could not be kept.

The one decision here: an answer does not wait for the disk, and a record is never lost silently.
What is owed is noted on disk by name, then written in batches by one task; when too much waits,
requests wait too; when the disk is gone, answers still go out, and every loss is counted.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from polyroute.errors import RecordError
from polyroute.records.content import Content
from polyroute.records.promises import Promises
from polyroute.records.record import Record, Status
from polyroute.records.store import RecordStore
from polyroute.trace import Trace
from polyroute.types import JsonObject

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 1_024
"""Episodes that may wait to be written before requests have to."""

_BATCH = 256
"""Records of one transaction."""

_PAUSE_S = 0.05
"""How long a batch is let grow, unless somebody waits for it."""


class _Kept(Struct, frozen=True):
    """An episode that is to be written."""

    trace: Trace
    policy: JsonObject | None
    status: Status | None
    error: str | None

    @property
    def id(self) -> str:
        return self.trace.request.id


class Keeper:
    """Keeps the records of one server. It belongs to one event loop.

    Parameters
    ----------
    store : RecordStore or None
        `None` when nothing is to be kept.
    content : {"full", "hash", "none"}, default="full"
        What to keep of the texts.
    """

    def __init__(self, store: RecordStore | None, content: Content = "full") -> None:
        self.store = store
        self.lost = 0
        """How many records could not be kept since the server started."""
        self.failing = False
        """Whether the newest could not."""
        self._content: Content = content
        self._waiting: deque[_Kept] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._some = asyncio.Event()
        """Whether anything waits."""
        self._awaited = asyncio.Event()
        """Whether somebody waits for it to be written."""
        self._taken = self._done = 0
        self._written = asyncio.Condition()
        """Told after every batch."""
        path = getattr(store, "path", None)
        self._promises = None if path is None else Promises(Path(path))

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._waiting)

    async def keep(
        self,
        trace: Trace,
        *,
        policy: JsonObject | None,
        status: Status | None = None,
        error: str | None = None,
    ) -> bool:
        """Take `trace` to be written; return whether the store is taking records.

        It waits only while too many wait before it.
        """
        if self.store is None:
            return True
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        kept = _Kept(trace, policy, status, error)
        if self._promises is not None:
            self._promise(trace.request.id)
        if len(self._waiting) >= _MOST_WAITING:
            async with self._written:
                await self._written.wait_for(lambda: len(self._waiting) < _MOST_WAITING)
        self._waiting.append(kept)
        self._taken += 1
        if len(self._waiting) == 1:
            self._some.set()
        return not self.failing

    async def find(self, id: str) -> Record | None:
        """Return the record of exactly that id; `None` when there is none."""
        if self.store is None:
            return None
        await self.flush()
        try:
            record = await asyncio.to_thread(self.store.get, id)
        except RecordError:
            return None
        return record if record.id == id else None

    async def flush(self) -> None:
        """Wait until everything that was taken is written, or counted as lost."""
        until = self._taken
        self._awaited.set()
        async with self._written:
            await self._written.wait_for(lambda: self._done >= until)
        self._awaited.clear()

    async def close(self) -> None:
        """Write what waits, and release the store."""
        if self._writer is not None:
            await self.flush()
            self._writer.cancel()
            with suppress(asyncio.CancelledError):
                await self._writer
            self._writer = None
        if self._promises is not None:
            self._promises.close()
        if self.store is not None:
            await asyncio.to_thread(self.store.close)

    async def _write(self) -> None:
        """Write batch after batch."""
        assert self.store is not None, "started only for a store"
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await self._awaited.wait()
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if not self._waiting:
                self._some.clear()
            try:
                lost = await asyncio.to_thread(self._append, self.store, batch)
            except Exception as why:  # noqa: BLE001 - a bug of a store costs nobody an answer
                _log.exception("%d records are lost", len(batch))
                lost = dict.fromkeys((kept.id for kept in batch), why)
            for id, reason in lost.items():
                _log.warning("the record of %s is lost: %s", id, reason)
            self.lost += len(lost)
            self.failing = bool(lost)
            self._fulfil(batch)
            self._done += len(batch)
            async with self._written:
                self._written.notify_all()

    def _append(self, store: RecordStore, batch: list[_Kept]) -> dict[str, Exception]:
        """Store `batch`; return what could not be, with the reason."""
        records, lost = [], dict[str, Exception]()
        now = datetime.now(UTC)
        for kept in batch:
            try:
                record = Record.of(
                    kept.trace,
                    policy=kept.policy,
                    created_at=now,
                    status=kept.status,
                    error=kept.error,
                    content=self._content,
                )
            except Exception as why:  # noqa: BLE001 - one odd trace must not cost the others
                lost[kept.id] = why
            else:
                records.append(record)
        return {**lost, **store.append_all(records)}

    def _promise(self, id: str) -> None:
        if self._promises is not None:
            try:
                self._promises.make(id)
            except OSError as error:
                _log.warning("cannot note what is owed to the records: %s", error)
                self._promises = None

    def _fulfil(self, batch: list[_Kept]) -> None:
        if self._promises is not None:
            try:
                self._promises.keep(kept.id for kept in batch)
            except OSError as error:
                _log.warning("cannot note what is owed to the records: %s", error)
                self._promises = None
