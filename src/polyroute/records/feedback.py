"""What answers were worth: rewards that arrive after the records they belong to.

The one decision here: a record is never touched again, since its chain would break. Feedback is a
file of its own beside the store, one JSON line each, appended and never rewritten; of several on
one trace the newest counts.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from polyroute.errors import RecordError
from polyroute.records.store import private_folder
from polyroute.types import Json

__all__ = ["Feedback", "FeedbackLog", "Rewards", "rewards_of"]

_KEYS = frozenset({"trace_id", "reward", "created_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What the answer of one trace was worth.

    Raises
    ------
    RecordError
        If `reward` is not a number from 0 to 1, or `trace_id` is empty.
    """

    trace_id: str
    reward: float
    """0 (worthless) to 1 (as good as can be)."""
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    """ISO 8601, UTC."""

    def __post_init__(self) -> None:
        if not isinstance(self.trace_id, str) or not self.trace_id:
            raise RecordError(f"trace_id must be the id of a trace, got {self.trace_id!r:.80}")
        is_number = isinstance(self.reward, int | float) and not isinstance(self.reward, bool)
        if not is_number or not (math.isfinite(self.reward) and 0 <= self.reward <= 1):
            raise RecordError(f"reward must be a number from 0 to 1, got {self.reward!r:.80}")

    def line(self) -> bytes:
        """Return the JSON text with its line end."""
        wire = {key: getattr(self, key) for key in sorted(_KEYS)}
        return json.dumps(wire).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Feedback":
        """Read what `line` returned.

        Raises
        ------
        RecordError
            If it is not that.
        """
        try:
            wire: Json = json.loads(line)
        except ValueError as error:
            raise RecordError(f"not feedback: {error}") from error
        if not isinstance(wire, dict) or set(wire) != _KEYS:
            raise RecordError(f"not feedback: expected the keys {', '.join(sorted(_KEYS))}")
        return cls(**wire)


class Rewards(Protocol):
    """Where feedback is kept: in a file, or in a database."""

    def add(self, feedback: Feedback) -> None:
        """Append `feedback`.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        ...

    def since(self, offset: int, *, until: int | None = None) -> tuple[list[Feedback], int]:
        """Return the feedback after `offset`, 0 or what an earlier call returned; and its end.

        Raises
        ------
        RecordError
            If it cannot be read.
        """
        ...

    def rewards(self) -> dict[str, float]:
        """Return the newest reward of each trace, by its id."""
        ...


@runtime_checkable
class _HasRewards(Protocol):
    """A store that keeps feedback itself."""

    @property
    def feedback(self) -> Rewards: ...


def rewards_of(store: object) -> Rewards | None:
    """Return where feedback on the records of `store` is kept; `None` when nowhere."""
    if isinstance(store, _HasRewards):
        return store.feedback
    path: str | Path | None = getattr(store, "path", None)
    return None if path is None else FeedbackLog.beside(path)


class FeedbackLog:
    """A file of feedback. Threads and processes may append to it at the same time.

    Parameters
    ----------
    path : str or path
        The file, JSON lines. It and its folders are made at the first `add`, for their owner only.

    Examples
    --------
    >>> import tempfile
    >>> log = FeedbackLog(Path(tempfile.mkdtemp()) / "feedback.jsonl")
    >>> log.add(Feedback(trace_id="t-1", reward=0.2))
    >>> log.add(Feedback(trace_id="t-1", reward=1.0))
    >>> log.rewards()
    {'t-1': 1.0}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def beside(cls, records: str | Path) -> "FeedbackLog":
        """Return the log that belongs to the record store in the file `records`."""
        path = Path(records)
        return cls(path.with_name(f"{path.name}.feedback.jsonl"))

    def add(self, feedback: Feedback) -> None:
        """Append `feedback`; when this returns, it survives the process.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        line = feedback.line()
        try:
            private_folder(self.path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            with open(descriptor, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write((b"" if _ends_a_line(file.fileno()) else b"\n") + line)
        except OSError as error:
            raise RecordError(
                f"the feedback on {feedback.trace_id!r} is lost: cannot write {self.path}: "
                f"{error.strerror or error}"
            ) from error

    def __iter__(self) -> Iterator[Feedback]:
        """Yield all readable feedback, oldest first; a line cut by a crash is passed over."""
        yield from _readable(self._lines())

    def since(self, offset: int, *, until: int | None = None) -> tuple[list[Feedback], int]:
        """Return the feedback after byte `offset`, oldest first, and the byte where it ends.

        Parameters
        ----------
        offset : int
            0, or what an earlier call returned.
        until : int, optional
            Byte at which to stop; the end of the file by default.

        Raises
        ------
        RecordError
            If the file cannot be read.

        Notes
        -----
        A last line that is not whole yet is left for the next time.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read(-1 if until is None else max(0, until - offset))
        except FileNotFoundError:
            return [], offset
        except OSError as error:
            raise RecordError(f"cannot read {self.path}: {error.strerror or error}") from error
        whole = content[: content.rfind(b"\n") + 1]
        return list(_readable(whole.splitlines(keepends=True))), offset + len(whole)

    def rewards(self) -> dict[str, float]:
        """Return the newest reward of each trace, by its id."""
        return {each.trace_id: float(each.reward) for each in self}

    def unreadable(self) -> int:
        """Return how many lines are not feedback."""
        return sum(1 for line in self._lines() if line.strip()) - sum(1 for _ in self)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise RecordError(f"cannot read {self.path}: {error.strerror or error}") from error


def _readable(lines: Iterable[bytes]) -> Iterator[Feedback]:
    for line in lines:
        try:
            yield Feedback.from_line(line)
        except RecordError:
            continue


def _ends_a_line(descriptor: int) -> bool:
    """Whether the file is empty or its last line is whole."""
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
