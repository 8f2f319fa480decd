"""The tables of one schema, and how an older version of them becomes the newest.

The one decision here: they only go forward. A program that is older than its tables leaves them
alone.
"""

import re
from typing import LiteralString

from polyroute.errors import MissingExtraError, RecordError
from polyroute.records.postgres.rows import Row

try:
    import psycopg
    from psycopg.sql import SQL, Identifier, Literal
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"records in Postgres need the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[store]'"
    ) from error

__all__ = ["NEWEST", "make_month", "migrate", "version"]

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
    """
    CREATE TABLE feedback (
        number BIGINT PRIMARY KEY,
        trace_id TEXT COLLATE "C" NOT NULL,
        line TEXT NOT NULL
    );
    """,
)
"""What makes each version of the tables from the one before it; they only go forward."""

NEWEST = len(_MIGRATIONS)
"""Version of the tables that this program reads and writes."""

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-\d\dT")


def version(connection: "psycopg.Connection[Row]") -> int | None:
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
    if number > NEWEST:
        raise RecordError(
            f"the tables of the records have version {number}, this polyroute knows "
            f"{NEWEST}; install a newer one"
        )
    return int(number)


def migrate(connection: "psycopg.Connection[Row]", schema: str) -> None:
    """Make `schema` where there is none, and bring its tables to the newest version."""
    connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
    number = version(connection)
    if number is None:
        connection.execute("CREATE TABLE version (number INTEGER NOT NULL)")
        connection.execute("INSERT INTO version VALUES (0)")
        number = 0
    for statements in _MIGRATIONS[number:]:
        connection.execute(statements)
    if number < NEWEST:
        connection.execute("UPDATE version SET number = %s", (NEWEST,))


def make_month(connection: "psycopg.Connection[Row]", created_at: str, known: set[str]) -> None:
    """Make the partition of a month, where it is not among those that are `known`.

    Raises
    ------
    RecordError
        If `created_at` is no moment in UTC.
    """
    found = _MONTH.match(created_at)
    if found is None:
        raise RecordError(f"created_at must be ISO 8601 in UTC, got {created_at!r:.60}")
    year, month = int(found[1]), int(found[2])
    name = f"records_{year:04}_{month:02}"
    if name in known:
        return
    first, after = f"{year:04}-{month:02}", f"{year + month // 12:04}-{month % 12 + 1:02}"
    make = "CREATE TABLE IF NOT EXISTS {} PARTITION OF records FOR VALUES FROM ({}) TO ({})"
    connection.execute(SQL(make).format(Identifier(name), Literal(first), Literal(after)))
    known.add(name)
