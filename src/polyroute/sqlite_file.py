"""A SQLite file that several processes write: how it is set up, and how a change is made.

The one decision here: write-ahead log with ``synchronous=NORMAL``. What was committed survives the
process being killed; a power cut may lose the last changes, never damage the file.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["prepare", "transaction"]


def prepare(connection: sqlite3.Connection, schema: str, *, seconds: float) -> None:
    """Set the journal and make the tables, also while another process does the same.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode (``isolation_level=None``).
    schema : str
        Statements that may run twice, separated by semicolons.
    seconds : float
        How long to wait for another process.

    Raises
    ------
    sqlite3.OperationalError
        If the other process takes longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            # SQLite does not wait by itself when two processes change the journal mode
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
    with transaction(connection):
        for statement in schema.split(";"):
            connection.execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has ended the transaction already
            connection.execute("ROLLBACK")
        raise
