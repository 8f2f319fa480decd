"""Records as lines of JSON in one file: readable with any tool, good for some 100,000 records.

The one decision here: the head of the chain (how many records, the hash of the last) is kept in
`<file>.head`, and a new record always continues *that* head, so that lines taken off the end
leave a gap which later records cannot close.
"""

import fcntl
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from polyroute.errors import RecordError
from polyroute.records.chain import Entry, Head, Problem, Verdict, verify_chain
from polyroute.records.record import Draft, Record, Sealed, Status
from polyroute.records.store import (
    append_each,
    in_turns,
    no_such_record,
    one_of,
    policy_name,
    private_folder,
)
from polyroute.records.tombstone import Reason, Tombstone

__all__ = ["JsonlStore"]

_log = logging.getLogger(__name__)

_ID = re.compile(rb'"hash":"[0-9a-f]{64}","id":("(?:[^"\\]|\\.)*"),"number":')
"""Where a canonical line has its id. A quote inside a text is escaped, so no text looks so."""

_HEAD_SIZE = 160
"""Bytes of the head file, always the same, so that one write replaces it whole."""


class JsonlStore:
    """A store in one file of JSON lines.

    Parameters
    ----------
    path : str or path
        The file. It and its folders are made at the first append, for their owner only: prompts
        are private.

    Notes
    -----
    *Several processes* may append: each append holds an advisory lock (``flock``) on the file.

    *Durability*: an append has returned when the operating system has the line. It survives the
    process being killed; a power cut may lose the last seconds. A line that a crash cut off is
    reported as a problem with its number and breaks nothing; the next append starts a fresh line.

    *What `verify` finds*: any changed, removed or moved line, also at the end of the file, and a
    lost head. *What it cannot find*: someone with write access who rewrites the records from
    some point on and the head with them. Keep `head` somewhere else, and compare, against that.

    To start afresh move the file and its ``.head`` away together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._head_path = self.path.with_name(f"{self.path.name}.head")
        self._mutex = threading.Lock()
        self._offsets: dict[str, int] = {}
        """Where the line of each id begins, as far as the file has been scanned."""
        self._scanned = 0
        self._file_number: int | None = None

    def append(self, record: Record) -> Record:
        """Store `record` as the newest, and return it with its place in the chain.

        Raises
        ------
        RecordError
            If there is a record of that id, or it cannot be written; nothing is stored then.
        """
        draft = Draft(record)
        try:
            private_folder(self.path.parent)
            with self._mutex, _opened(self.path) as file, _opened(self._head_path) as head_file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._scan(file)
                if record.id in self._offsets:
                    raise RecordError(f"{self.path} has a record {record.id!r} already")
                size, head = self._end(file, head_file)
                sealed = draft.seal(head.count + 1, head.hash)
                _write(file, head_file, size, sealed)
                self._scan(file)
        except OSError as error:
            raise RecordError(
                f"the record {record.id!r} is lost: cannot write {self.path}: "
                f"{error.strerror or error}; make room, or give the store another path"
            ) from error
        return sealed.record

    def append_all(self, records: Sequence[Record]) -> Mapping[str, RecordError]:
        """Append `records` one by one; return those that could not be stored, with the reason."""
        return append_each(self, records)

    def get(self, id: str) -> Record:
        """Return the record of that id, or of the only id that begins so.

        Raises
        ------
        RecordError
            If there is none, or more than one, or it cannot be read.
        """
        with self._mutex, self._reading() as file:
            self._scan(file)
            name, record = self._find(file, id)
            if name is not None and (record is None or record.id != name):
                self._scanned = 0  # somebody edited the file: the offsets are wrong
                self._scan(file)
                name, record = self._find(file, id)
            if name is None:
                raise RecordError(no_such_record(id, reversed(self._offsets), self.path))
        if record is None:
            raise RecordError(
                f"the record {name!r} in {self.path} was purged, or cannot be read; run verify"
            )
        return record

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
            If the file cannot be opened.
        """
        found: list[Record] = []
        with self._mutex, self._reading() as file:
            self._scan(file)
            for id in reversed(self._offsets):
                if limit is not None and len(found) >= limit:
                    break
                record = self._at(file, id)
                if record is None or status not in (None, record.status):
                    continue
                if policy in (None, policy_name(record)):
                    found.append(record)
        return found

    def __iter__(self) -> Iterator[Record]:
        """Yield all readable records, oldest first."""
        return (entry.record for entry in self._entries() if entry.record is not None)

    def verify(self) -> Verdict:
        """Check every line; see the class for what this can and cannot find.

        Raises
        ------
        RecordError
            If the file cannot be opened.
        """
        with self._reading() as file:
            size = _size(file)
            head = self._stored_head()
        return verify_chain(self._entries(size), head[0] if head else None)

    def problems(self) -> Sequence[Problem]:
        """Return the lines that are no records, with their number and the reason."""
        return [Problem(e.where, e.reason) for e in self._entries() if e.unreadable]

    def head(self) -> Head:
        """Return the end of the chain, to be kept somewhere else.

        Raises
        ------
        RecordError
            If the head file is missing or damaged while there are records.
        """
        with self._reading() as file:
            stored = self._stored_head()
            size = _size(file)
            if stored is not None:
                return _advance(file, *stored)[0]
        if size:
            raise RecordError(f"{self._head_path} is missing or damaged; run verify")
        return Head()

    def purge(self, matches: Callable[[Record], bool], reason: Reason) -> int:
        """Put a tombstone over every record that `matches`; return how many.

        A line is overwritten in place, and filled up with spaces: what others read or append
        meanwhile stays where it is.

        Raises
        ------
        RecordError
            If the file cannot be written.
        """
        if not self.path.exists():
            return 0
        purged = 0
        try:
            with _opened(self.path) as file:
                for turn in in_turns(_stones(file, matches, reason)):
                    with self._mutex, _locked(file):
                        for offset, room, stone in turn:
                            _overwrite(file, offset, room, stone)
                    purged += len(turn)
                os.fsync(file)
        except OSError as error:
            raise RecordError(f"cannot purge {self.path}: {error.strerror or error}") from error
        return purged

    def close(self) -> None:
        """Do nothing: the file is open only while it is used."""

    def _entries(self, size: int | None = None) -> Iterator[Entry]:
        """Read the lines; those that are added meanwhile are left out, and need not wait."""
        if size is None:
            with self._reading() as file:
                size = _size(file)
        with self._reading(lock=False) as file:
            yield from _lines(file, size)

    @contextmanager
    def _reading(self, *, lock: bool = True) -> Iterator[int]:
        """Open for reading; a file that does not exist yet is an empty one."""
        try:
            try:
                file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                file, lock = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), False
            try:
                if lock:
                    fcntl.flock(file, fcntl.LOCK_SH)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise RecordError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _scan(self, file: int) -> None:
        """Bring the offsets up to date. Under the mutex."""
        status = os.fstat(file)
        if status.st_size < self._scanned or status.st_ino != self._file_number:
            self._scanned = 0
        if self._scanned == 0:
            self._offsets = {}
            self._file_number = status.st_ino
        if status.st_size == self._scanned:
            return
        with os.fdopen(os.dup(file), "rb") as lines:
            lines.seek(self._scanned)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                if found := _ID.search(line):
                    with suppress(ValueError):
                        self._offsets.setdefault(json.loads(found[1]), self._scanned)
                self._scanned += len(line)

    def _find(self, file: int, id: str) -> tuple[str | None, Record | None]:
        """Return the id that `id` stands for, and its record, as far as there is one."""
        name = id if id in self._offsets else None
        if name is None and id:
            name = one_of(id, [known for known in self._offsets if known.startswith(id)])
        return name, None if name is None else self._at(file, name)

    def _at(self, file: int, id: str) -> Record | None:
        """Read the record of an id that has been scanned; `None` when it is not readable."""
        with os.fdopen(os.dup(file), "rb") as lines:
            lines.seek(self._offsets[id])
            return _entry("", lines.readline()).record

    def _stored_head(self) -> tuple[Head, int] | None:
        """Return the head, and the size of the file it belongs to."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            wire = json.loads(self._head_path.read_bytes())
            return Head(int(wire["count"]), wire["hash"]), int(wire["size"])
        return None

    def _end(self, file: int, head_file: int) -> tuple[int, Head]:
        """Return the size of the file, and what the next record continues."""
        size = _size(file)
        stored = self._stored_head()
        if stored is None and size:
            # the head is lost: its place is taken by the last record there is
            _log.warning("%s is missing or damaged; made anew from the records", self._head_path)
            last = Head()
            for entry in _lines(file, size):
                if (found := entry.record or entry.purged) is not None:
                    last = Head(found.number or 0, found.hash)
            return size, last
        return size, _advance(file, *(stored or (Head(), 0)))[0]


def _lines(file: int, size: int) -> Iterator[Entry]:
    """Read the lines of the first `size` bytes."""
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(0)
        for k, line in enumerate(lines, start=1):
            if size <= 0:
                return
            size -= len(line)
            yield _entry(f"line {k}", line)


def _stones(
    file: int, matches: Callable[[Record], bool], reason: Reason
) -> Iterator[tuple[int, int, Tombstone]]:
    """Yield where a line begins whose record matches, its room, and what is to stand there."""
    with _locked(file):
        offset, size = 0, _size(file)
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(0)
        for line in lines:
            record = _entry("", line).record
            if record is not None and matches(record):
                yield offset, len(line) - 1, Tombstone.of(record, reason)
            offset += len(line)
            if offset >= size:
                return


def _advance(file: int, head: Head, size: int) -> tuple[Head, int]:
    """Follow the lines that were written after the head was, when a crash came between."""
    end = _size(file)
    if end <= size:
        return head, size
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(size)
        for line in lines:
            entry = _entry("", line)
            record = entry.record or entry.purged
            if record and (record.number, record.previous) == (head.count + 1, head.hash):
                head = Head(head.count + 1, record.hash)
    return head, end


def _write(file: int, head_file: int, size: int, sealed: Sealed) -> None:
    """Add the line and replace the head, or do neither."""
    torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    line = (b"\n" if torn else b"") + sealed.line + b"\n"
    record = sealed.record
    wire = {"count": record.number, "hash": record.hash, "size": size + len(line)}
    head = json.dumps(wire).encode().ljust(_HEAD_SIZE - 1) + b"\n"
    try:
        _write_all(file, line, size)
        _write_all(head_file, head, 0)
    except BaseException:
        os.ftruncate(file, size)
        raise


def _overwrite(file: int, offset: int, room: int, stone: Tombstone) -> None:
    text = stone.line()
    if len(text) > room:
        raise RecordError(f"the record {stone.id!r} is shorter than what would mark its place")
    _write_all(file, text.ljust(room), offset)


def _write_all(file: int, text: bytes, offset: int) -> None:
    while text:
        written = os.pwrite(file, text, offset)
        text, offset = text[written:], offset + written


def _entry(where: str, line: bytes) -> Entry:
    text = line.removesuffix(b"\n")
    if line.endswith(b"\n") and (stone := Tombstone.from_line(text)) is not None:
        return Entry(where, None, purged=stone)
    try:
        record = Record.from_line(text)
        if record.line() != text:
            return Entry(where, record, "it is not written as polyroute writes it")
    except RecordError as error:
        cut = "" if line.endswith(b"\n") else " (cut off)"
        return Entry(where, None, f"{error}{cut}")
    if not line.endswith(b"\n"):
        return Entry(where, None, "cut off before the end of its line")
    return Entry(where, record)


def _size(file: int) -> int:
    return os.fstat(file).st_size


@contextmanager
def _locked(file: int) -> Iterator[None]:
    """Let nobody else write the file."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open for reading and writing, made for its owner only."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)
