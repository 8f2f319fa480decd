"""Hands finished episodes to the record store, and counts those that could not be kept.

The one decision here: a record that is lost costs nobody an answer, and is never lost silently.
"""

import asyncio
import logging

from polyroute.errors import RecordError
from polyroute.records.content import Content
from polyroute.records.record import Record, Status
from polyroute.records.store import RecordStore
from polyroute.trace import Trace
from polyroute.types import JsonObject

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps the records of one server.

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
        self._content: Content = content

    async def keep(
        self,
        trace: Trace,
        *,
        policy: JsonObject,
        status: Status | None = None,
        error: str | None = None,
    ) -> bool:
        """Store `trace` without holding up the event loop; return whether that succeeded."""
        if self.store is None:
            return True
        try:
            await asyncio.to_thread(self._append, self.store, trace, policy, status, error)
        except RecordError as why:
            _log.warning("the record of %s is lost: %s", trace.request.id, why)
        except Exception:  # noqa: BLE001 - a bug of a store costs nobody an answer
            _log.exception("the record of %s is lost", trace.request.id)
        else:
            return True
        self.lost += 1
        return False

    async def find(self, id: str) -> Record | None:
        """Return the record of exactly that id; `None` when there is none."""
        if self.store is None:
            return None
        try:
            record = await asyncio.to_thread(self.store.get, id)
        except RecordError:
            return None
        return record if record.id == id else None

    async def close(self) -> None:
        """Release the store."""
        if self.store is not None:
            await asyncio.to_thread(self.store.close)

    def _append(
        self,
        store: RecordStore,
        trace: Trace,
        policy: JsonObject,
        status: Status | None,
        error: str | None,
    ) -> None:
        record = Record.of(trace, policy=policy, status=status, error=error, content=self._content)
        store.append(record)
