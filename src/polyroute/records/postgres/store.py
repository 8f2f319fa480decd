"""Records in Postgres: for several machines that write one chain, and for years of records.

The one decision here: the chain has one writer at a time, wherever it runs. An append takes an
advisory lock of the database for the length of its transaction, so what it links to is the newest
record there is; the rows themselves lie in one partition per month.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import LiteralString

from polyroute.errors import MissingExtraError, RecordError
from polyroute.records.chain import Entry, Head, Problem, Verdict, verify_chain
from polyroute.records.postgres.database import Database
from polyroute.records.postgres.feedback import PostgresFeedback
from polyroute.records.postgres.rows import COLUMNS, PURGED, Row, entry_of, key_of, row_of
from polyroute.records.postgres.tables import make_month
from polyroute.records.record import Draft, Record, Sealed, Status
from polyroute.records.store import in_turns, no_such_record, one_of
from polyroute.records.tombstone import Reason, Tombstone

try:
    import psycopg
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"records in Postgres need the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[store]'"
    ) from error

__all__ = ["PostgresStore"]

_ONLY: LiteralString = (
    "(%(status)s::text IS NULL OR status = %(status)s) "
    "AND (%(policy)s::text IS NULL OR policy = %(policy)s)"
)
_OLDEST_FIRST: LiteralString = (
    f"SELECT {COLUMNS} FROM records WHERE number > %(at)s AND {_ONLY} "
    "ORDER BY number LIMIT %(page)s"
)
_NEWEST_FIRST: LiteralString = (
    f"SELECT {COLUMNS} FROM records WHERE number < %(at)s AND {_ONLY} "
    "ORDER BY number DESC LIMIT %(page)s"
)

_INSERT: LiteralString = f"INSERT INTO records ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"

_SET_HEAD: LiteralString = (
    "INSERT INTO head VALUES (1, %s, %s) "
    "ON CONFLICT (one) DO UPDATE SET count = EXCLUDED.count, hash = EXCLUDED.hash"
)

_PAGE = 100
"""Rows read at a time."""

_NEAR = 2_000
"""Newest ids among which a mistyped one is looked for."""


class PostgresStore:
    """A store in a schema of a Postgres database.

    Parameters
    ----------
    url_env : str
        Name of the environment variable that holds the URL
        (``postgresql://user:password@host/database``): the URL itself is a secret.
    schema : str, default="polyroute"
        The schema of the tables. It and they are made at the first append.
    timeout_s : int, default=5
        Seconds to wait for a connection, and for another writer.
    path : str, optional
        Where this machine keeps what is its own, in files that begin with that name: which records
        its servers have promised and not written yet, and what they have learned.

    Raises
    ------
    ConfigError
        If the variable is not set, or what it holds is no URL of Postgres.

    Notes
    -----
    *Several machines* may append: an advisory lock gives every record its place. *Durability* is
    Postgres' own: an append that has returned survives a crash.

    *What `verify` finds* is what the other stores find: a change in any column, a record that is
    gone or moved. Dropping the partition of a month therefore breaks the chain; `purge` empties
    old records and keeps their places. What was purged stays in dead rows until the vacuum that
    `purge` asks for, and in backups and archived logs for as long as those are kept.
    """

    def __init__(
        self,
        url_env: str,
        schema: str = "polyroute",
        timeout_s: int = 5,
        path: str | None = None,
    ) -> None:
        self._database = Database(url_env, schema, timeout_s)
        self._place = self._database.place
        self.feedback = PostgresFeedback(self._database)
        """What answers were worth."""
        self.path = None if path is None else Path(path)
        """What a machine keeps for itself lies beside it; there is no file of that name."""

    def append(self, record: Record) -> Record:
        """Store `record` as the newest, and return it with its place in the chain.

        Raises
        ------
        RecordError
            If there is a record of that id, or it cannot be written; nothing is stored then.
        """
        with self._database.attributed(f"the record {record.id!r} is lost: "):
            sealed, refused = self._append([Draft(record)])
        if refused:
            raise refused[record.id]
        return sealed[0].record

    def append_all(self, records: Sequence[Record]) -> Mapping[str, RecordError]:
        """Store `records` in one transaction; return those that were refused, with the reason."""
        drafts, refused = [], {}
        for record in records:
            try:
                drafts.append(Draft(record))
            except RecordError as error:
                refused[record.id] = error
        try:
            with self._database.attributed():
                return refused | self._append(drafts)[1]
        except RecordError as error:
            return dict.fromkeys((record.id for record in records), error)

    def _append(self, drafts: Sequence[Draft]) -> tuple[list[Sealed], dict[str, RecordError]]:
        """Store `drafts`, one transaction for all."""
        sealed, refused = list[Sealed](), dict[str, RecordError]()
        with self._database.writing() as connection:
            head = _head(connection) or _last(connection)
            wanted = [key_of(draft.record.id) for draft in drafts]
            found = connection.execute("SELECT id FROM ids WHERE id = ANY(%s)", (wanted,))
            known = {str(id) for (id,) in found}
            for draft, key in zip(drafts, wanted, strict=True):
                record = draft.record
                if key in known:
                    why = f"{self._place} has a record {record.id!r} already"
                    refused[record.id] = RecordError(why)
                    continue
                try:
                    make_month(connection, str(record.created_at), self._database.months)
                except RecordError as error:
                    refused[record.id] = error
                    continue
                known.add(key)
                newest = draft.seal(head.count + 1, head.hash)
                head = Head(newest.number, newest.hash)
                sealed.append(newest)
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO ids VALUES (%s, %s, %s)",
                    [(key_of(s.draft.id), s.number, s.draft.created_at) for s in sealed],
                )
                cursor.executemany(_INSERT, [row_of(one) for one in sealed])
            if sealed:
                connection.execute(_SET_HEAD, (head.count, head.hash))
        return sealed, refused

    def get(self, id: str) -> Record:
        """Return the record of that id, or of the only id that begins so.

        Raises
        ------
        RecordError
            If there is none, or more than one, or it cannot be read.
        """
        with self._database.reading() as connection:
            place = None if connection is None else _find(connection, id)
            if connection is None or place is None:
                newest = "SELECT id FROM ids ORDER BY number DESC LIMIT %s"
                ids = [] if connection is None else connection.execute(newest, (_NEAR,)).fetchall()
                names = [str(known) for (known,) in ids]
                raise RecordError(no_such_record(id, names, self._place))
            query: LiteralString = (
                f"SELECT {COLUMNS} FROM records WHERE number = %s AND created_at = %s"
            )
            row = connection.execute(query, place).fetchone()
        if row is None:
            raise RecordError(f"the record {id!r} of {self._place} is gone; run verify")
        return entry_of(row).wanted(id, self._place)

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
            If the database cannot be reached.
        """
        found: list[Record] = []
        name = None if policy is None else key_of(policy)
        for entry in self._entries(newest_first=True, status=status, policy=name):
            if limit is not None and len(found) >= limit:
                break
            if entry.record is not None:
                found.append(entry.record)
        return found

    def __iter__(self) -> Iterator[Record]:
        """Yield all readable records, oldest first."""
        return (entry.record for entry in self._entries() if entry.record is not None)

    def verify(self) -> Verdict:
        """Check every row; see the class for what this can and cannot find.

        Raises
        ------
        RecordError
            If the database cannot be reached.
        """
        with self._database.reading() as connection:
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
            If the table ``head`` has lost it, or the database cannot be reached.
        """
        with self._database.reading() as connection:
            if connection is None:
                return Head()
            head = _head(connection)
        if head is None:
            raise RecordError(f"the table 'head' of {self._place} is empty; run verify")
        return head

    def purge(self, matches: Callable[[Record], bool], reason: Reason) -> int:
        """Put a tombstone in the place of every record that `matches`; return how many.

        Raises
        ------
        RecordError
            If the database cannot be written.
        """
        change: LiteralString = (
            "UPDATE records SET status = %s, policy = NULL, body = %s "
            "WHERE number = %s AND created_at = %s"
        )
        purged = 0
        for stones in in_turns(Tombstone.of(one, reason) for one in self if matches(one)):
            with self._database.attributed("cannot purge "), self._database.writing() as connection:
                for stone in stones:
                    place = (stone.number, stone.created_at)
                    connection.execute(change, (PURGED, stone.line().decode(), *place))
            purged += len(stones)
        if purged:
            with self._database.attributed("cannot vacuum "):
                self._database.vacuum("records")
        return purged

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        self._database.close()

    def _entries(
        self, *, newest_first: bool = False, status: str | None = None, policy: str | None = None
    ) -> Iterator[Entry]:
        """Read all rows, page by page."""
        at = 2**63 - 1 if newest_first else -(2**63)
        query = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
        while True:
            values = {"at": at, "page": _PAGE, "status": status, "policy": policy}
            with self._database.reading() as connection:
                if connection is None:
                    return
                rows = connection.execute(query, values).fetchall()
            yield from map(entry_of, rows)
            if len(rows) < _PAGE:
                return
            at = rows[-1][0]


def _head(connection: "psycopg.Connection[Row]") -> Head | None:
    row = connection.execute("SELECT count, hash FROM head").fetchone()
    return None if row is None else Head(int(row[0]), row[1])


def _last(connection: "psycopg.Connection[Row]") -> Head:
    """Return the head that the last row gives, for a store that has lost its head."""
    query: LiteralString = f"SELECT {COLUMNS} FROM records ORDER BY number DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None:
        return Head()
    entry = entry_of(row)
    found = entry.record or entry.purged
    return Head(int(row[0]), found.hash if found else None)


def _find(connection: "psycopg.Connection[Row]", id: str) -> Row | None:
    """Return the place of the record of that id, or of the only id that begins so."""
    key = key_of(id)
    exact = "SELECT number, created_at FROM ids WHERE id = %s"
    row = connection.execute(exact, (key,)).fetchone()
    if row is not None or not id:
        return row
    near = "SELECT id FROM ids WHERE id >= %s AND starts_with(id, %s) ORDER BY id LIMIT 6"
    names = [str(name) for (name,) in connection.execute(near, (key, key))]
    name = one_of(id, names)
    return None if name is None else connection.execute(exact, (name,)).fetchone()
