"""What is left of a record that was purged: its place in the chain, and why it is empty.

The one decision here: a purged record keeps its number, its hash and the hash before it. So the
chain still shows that no other record was touched, and the count of what was purged is part of
every verdict; the content itself is gone, and its hash gives nothing of it back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from polyroute.errors import RecordError
from polyroute.records.canonical import canonical, parse
from polyroute.records.content import conceal_text
from polyroute.records.record import SCHEMA, Record
from polyroute.types import Json

__all__ = ["Reason", "Tombstone", "of_user", "older_than"]

Reason: TypeAlias = Literal["age", "user"]
"""Why: it was kept long enough, or whoever it is about asked for it."""

_KEYS = frozenset({"created_at", "hash", "id", "number", "previous", "purged", "schema"})

_HASH = re.compile(r"[0-9a-f]{64}")

_MARK = b'"purged":{'
"""What every tombstone has, and hardly any record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """The place of a purged record."""

    id: str
    created_at: str
    number: int
    previous: str | None
    hash: str
    """Of the record that stood here."""
    at: str
    """When it was purged: ISO 8601, UTC."""
    reason: Reason

    @classmethod
    def of(cls, record: Record, reason: Reason) -> "Tombstone":
        """Return what is to stand in place of a stored `record`."""
        assert record.number is not None, "a stored record has a place"
        assert record.hash is not None, "a stored record has a hash"
        assert record.created_at is not None, "a stored record has a time"
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return cls(
            id=record.id,
            created_at=record.created_at,
            number=record.number,
            previous=record.previous,
            hash=record.hash,
            at=now,
            reason=reason,
        )

    def line(self) -> bytes:
        """Return the canonical JSON text, without a line end."""
        names = ("created_at", "hash", "id", "number", "previous")
        wire: dict[str, Json] = {name: getattr(self, name) for name in names}
        return canonical(
            {**wire, "purged": {"at": self.at, "reason": self.reason}, "schema": SCHEMA}
        )

    @classmethod
    def from_line(cls, line: bytes) -> "Tombstone | None":
        """Read what `line` returned; `None` for anything else. Spaces at the end do not count."""
        if _MARK not in line:
            return None
        try:
            wire = parse(line.rstrip(b" "))
        except RecordError:
            return None
        if not isinstance(wire, dict) or wire.keys() != _KEYS or wire["schema"] != SCHEMA:
            return None
        purged = wire["purged"]
        found = cls(
            **{name: wire[name] for name in ("created_at", "hash", "id", "number", "previous")},
            at=purged.get("at"),
            reason=purged.get("reason"),
        )
        return found if found._sound(line) else None

    def _sound(self, line: bytes) -> bool:
        texts = (self.id, self.created_at, self.hash, self.at)
        return (
            all(isinstance(text, str) for text in texts)
            and isinstance(self.number, int)
            and _HASH.fullmatch(self.hash) is not None
            and self.reason in ("age", "user")
            and self.line() == line.rstrip(b" ")
        )


def older_than(cutoff: datetime) -> Callable[[Record], bool]:
    """Return whether a record is from before `cutoff`, which has a time zone."""
    limit = cutoff.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return lambda record: str(record.created_at) < f"{limit}Z"


def of_user(user: str) -> Callable[[Record], bool]:
    """Return whether a record is of a request that named `user`.

    In the field ``user``, ``safety_identifier`` or ``metadata.user_id`` of the request's body, as
    text or as the hash that a record without texts keeps.
    """
    wanted = (user, conceal_text(user, "hash"))

    def matches(record: Record) -> bool:
        params = record.request.get("params") or {}
        named = [params.get("user"), params.get("safety_identifier")]
        if isinstance(metadata := params.get("metadata"), dict):
            named.append(metadata.get("user_id"))
        return any(name is not None and name in wanted for name in named)

    return matches
