"""Records in Postgres."""

from polyroute.records.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
