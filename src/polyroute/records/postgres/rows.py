"""A record as a row of the table, and back, with what does not agree named."""

from typing import Any, LiteralString, TypeAlias

from polyroute.errors import RecordError
from polyroute.records.chain import Entry
from polyroute.records.record import Record, Sealed
from polyroute.records.store import policy_name
from polyroute.records.tombstone import Tombstone

__all__ = ["COLUMNS", "PURGED", "Row", "entry_of", "key_of", "row_of"]

COLUMNS: LiteralString = "number, id, created_at, status, policy, body"

PURGED = "purged"
"""The status of a row whose record was purged."""

Row: TypeAlias = tuple[Any, ...]


def row_of(sealed: Sealed) -> Row:
    """Return the row of a record that has its place in the chain."""
    return (sealed.number, *_beside(sealed.draft), sealed.line.decode())


def _beside(record: Record) -> Row:
    """Return what the columns between the number and the body hold."""
    name = policy_name(record)
    policy = None if name is None else key_of(name)
    return (key_of(record.id), record.created_at, record.status, policy)


def entry_of(row: Row) -> Entry:
    """Return what a row holds, and what is wrong with it."""
    where, body = f"row {row[0]}", str(row[-1]).encode()
    stone = Tombstone.from_line(body)
    if stone is not None:
        agrees = (stone.number, key_of(stone.id), stone.created_at, PURGED, None) == row[:-1]
        return Entry(where, None, "" if agrees else "its columns do not agree", stone)
    try:
        record = Record.from_line(body)
        if record.line() != body:
            return Entry(where, record, "it is not written as polyroute writes it")
    except RecordError as error:
        return Entry(where, None, str(error))
    held = (record.number, *_beside(record))
    for name, column, value in zip(COLUMNS.split(", "), row, held, strict=False):
        if column != value:
            why = f"its column {name!r} says {column!r:.80}, its body {value!r:.80}"
            return Entry(where, record, why)
    return Entry(where, record)


def key_of(text: str) -> str:
    r"""Return `text` as Postgres can store it; what differs stays different.

    Examples
    --------
    >>> key_of("a\0b"), key_of("ü"), key_of("\ud800")
    ('a\\0b', 'ü', '\\ud800')
    """
    plain = text.replace("\\", "\\\\").replace("\0", "\\0")
    return plain.encode("utf-8", "backslashreplace").decode()
