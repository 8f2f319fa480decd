"""Records in Postgres: for several machines that write one chain, and for years of records.

The one decision here: the chain has one writer at a time, wherever it runs. An append takes an
advisory lock of the database for the length of its transaction, so what it links to is the newest
record there is; the rows themselves lie in one partition per month.
"""

import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

from polyroute.errors import ConfigError, MissingExtraError, RecordError
from polyroute.records.chain import Entry, Head, Problem, Verdict, verify_chain
from polyroute.records.record import Draft, Record, Sealed, Status
from polyroute.records.store import no_such_record, one_of, policy_name
from polyroute.records.tombstone import Reason, Tombstone

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.sql import SQL, Identifier, Literal
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"records in Postgres need the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[store]'"
    ) from error

__all__ = ["PostgresStore"]

_MIGRATIONS: tuple[LiteralString, ...] = (
    """
    CREATE TABLE records (
        number BIGINT NOT NULL,
        id TEXT COLLATE "C" NOT NULL,
        created_at TEXT COLLATE "C" NOT NULL,
        status TEXT NOT NULL,
        policy TEXT,
        body TEXT NOT NULL,
        PRIMARY KEY (number, created_at)
    ) PARTITION BY RANGE (created_at);
    CREATE INDEX records_of_status ON records (status, number);
    CREATE INDEX records_of_policy ON records (policy, number);
    CREATE TABLE ids (
        id TEXT COLLATE "C" PRIMARY KEY,
        number BIGINT NOT NULL,
        created_at TEXT COLLATE "C" NOT NULL
    );
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        count BIGINT NOT NULL,
        hash TEXT
    );
    """,
)
"""What makes each version of the tables from the one before it; they only go forward."""

_COLUMNS: LiteralString = "number, id, created_at, status, policy, body"

_ONLY: LiteralString = (
    "(%(status)s::text IS NULL OR status = %(status)s) "
    "AND (%(policy)s::text IS NULL OR policy = %(policy)s)"
)
_OLDEST_FIRST: LiteralString = (
    f"SELECT {_COLUMNS} FROM records WHERE number > %(at)s AND {_ONLY} "
    "ORDER BY number LIMIT %(page)s"
)
_NEWEST_FIRST: LiteralString = (
    f"SELECT {_COLUMNS} FROM records WHERE number < %(at)s AND {_ONLY} "
    "ORDER BY number DESC LIMIT %(page)s"
)

_INSERT: LiteralString = f"INSERT INTO records ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"

_SET_HEAD: LiteralString = (
    "INSERT INTO head VALUES (1, %s, %s) "
    "ON CONFLICT (one) DO UPDATE SET count = EXCLUDED.count, hash = EXCLUDED.hash"
)

_PURGED = "purged"
"""The status of a row whose record was purged."""

_PAGE = 100
"""Rows read at a time."""

_NEAR = 2_000
"""Newest ids among which a mistyped one is looked for."""

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-\d\dT")

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,40}")

_Row = tuple[Any, ...]


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

    def __init__(self, url_env: str, schema: str = "polyroute", timeout_s: int = 5) -> None:
        url = os.environ.get(url_env)
        if not url:
            raise ConfigError(f"records.url_env: {url_env!r} is not set or empty")
        if _SCHEMA.fullmatch(schema) is None:
            raise ConfigError(
                f"records: a schema is named by small letters, digits and _, got {schema!r:.60}"
            )
        try:
            conninfo_to_dict(url)
        except psycopg.Error:  # its message would show the URL
            raise ConfigError(
                f"records.url_env: ${url_env} holds no URL of Postgres; expected "
                "postgresql://user:password@host:5432/database"
            ) from None
        self._url = url
        self._schema = schema
        self._timeout_s = timeout_s
        self._place = f"the schema {schema!r} of ${url_env}"
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[_Row] | None = None
        self._ready = False
        """Whether the tables are known to be there."""
        self._months: set[str] = set()

    def append(self, record: Record) -> Record:
        """Store `record` as the newest, and return it with its place in the chain.

        Raises
        ------
        RecordError
            If there is a record of that id, or it cannot be written; nothing is stored then.
        """
        with self._attributed(f"the record {record.id!r} is lost: "):
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
            with self._attributed():
                return refused | self._append(drafts)[1]
        except RecordError as error:
            return dict.fromkeys((record.id for record in records), error)

    def _append(self, drafts: Sequence[Draft]) -> tuple[list[Sealed], dict[str, RecordError]]:
        """Store `drafts`, one transaction for all."""
        sealed, refused = list[Sealed](), dict[str, RecordError]()
        with self._writing() as connection:
            head = _head(connection) or _last(connection)
            wanted = [_key(draft.record.id) for draft in drafts]
            found = connection.execute("SELECT id FROM ids WHERE id = ANY(%s)", (wanted,))
            known = {str(id) for (id,) in found}
            for draft, key in zip(drafts, wanted, strict=True):
                record = draft.record
                if key in known:
                    why = f"{self._place} has a record {record.id!r} already"
                    refused[record.id] = RecordError(why)
                    continue
                try:
                    self._make_month(connection, str(record.created_at))
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
                    [(_key(s.draft.id), s.number, s.draft.created_at) for s in sealed],
                )
                cursor.executemany(_INSERT, [_row_of(one) for one in sealed])
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
        with self._reading() as connection:
            place = None if connection is None else _find(connection, id)
            if connection is None or place is None:
                newest = "SELECT id FROM ids ORDER BY number DESC LIMIT %s"
                ids = [] if connection is None else connection.execute(newest, (_NEAR,)).fetchall()
                names = [str(known) for (known,) in ids]
                raise RecordError(no_such_record(id, names, self._place))
            query: LiteralString = (
                f"SELECT {_COLUMNS} FROM records WHERE number = %s AND created_at = %s"
            )
            row = connection.execute(query, place).fetchone()
        if row is None:
            raise RecordError(f"the record {id!r} of {self._place} is gone; run verify")
        entry = _entry(row)
        if entry.purged is not None:
            raise RecordError(f"the record {id!r} of {self._place} was purged ({entry.purged.at})")
        if entry.record is None:
            raise RecordError(f"{entry.where} of {self._place} cannot be read: {entry.reason}")
        return entry.record

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
        name = None if policy is None else _key(policy)
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
        with self._reading() as connection:
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
        with self._reading() as connection:
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
        found = [record for record in self if matches(record)]
        if not found:
            return 0
        change: LiteralString = (
            "UPDATE records SET status = %s, policy = NULL, body = %s "
            "WHERE number = %s AND created_at = %s"
        )
        with self._attributed("cannot purge "), self._writing() as connection:
            for record in found:
                line = Tombstone.of(record, reason).line().decode()
                connection.execute(change, (_PURGED, line, record.number, record.created_at))
        with self._attributed("cannot vacuum "), self._lock:
            connection = self._open()
            connection.execute("VACUUM records")
        return len(found)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)  # none when the constructor refused
        if connection is not None:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator["psycopg.Connection[_Row]"]:
        """Hold a transaction that is the only one to write, with the tables in place."""
        with self._lock:
            connection = self._open()
            months = set(self._months)
            try:
                with connection.transaction():
                    key = zlib.crc32(f"polyroute/{self._schema}".encode())
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
                    if not self._ready:
                        self._migrate(connection)
                    yield connection
                self._ready = True
            except BaseException:
                self._months = months
                raise

    @contextmanager
    def _reading(self) -> Iterator["psycopg.Connection[_Row] | None"]:
        """Hold the connection; `None` when there are no tables yet."""
        with self._lock, self._attributed():
            connection = self._open()
            if not self._ready:
                self._ready = _version(connection) == len(_MIGRATIONS)
            yield connection if self._ready else None

    def _open(self) -> "psycopg.Connection[_Row]":
        if self._connection is None or self._connection.closed:
            self._ready, self._months = False, set()
            milliseconds = self._timeout_s * 1_000
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=self._timeout_s,
                application_name="polyroute",
                options=f"-c search_path={self._schema} -c lock_timeout={milliseconds}",
            )
        return self._connection

    def _migrate(self, connection: "psycopg.Connection[_Row]") -> None:
        """Bring the tables to the version of this program."""
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._schema)))
        version = _version(connection)
        if version is None:
            connection.execute("CREATE TABLE version (number INTEGER NOT NULL)")
            connection.execute("INSERT INTO version VALUES (0)")
            version = 0
        for statements in _MIGRATIONS[version:]:
            connection.execute(statements)
        if version < len(_MIGRATIONS):
            connection.execute("UPDATE version SET number = %s", (len(_MIGRATIONS),))

    def _make_month(self, connection: "psycopg.Connection[_Row]", created_at: str) -> None:
        """Make the partition of a month where there is none."""
        found = _MONTH.match(created_at)
        if found is None:
            raise RecordError(f"created_at must be ISO 8601 in UTC, got {created_at!r:.60}")
        year, month = int(found[1]), int(found[2])
        name = f"records_{year:04}_{month:02}"
        if name in self._months:
            return
        first, after = f"{year:04}-{month:02}", f"{year + month // 12:04}-{month % 12 + 1:02}"
        make = "CREATE TABLE IF NOT EXISTS {} PARTITION OF records FOR VALUES FROM ({}) TO ({})"
        connection.execute(SQL(make).format(Identifier(name), Literal(first), Literal(after)))
        self._months.add(name)

    def _entries(
        self, *, newest_first: bool = False, status: str | None = None, policy: str | None = None
    ) -> Iterator[Entry]:
        """Read all rows, page by page."""
        at = 2**63 - 1 if newest_first else -(2**63)
        query = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
        while True:
            values = {"at": at, "page": _PAGE, "status": status, "policy": policy}
            with self._reading() as connection:
                if connection is None:
                    return
                rows = connection.execute(query, values).fetchall()
            yield from map(_entry, rows)
            if len(rows) < _PAGE:
                return
            at = rows[-1][0]

    @contextmanager
    def _attributed(self, what: str = "") -> Iterator[None]:
        """Turn what the client raises into one error with the remedy; it shows no URL."""
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                with suppress(psycopg.Error):
                    self.close()
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RecordError(
                f"{what}{self._place}: {said:.200}; see that Postgres runs, and that the user of "
                "the URL may make schemas and tables in the database"
            ) from error


def _version(connection: "psycopg.Connection[_Row]") -> int | None:
    """Return the version of the tables; `None` when there are none.

    Raises
    ------
    RecordError
        If they are newer than this program.
    """
    (there,) = connection.execute("SELECT to_regclass('version')").fetchone() or (None,)
    if there is None:
        return None
    (number,) = connection.execute("SELECT number FROM version").fetchone() or (0,)
    if number > len(_MIGRATIONS):
        raise RecordError(
            f"the tables of the records have version {number}, this polyroute knows "
            f"{len(_MIGRATIONS)}; install a newer one"
        )
    return int(number)


def _head(connection: "psycopg.Connection[_Row]") -> Head | None:
    row = connection.execute("SELECT count, hash FROM head").fetchone()
    return None if row is None else Head(int(row[0]), row[1])


def _last(connection: "psycopg.Connection[_Row]") -> Head:
    """Return the head that the last row gives, for a store that has lost its head."""
    query: LiteralString = f"SELECT {_COLUMNS} FROM records ORDER BY number DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None:
        return Head()
    entry = _entry(row)
    found = entry.record or entry.purged
    return Head(int(row[0]), found.hash if found else None)


def _find(connection: "psycopg.Connection[_Row]", id: str) -> _Row | None:
    """Return the place of the record of that id, or of the only id that begins so."""
    key = _key(id)
    exact = "SELECT number, created_at FROM ids WHERE id = %s"
    row = connection.execute(exact, (key,)).fetchone()
    if row is not None or not id:
        return row
    near = "SELECT id FROM ids WHERE id >= %s AND starts_with(id, %s) ORDER BY id LIMIT 6"
    names = [str(name) for (name,) in connection.execute(near, (key, key))]
    name = one_of(id, names)
    return None if name is None else connection.execute(exact, (name,)).fetchone()


def _row_of(sealed: Sealed) -> _Row:
    return (sealed.number, *_beside(sealed.draft), sealed.line.decode())


def _beside(record: Record) -> _Row:
    """Return what the columns between the number and the body hold."""
    name = policy_name(record)
    policy = None if name is None else _key(name)
    return (_key(record.id), record.created_at, record.status, policy)


def _entry(row: _Row) -> Entry:
    where, body = f"row {row[0]}", str(row[-1]).encode()
    stone = Tombstone.from_line(body)
    if stone is not None:
        agrees = (stone.number, _key(stone.id), stone.created_at, _PURGED, None) == row[:-1]
        return Entry(where, None, "" if agrees else "its columns do not agree", stone)
    try:
        record = Record.from_line(body)
        if record.line() != body:
            return Entry(where, record, "it is not written as polyroute writes it")
    except RecordError as error:
        return Entry(where, None, str(error))
    held = (record.number, *_beside(record))
    for name, column, value in zip(_COLUMNS.split(", "), row, held, strict=False):
        if column != value:
            why = f"its column {name!r} says {column!r:.80}, its body {value!r:.80}"
            return Entry(where, record, why)
    return Entry(where, record)


def _key(text: str) -> str:
    r"""Return `text` as Postgres can store it; what differs stays different.

    Examples
    --------
    >>> _key("a\0b"), _key("ü"), _key("\ud800")
    ('a\\0b', 'ü', '\\ud800')
    """
    plain = text.replace("\\", "\\\\").replace("\0", "\\0")
    return plain.encode("utf-8", "backslashreplace").decode()
