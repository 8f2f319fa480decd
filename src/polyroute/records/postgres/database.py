"""One schema of a Postgres, and the connection to it.

The one decision here: whoever writes holds an advisory lock of the database for the length of the
transaction, so that on all machines together one writes at a time, and numbers have no gaps.
"""

import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

from polyroute.errors import ConfigError, MissingExtraError, RecordError
from polyroute.records.postgres.rows import Row
from polyroute.records.postgres.tables import NEWEST, migrate, version

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"records in Postgres need the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[store]'"
    ) from error

__all__ = ["Database"]

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class Database:
    """A schema of a Postgres database. Threads may share it.

    Parameters
    ----------
    url_env : str
        Name of the environment variable that holds the URL.
    schema : str
        The schema of the tables.
    timeout_s : int
        Seconds to wait for a connection, and for another writer.

    Raises
    ------
    ConfigError
        If the variable is not set, or what it holds is no URL of Postgres.
    """

    def __init__(self, url_env: str, schema: str, timeout_s: int) -> None:
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
        self.schema = schema
        self.place = f"the schema {schema!r} of ${url_env}"
        """What errors call it."""
        self.months = set[str]()
        """Partitions that are known to be there."""
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Row] | None = None
        self._ready = False
        """Whether the tables are known to be there."""

    @contextmanager
    def writing(self) -> Iterator["psycopg.Connection[Row]"]:
        """Hold a transaction that is the only one to write, with the tables in place."""
        with self._lock:
            connection = self._open()
            months = set(self.months)
            try:
                with self._alone(connection):
                    if not self._ready:
                        migrate(connection, self.schema)
                    yield connection
                self._ready = True
            except BaseException:
                self.months = months
                raise

    @contextmanager
    def reading(self) -> Iterator["psycopg.Connection[Row] | None"]:
        """Hold the connection; `None` when there are no tables yet."""
        with self._lock, self.attributed():
            connection = self._open()
            if not self._ready:
                found = version(connection)
                if found is not None and found < NEWEST:
                    with self._alone(connection):
                        migrate(connection, self.schema)
                self._ready = found is not None
            yield connection if self._ready else None

    @contextmanager
    def _alone(self, connection: "psycopg.Connection[Row]") -> Iterator[None]:
        """Hold a transaction in which nobody else writes."""
        key = zlib.crc32(f"polyroute/{self.schema}".encode())
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            yield

    def _open(self) -> "psycopg.Connection[Row]":
        if self._connection is None or self._connection.closed:
            self._ready, self.months = False, set()
            milliseconds = self._timeout_s * 1_000
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=self._timeout_s,
                application_name="polyroute",
                options=f"-c search_path={self.schema} -c lock_timeout={milliseconds}",
            )
        return self._connection

    @contextmanager
    def attributed(self, what: str = "") -> Iterator[None]:
        """Turn what the client raises into one error with the remedy; it shows no URL."""
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                with suppress(psycopg.Error):
                    self.close()
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RecordError(
                f"{what}{self.place}: {said:.200}; see that Postgres runs, and that the user of "
                "the URL may make schemas and tables in the database"
            ) from error

    def vacuum(self, table: LiteralString) -> None:
        """Let go of what deleted and changed rows of `table` held."""
        with self._lock:
            self._open().execute(f"VACUUM {table}")

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
