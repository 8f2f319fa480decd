"""State in one SQLite file: shared by the processes of one machine, and it survives them."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from polyroute.errors import StateError
from polyroute.sqlite_file import prepare, transaction
from polyroute.state.shared import GRACE_S, Hold, Taken

__all__ = ["SqliteState"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, used INTEGER NOT NULL,
    expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (id TEXT, key TEXT, granted INTEGER NOT NULL,
    expires_at REAL NOT NULL, PRIMARY KEY (id, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remembered (key TEXT PRIMARY KEY, value BLOB NOT NULL,
    expires_at REAL NOT NULL) WITHOUT ROWID
"""

_SWEEP_S = 60.0
"""How often what has expired is thrown away."""

_Result = TypeVar("_Result")


class SqliteState:
    """Shared by everything that opens the same file.

    Parameters
    ----------
    path : str or path
        The file, made for its owner only.
    timeout_s : float, default=2.0
        Seconds to wait for another process.
    """

    def __init__(self, path: str | Path, timeout_s: float = 2.0) -> None:
        self.path = Path(path)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._swept = 0.0

    async def take(self, id: str, holds: Sequence[Hold]) -> Taken:
        """Take from every counter, or from none."""
        return await self._do(lambda connection: _take(connection, id, holds, time.time()))

    async def settle(self, id: str, spent: Mapping[str, int]) -> bool:
        """Let every counter have what was spent in place of what was taken."""
        return await self._do(lambda connection: _settle(connection, id, spent))

    async def read(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Return what is taken from every counter."""
        query = "SELECT used FROM counters WHERE key = ? AND expires_at > ?"

        def look(connection: sqlite3.Connection) -> tuple[int, ...]:
            now = time.time()
            found = [connection.execute(query, (key, now)).fetchone() for key in keys]
            return tuple(0 if row is None else row[0] for row in found)

        return await self._do(look)

    async def put(self, key: str, value: bytes, *, ttl_s: float, if_absent: bool = False) -> bool:
        """Remember `value` for so many seconds; return whether it was."""

        def write(connection: sqlite3.Connection) -> bool:
            now = time.time()
            if if_absent and _remembered(connection, key, now) is not None:
                return False
            row = (key, value, now + ttl_s)
            connection.execute("INSERT OR REPLACE INTO remembered VALUES (?,?,?)", row)
            return True

        return await self._do(write)

    async def get(self, key: str) -> bytes | None:
        """Return what is remembered."""
        return await self._do(lambda connection: _remembered(connection, key, time.time()))

    async def delete(self, *keys: str) -> None:
        """Forget what is remembered, and what was counted."""

        def forget(connection: sqlite3.Connection) -> None:
            for table in ("remembered", "counters"):
                connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(k,) for k in keys])

        await self._do(forget)

    async def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    async def _do(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        # a transaction that has begun ends, whatever becomes of who asked for it
        return await asyncio.shield(asyncio.to_thread(self._transact, work))

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            with self._lock:
                connection = self._connection or self._open()
                with transaction(connection):
                    result = work(connection)
                    self._sweep(connection)
                    return result
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"the shared state in {self.path} cannot be used: {error}; see that its folder "
                "exists, can be written and has room"
            ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection, _SCHEMA, seconds=self._timeout_s)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _sweep(self, connection: sqlite3.Connection) -> None:
        now = time.time()
        if now - self._swept < _SWEEP_S:
            return
        self._swept = now
        for table in ("counters", "leases", "remembered"):
            connection.execute(f"DELETE FROM {table} WHERE expires_at <= ?", (now,))


def _take(connection: sqlite3.Connection, id: str, holds: Sequence[Hold], now: float) -> Taken:
    used = []
    for hold in holds:
        query = "SELECT used FROM counters WHERE key = ? AND expires_at > ?"
        row = connection.execute(query, (hold.key, now)).fetchone()
        used.append(0 if row is None else int(row[0]))
    left = tuple(
        None if hold.most is None else hold.most - taken
        for hold, taken in zip(holds, used, strict=True)
    )
    for k, (hold, room) in enumerate(zip(holds, left, strict=True)):
        if room is not None and room < hold.floor:
            return Taken(granted=(0,) * len(holds), left=left, refused=k)
    granted = tuple(
        hold.amount if room is None else min(hold.amount, room)
        for hold, room in zip(holds, left, strict=True)
    )
    lasts = max((hold.ends_at for hold in holds), default=now) + GRACE_S
    for hold, before, amount in zip(holds, used, granted, strict=True):
        row = (hold.key, before + amount, hold.ends_at + GRACE_S)
        connection.execute("INSERT OR REPLACE INTO counters VALUES (?,?,?)", row)
        connection.execute("INSERT INTO leases VALUES (?,?,?,?)", (id, hold.key, amount, lasts))
    now_left = tuple(
        None if room is None else room - amount for room, amount in zip(left, granted, strict=True)
    )
    return Taken(granted=granted, left=now_left)


def _settle(connection: sqlite3.Connection, id: str, spent: Mapping[str, int]) -> bool:
    query = "DELETE FROM leases WHERE id = ? RETURNING key, granted"
    held = connection.execute(query, (id,)).fetchall()
    for key, amount in held:
        change = spent.get(key, 0) - amount
        connection.execute("UPDATE counters SET used = used + ? WHERE key = ?", (change, key))
    return bool(held)


def _remembered(connection: sqlite3.Connection, key: str, now: float) -> bytes | None:
    query = "SELECT value FROM remembered WHERE key = ? AND expires_at > ?"
    row = connection.execute(query, (key, now)).fetchone()
    return None if row is None else bytes(row[0])
