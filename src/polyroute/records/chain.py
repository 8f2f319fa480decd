"""Find the first record of a chain that was changed, removed or put elsewhere.

The one decision here: the chain is checked against its *head* (how many records there are, and
the hash of the last), which a store keeps beside the records; without it nobody could tell that
the newest records are gone. Who can rewrite the records and the head can rewrite history:
only a head kept somewhere else (printed, mailed, anchored) shows it, so every store gives out its
head.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from polyroute.errors import RecordError
from polyroute.records.record import Record
from polyroute.records.tombstone import Tombstone

__all__ = ["Break", "Entry", "Head", "Problem", "Verdict", "verify_chain"]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain."""

    count: int = 0
    """How many records there are."""
    hash: str | None = None
    """Hash of the last one; `None` when there is none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A stored entry that is no readable record."""

    where: str
    """Where it is stored: ``line 3``, ``row 3``."""
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store holds at one place, in storage order."""

    where: str
    record: Record | None
    """`None` when it cannot be read."""
    reason: str = ""
    """Why it cannot be read, or what beside the record does not agree with it."""
    purged: Tombstone | None = None
    """What stands in place of a record that was purged."""

    @property
    def unreadable(self) -> bool:
        """Whether it is neither a record nor what is left of one."""
        return self.record is None and self.purged is None

    def wanted(self, id: str, place: object) -> Record:
        """Return the record `id` that was looked for in `place`.

        Raises
        ------
        RecordError
            If it was purged, or cannot be read.
        """
        if self.purged is not None:
            raise RecordError(f"the record {id!r} of {place} was purged ({self.purged.at})")
        if self.record is None:
            raise RecordError(f"{self.where} of {place} cannot be read: {self.reason}")
        return self.record


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first place at which a chain is not what was written."""

    kind: Literal["changed", "removed", "reordered", "head"]
    """``head``: the records are whole, what the store keeps of its head is not."""
    number: int
    """Position in the chain, from 1, of the first record concerned."""
    id: str | None
    """Its id, where it can be read: not of a record that is gone or unreadable."""
    where: str
    """Where it is stored, or stood."""
    reason: str
    """What was found, in a sentence."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking a chain."""

    count: int
    """How many records are as they were written, from the first to the first that is not."""
    head: Head
    """End of that part: to be compared with one that was kept elsewhere."""
    broken: Break | None = None
    problems: tuple[Problem, ...] = ()
    """Unreadable entries. One that is no record (a line cut off by a crash, whose append never
    returned) breaks no chain."""
    purged: int = 0
    """How many of `count` were purged: their place is as it was written, their content is gone."""

    @property
    def ok(self) -> bool:
        """Whether every record is as it was written, and none is missing."""
        return self.broken is None


def verify_chain(entries: Iterable[Entry], head: Head | None) -> Verdict:
    """Check `entries`, in storage order, against each other and against `head`.

    Parameters
    ----------
    entries : iterable of Entry
        Read once.
    head : Head or None
        As the store keeps it, or as somebody kept it elsewhere: records beyond it are in order
        when they continue the chain. `None` when the store has lost it.

    Returns
    -------
    Verdict
        A change, removal or move of any record short of rewriting all the records after it, and
        the head, is found.
    """
    check = _Check(head)
    stream = iter(entries)
    broken = next((found for entry in stream if (found := check.take(entry)) is not None), None)
    if broken is None:
        broken = check.end()
        return Verdict(check.at.count, check.at, broken, tuple(check.problems), check.purged)
    numbers = set()
    for entry in stream:
        if (stone := entry.record or entry.purged) is None:
            check.problems.append(Problem(entry.where, entry.reason))
        else:
            numbers.add(stone.number)
    if broken.kind == "removed" and broken.number in numbers:
        broken = replace(broken, kind="reordered")
    elif broken.kind == "removed":
        reason = f"record {broken.number} is missing: {broken.reason}"
        broken = replace(broken, id=None, reason=reason)
    return Verdict(check.at.count, check.at, broken, tuple(check.problems), check.purged)


class _Check:
    """Walks a chain; `at` is the end of the part that is in order."""

    def __init__(self, head: Head | None) -> None:
        self.at = Head()
        self.problems: list[Problem] = []
        self.purged = 0
        self._head = head
        self._last: Entry | None = None
        self._unreadable: Entry | None = None
        """The first unreadable entry since the last record that is in order."""

    def take(self, entry: Entry) -> Break | None:
        """Go on to `entry`."""
        record = entry.record or entry.purged
        if record is None:
            self.problems.append(Problem(entry.where, entry.reason))
            self._unreadable = self._unreadable or entry
            return None
        expected = self.at.count + 1
        number = record.number or 0
        if number > expected and self._unreadable is not None:
            return self._blame_unreadable(self._unreadable)
        if isinstance(record, Record) and not _intact(record):
            return self._break("changed", entry, "its content does not have its hash")
        if number != expected:
            kind: Literal["removed", "reordered"] = "removed" if number > expected else "reordered"
            why = f"record {number} ({record.id!r}) stands where record {expected} should be"
            return self._break(kind, entry, why)
        if record.previous != self.at.hash:
            blamed = self._last or entry
            why = (
                f"its hash is not the one that {record.id!r} names as the hash before it"
                if self._last
                else "it is the first record and names one before it"
            )
            return self._break("changed", blamed, why)
        if entry.reason:
            return self._break("changed", entry, entry.reason)
        if self._head is not None and self._head.count == number and self._head.hash != record.hash:
            return self._break("changed", entry, "its hash is not the one in the head")
        self.at = Head(number, record.hash)
        self.purged += entry.purged is not None
        self._last, self._unreadable = entry, None
        return None

    def end(self) -> Break | None:
        """Compare the end of the chain with the head."""
        if self._head is None:
            if self._last is None and self._unreadable is None:
                return None
            why = "the head of the store is missing: whether the newest records are gone is unknown"
            return Break(kind="head", number=self.at.count + 1, id=None, where="head", reason=why)
        gone = self._head.count - self.at.count
        if gone <= 0:
            return None
        if self._unreadable is not None:
            return self._blame_unreadable(self._unreadable)
        after = f"after {self._last.where}" if self._last else "at the start"
        why = f"{gone} {'record is' if gone == 1 else 'records are'} missing at the end"
        return Break(kind="removed", number=self.at.count + 1, id=None, where=after, reason=why)

    def _blame_unreadable(self, entry: Entry) -> Break:
        why = f"it cannot be read: {entry.reason}"
        number = self.at.count + 1
        return Break(kind="changed", number=number, id=None, where=entry.where, reason=why)

    def _break(
        self, kind: Literal["changed", "removed", "reordered"], entry: Entry, reason: str
    ) -> Break:
        record = entry.record or entry.purged
        if entry is self._last:  # it looked right until the record after it was read
            self.at = Head(self.at.count - 1, record.previous if record else None)
        return Break(
            kind=kind,
            number=self.at.count + 1,
            id=record.id if record else None,
            where=entry.where,
            reason=reason,
        )


def _intact(record: Record) -> bool:
    try:
        return record.intact
    except RecordError:
        return False
