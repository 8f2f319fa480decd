"""Records in one SQLite file: the default, for one machine and any number of records.

The one decision here: the record is stored as its canonical text, and what listing needs is
copied beside it; so the file can be queried with SQL, and exported line by line with no change.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from polyroute.errors import RecordError
from polyroute.records.chain import Entry, Head, Problem, Verdict, verify_chain
from polyroute.records.record import Draft, Record, Sealed, Status
from polyroute.records.store import in_turns, no_such_record, one_of, policy_name, private_folder
from polyroute.records.tombstone import Reason, Tombstone
from polyroute.sqlite_file import prepare, transaction

__all__ = ["SqliteStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    status TEXT NOT NULL,
    policy TEXT,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL,
    hash TEXT
);
"""

_COLUMNS = "number, id, created_at, status, policy, body"

_ONLY = "(?3 IS NULL OR status = ?3) AND (?4 IS NULL OR policy = ?4) ORDER BY number"
_OLDEST_FIRST = f"SELECT {_COLUMNS} FROM records WHERE number > ?1 AND {_ONLY} LIMIT ?2"
_NEWEST_FIRST = f"SELECT {_COLUMNS} FROM records WHERE number < ?1 AND {_ONLY} DESC LIMIT ?2"

_PURGE = "UPDATE records SET status = ?, policy = NULL, body = ? WHERE number = ?"

_PURGE_PAGES = 20_000
"""Pages of 4 KB in the write-ahead log at which a purge writes them to the file."""

_PURGED = "purged"
"""The status of a row whose record was purged."""

_BUSY_S = 10.0
"""How long an append waits for another process."""

_PAGE = 100
"""Rows read at a time, so that a long reading does not keep a lock."""

_NEAR = 2_000
"""Newest ids among which a mistyped one is looked for."""


class SqliteStore:
    """A store in one SQLite file.

    Parameters
    ----------
    path : str or path
        The file. It and its folders are made at the first append, for their owner only: prompts
        are private.

    Notes
    -----
    *Several processes* may append (``BEGIN IMMEDIATE``; an append waits up to 10 s for another).
    Open a store in the process that uses it, not before a fork.

    *Durability*: write-ahead log with ``synchronous=NORMAL``. An append that has returned
    survives the process being killed; a power cut may lose the last appends, never damage the
    file.

    *What `verify` finds*: a change in any column of any record, a record that is gone, also the
    newest (the table ``head`` knows how many there are), or that changed its place. *What it
    cannot find*: someone with write access who rewrites the records from some point on and the
    head with them. Keep `head` somewhere else, and compare, against that.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._writable = False

    def append(self, record: Record) -> Record:
        """Store `record` as the newest, and return it with its place in the chain.

        Raises
        ------
        RecordError
            If there is a record of that id, or it cannot be written; nothing is stored then.
        """
        draft = Draft(record)
        with self._lock, self._attributed(f"the record {record.id!r} is lost: "):
            connection = self._open(write=True)
            assert connection is not None, "opening for writing makes the file"
            with transaction(connection):
                sealed = self._insert(connection, draft, _head(connection) or _last(connection))
                _set_head(connection, sealed)
                return sealed.record

    def append_all(self, records: Sequence[Record]) -> Mapping[str, RecordError]:
        """Store `records` in one transaction; return those that were refused, with the reason."""
        drafts, refused = [], {}
        for record in records:
            try:
                drafts.append(Draft(record))
            except RecordError as error:
                refused[record.id] = error
        try:
            with self._lock, self._attributed():
                connection = self._open(write=True)
                assert connection is not None, "opening for writing makes the file"
                with transaction(connection):
                    refused |= self._insert_all(connection, drafts)
        except RecordError as error:
            return dict.fromkeys((record.id for record in records), error)
        return refused

    def _insert_all(
        self, connection: sqlite3.Connection, drafts: Iterable[Draft]
    ) -> dict[str, RecordError]:
        refused = {}
        head = _head(connection) or _last(connection)
        newest: Sealed | None = None
        for draft in drafts:
            try:
                newest = self._insert(connection, draft, head)
            except RecordError as error:
                refused[draft.record.id] = error
            else:
                head = Head(newest.number, newest.hash)
        if newest is not None:
            _set_head(connection, newest)
        return refused

    def _insert(self, connection: sqlite3.Connection, draft: Draft, head: Head) -> Sealed:
        """Insert the record after `head`; what else was inserted stays when it is refused."""
        id = draft.record.id
        sealed = draft.seal(head.count + 1, head.hash)
        row = (sealed.number, *_beside(draft.record)[1:], sealed.line.decode())
        try:
            connection.execute(f"INSERT INTO records ({_COLUMNS}) VALUES (?,?,?,?,?,?)", row)
        except sqlite3.IntegrityError as error:
            if "records.id" not in str(error):
                raise
            raise RecordError(f"{self.path} has a record {id!r} already") from None
        return sealed

    def get(self, id: str) -> Record:
        """Return the record of that id, or of the only id that begins so.

        Raises
        ------
        RecordError
            If there is none, or more than one, or it cannot be read.
        """
        with self._lock, self._attributed():
            connection = self._open()
            row = None
            if connection is not None:
                row = _row(connection, "id = ?", _key(id)) or _row_beginning(connection, id)
            if row is None:
                newest = "SELECT id FROM records ORDER BY number DESC LIMIT ?"
                ids = [] if connection is None else connection.execute(newest, (_NEAR,)).fetchall()
                names = [str(known) for (known,) in ids]
                raise RecordError(no_such_record(id, names, self.path))
        return _entry(row).wanted(id, self.path)

    def list(
        self, *, limit: int | None = 20, status: Status | None = None, policy: str | None = None
    ) -> Sequence[Record]:
        """Return the newest records, newest first; unreadable ones are left out.

        Parameters
        ----------
        limit : int or None, default=20
            At most so many; `None` for all.
        status, policy : str, optional
            Only those with that status, or whose policy has that name.

        Raises
        ------
        RecordError
            If the file cannot be read at all.
        """
        found: list[Record] = []
        name = None if policy is None else _key(policy)
        for entry in self._entries(newest_first=True, only=(status, name)):
            if limit is not None and len(found) >= limit:
                break
            record = entry.record
            if record is not None:
                found.append(record)
        return found

    def __iter__(self) -> Iterator[Record]:
        """Yield all readable records, oldest first."""
        return (entry.record for entry in self._entries() if entry.record is not None)

    def verify(self) -> Verdict:
        """Check every row; see the class for what this can and cannot find.

        Raises
        ------
        RecordError
            If the file cannot be read at all.
        """
        with self._lock, self._attributed():
            connection = self._open()
            head = Head() if connection is None else _head(connection)
        return verify_chain(self._entries(), head)

    def problems(self) -> Sequence[Problem]:
        """Return the rows that cannot be read, with their number and the reason."""
        return [Problem(e.where, e.reason) for e in self._entries() if e.unreadable]

    def head(self) -> Head:
        """Return the end of the chain, to be kept somewhere else.

        Raises
        ------
        RecordError
            If the table ``head`` has lost it, or the file cannot be read.
        """
        with self._lock, self._attributed():
            connection = self._open()
            if connection is None:
                return Head()
            head = _head(connection)
        if head is None:
            raise RecordError(f"the table 'head' of {self.path} is empty; run verify")
        return head

    def purge(self, matches: Callable[[Record], bool], reason: Reason) -> int:
        """Put a tombstone in the place of every record that `matches`; return how many.

        The pages of what was there are overwritten, and the write-ahead log is emptied.

        Raises
        ------
        RecordError
            If the file cannot be written.
        """
        purged = 0
        for stones in in_turns(Tombstone.of(one, reason) for one in self if matches(one)):
            rows = ((_PURGED, stone.line().decode(), stone.number) for stone in stones)
            with self._purging() as connection, transaction(connection):
                connection.executemany(_PURGE, rows)
            purged += len(stones)
        if purged:
            with self._purging() as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return purged

    @contextmanager
    def _purging(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._attributed("cannot purge "):
            connection = self._open(write=True)
            assert connection is not None, "opening for writing makes the file"
            connection.execute("PRAGMA secure_delete=ON")
            # pages all over the file are written, far faster in few goes than in many
            connection.execute(f"PRAGMA wal_autocheckpoint={_PURGE_PAGES}")
            yield connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self, *, write: bool = False) -> sqlite3.Connection | None:
        """Return the connection; `None` when there is no file and none is to be made."""
        if self._connection is not None and self.path.exists() and self._writable >= write:
            return self._connection
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not write and (not self.path.exists() or self.path.stat().st_size == 0):
            return None
        if write:
            private_folder(self.path.parent)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.text_factory = _text
            if write:
                prepare(connection, _SCHEMA, seconds=_BUSY_S)
        except BaseException:
            connection.close()
            raise
        self._connection, self._writable = connection, write
        return connection

    @contextmanager
    def _attributed(self, what: str = "") -> Iterator[None]:
        """Turn what SQLite and the file system raise into one error with the remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise RecordError(f"{what}{self.path}: {error}; {_remedy(error)}") from error
        except OSError as error:
            raise RecordError(
                f"{what}cannot use {self.path}: {error.strerror or error}; make room, or give the "
                "store another path"
            ) from error

    def _entries(
        self, *, newest_first: bool = False, only: tuple[str | None, str | None] = (None, None)
    ) -> Iterator[Entry]:
        """Read all rows; where a page of the file is damaged, one by one around the damage."""
        with self._lock, self._attributed():
            connection = self._open()
            last = 0 if connection is None else _last_number(connection)
        at = last + 1 if newest_first else -(2**63)
        query = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
        while True:
            try:
                rows = self._rows(query, at, _PAGE, *only)
            except sqlite3.DatabaseError:
                numbers = range(at - 1, 0, -1) if newest_first else range(max(at + 1, 1), last + 1)
                yield from self._around_damage(numbers, only)
                return
            yield from map(_entry, rows)
            if len(rows) < _PAGE:
                return
            at = rows[-1][0]

    def _around_damage(
        self, numbers: Iterable[int], only: tuple[str | None, str | None]
    ) -> Iterator[Entry]:
        where = "number = ?1 AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR policy = ?3)"
        query = f"SELECT {_COLUMNS} FROM records WHERE {where}"
        for number in numbers:
            try:
                rows = self._rows(query, number, *only)
            except sqlite3.DatabaseError as error:
                yield Entry(f"row {number}", None, f"the file is damaged: {error}")
                continue
            yield from map(_entry, rows)

    def _rows(self, query: str, *values: object) -> Sequence[Any]:
        """Read rows, with the connection of now: an append meanwhile may have opened another."""
        with self._lock:
            connection = self._open()
            return [] if connection is None else connection.execute(query, values).fetchall()


def _one(connection: sqlite3.Connection, query: str, *values: object) -> tuple[object, ...] | None:
    row: tuple[object, ...] | None = connection.execute(query, values).fetchone()
    return row


def _row(connection: sqlite3.Connection, where: str, *values: object) -> tuple[object, ...] | None:
    return _one(connection, f"SELECT {_COLUMNS} FROM records WHERE {where}", *values)


def _row_beginning(connection: sqlite3.Connection, id: str) -> tuple[object, ...] | None:
    """Return the row of the only id that begins with `id`."""
    if not id:
        return None
    query = "SELECT id FROM records WHERE id >= ?1 AND substr(id, 1, length(?1)) = ?1 ORDER BY id"
    names = [str(name) for (name,) in connection.execute(f"{query} LIMIT 6", (_key(id),))]
    name = one_of(id, names)
    return None if name is None else _row(connection, "id = ?", name)


def _head(connection: sqlite3.Connection) -> Head | None:
    row = _one(connection, "SELECT count, hash FROM head")
    if row is None or not isinstance(row[0], int):
        return None
    return Head(row[0], None if row[1] is None else str(row[1]))


def _set_head(connection: sqlite3.Connection, newest: Sealed) -> None:
    place = (newest.number, newest.hash)
    connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", place)


def _last(connection: sqlite3.Connection) -> Head:
    """Return the head that the last row gives, for a store that has lost its head."""
    row = _row(connection, "number = (SELECT max(number) FROM records)")
    if row is None:
        return Head()
    entry = _entry(row)
    found = entry.record or entry.purged
    return Head(int(str(row[0])), found.hash if found else None)


def _last_number(connection: sqlite3.Connection) -> int:
    """Return the highest number there may be, also when the table is damaged."""
    numbers = [0]
    for query in ("SELECT max(number) FROM records", "SELECT count FROM head"):
        with suppress(sqlite3.DatabaseError):
            row = _one(connection, query)
            numbers += [value for value in row or () if isinstance(value, int)]
    _one(connection, "SELECT count(*) FROM sqlite_master")  # raises when it is no database at all
    return max(numbers)


def _beside(record: Record) -> tuple[object, ...]:
    """Return what the other columns of a record hold."""
    name = policy_name(record)
    policy = None if name is None else _key(name)
    return (record.number, _key(record.id), record.created_at, record.status, policy)


def _entry(row: tuple[object, ...]) -> Entry:
    where, body = f"row {row[0]}", row[-1]
    if not isinstance(body, str):
        return Entry(where, None, f"its body is no text but {type(body).__name__}")
    stone = Tombstone.from_line(body.encode("utf-8", "surrogateescape"))
    if stone is not None:
        columns = (stone.number, _key(stone.id), stone.created_at, _PURGED, None)
        agrees = columns == row[:-1]
        why = "" if agrees else "its columns do not agree with its body"
        return Entry(where, None, why, stone)
    try:
        record = Record.from_line(body)
        if record.line() != body.encode("utf-8", "surrogateescape"):
            return Entry(where, record, "it is not written as polyroute writes it")
    except RecordError as error:
        return Entry(where, None, str(error))
    names = _COLUMNS.split(", ")
    for name, column, value in zip(names, row, _beside(record), strict=False):
        if column != value or type(column) is not type(value):
            why = f"its column {name!r} says {column!r:.80}, its body {value!r:.80}"
            return Entry(where, record, why)
    return Entry(where, record)


def _key(text: str) -> str:
    """Return `text` as SQLite can store it: a surrogate that stands alone is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


def _remedy(error: sqlite3.DatabaseError) -> str:
    said = str(error)
    if "not a database" in said or "malformed" in said:
        return (
            "move the file away (a new one is made at the next append) and rescue what is "
            "readable with: sqlite3 FILE .recover"
        )
    if "locked" in said:
        return "another process holds it; end that one, or try again"
    return "see that the folder exists, can be written and has room, or use another path"
