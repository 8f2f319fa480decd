"""What a store of records is, and what the stores share: names, folders, refusals."""

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from polyroute.errors import RecordError
from polyroute.records.chain import Head, Problem, Verdict
from polyroute.records.record import Record, Status
from polyroute.records.tombstone import Reason
from polyroute.spec import spec_inside

__all__ = [
    "Purges",
    "RecordStore",
    "append_each",
    "in_turns",
    "no_such_record",
    "one_of",
    "policy_name",
    "private_folder",
]


_Any = TypeVar("_Any")

_AT_A_TIME = 500
"""Records that a purge overwrites before it lets others write again."""


@runtime_checkable
class RecordStore(Protocol):
    """Keep records, in order, so that a change can be found.

    Every method is synchronous, and may be called from several threads and processes.
    """

    def append(self, record: Record) -> Record:
        """Store `record` as the newest, and return it with its place in the chain.

        Raises
        ------
        RecordError
            If there is a record of that id, or it cannot be written; nothing is stored then.
            The episode itself is not concerned: its answer can still be delivered.
        """
        ...

    def append_all(self, records: Sequence[Record]) -> Mapping[str, RecordError]:
        """Store `records` one after the other, in one go where the store can.

        Returns
        -------
        mapping
            Of the records that could not be stored, by id: why. The others are stored.
        """
        ...

    def get(self, id: str) -> Record:
        """Return the record of that id, or of the only id that begins so.

        Raises
        ------
        RecordError
            If there is none, or more than one; the message lists the near ids.
        """
        ...

    def list(
        self, *, limit: int | None = 20, status: Status | None = None, policy: str | None = None
    ) -> Sequence[Record]:
        """Return the newest records, newest first; unreadable ones are left out (`problems`).

        Parameters
        ----------
        limit : int or None, default=20
            At most so many; `None` for all.
        status, policy : str, optional
            Only those with that status, or whose policy has that name.
        """
        ...

    def __iter__(self) -> Iterator[Record]:
        """Yield all readable records, oldest first."""
        ...

    def verify(self) -> Verdict:
        """Check every record; see `polyroute.records.chain`."""
        ...

    def problems(self) -> Sequence[Problem]:
        """Return the entries that cannot be read, with their place and the reason."""
        ...

    def head(self) -> Head:
        """Return the end of the chain, to be kept somewhere else."""
        ...

    def close(self) -> None:
        """Release files. May be called twice."""
        ...


@runtime_checkable
class Purges(Protocol):
    """A store that can empty records without breaking the chain."""

    def purge(self, matches: Callable[[Record], bool], reason: Reason) -> int:
        """Put a tombstone in the place of every record that `matches`; return how many.

        The content is overwritten where it lies. Copies and exports are not the store's. Others
        may append meanwhile: a few hundred records are overwritten at a time. A purge that is
        ended half-way is finished by the next.

        Raises
        ------
        RecordError
            If the store cannot be written.
        """
        ...


def append_each(store: RecordStore, records: Iterable[Record]) -> dict[str, RecordError]:
    """Append `records` one by one, for a store that knows no faster way; see `append_all`."""
    refused = {}
    for record in records:
        try:
            store.append(record)
        except RecordError as error:
            refused[record.id] = error
    return refused


def in_turns(found: Iterable[_Any]) -> Iterator[list[_Any]]:
    """Yield what a purge has `found`, as much at a time as it may overwrite in one go."""
    rest = iter(found)
    while turn := list(itertools.islice(rest, _AT_A_TIME)):
        yield turn


def one_of(wanted: str, beginning_so: Sequence[str]) -> str | None:
    """Return the only id that begins with `wanted`; `None` when none does.

    Raises
    ------
    RecordError
        If several do.
    """
    if len(beginning_so) > 1:
        shown = ", ".join(map(repr, beginning_so[:5]))
        more = ", …" if len(beginning_so) > 5 else ""
        raise RecordError(f"{wanted!r} begins more than one id: {shown}{more}; give more of it")
    return beginning_so[0] if beginning_so else None


def no_such_record(wanted: str, known: Iterable[str], path: Path | str) -> str:
    """Return what to say of an id that the store at `path` does not hold."""
    ids = list(known)
    if not ids:
        return f"no record {wanted!r}: {path} holds no records"
    near = difflib.get_close_matches(wanted, ids, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"the newest is {ids[0]!r}"
    return f"no record {wanted!r} in {path}; {hint}"


def private_folder(path: Path) -> None:
    """Make the folder `path` and those above it that are missing, for the owner only."""
    if path.is_dir():
        return
    private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def policy_name(record: Record) -> str | None:
    """Name of the policy that decided in `record`, when it was made from a specification."""
    name = None if record.policy is None else spec_inside(record.policy).get("name")
    return name if isinstance(name, str) else None
