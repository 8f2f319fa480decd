"""The file that answers are collected in: every row is on disk before the next question is asked.

The one decision here: the file is the state. What is in it is done; a run that was interrupted goes
on where it ended, and a row that was cut in the middle is asked again.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, Question, read_questions, write_outcomes

__all__ = ["Output", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One response, as it is written; the fields are columns of an outcome table."""

    query_id: str
    model: str
    sample: int
    score: float | None
    response_text: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    latency_s: float


class Output:
    """A table in JSON lines that grows: ``<start>.queries.jsonl`` and ``<start>.responses.jsonl``.

    Use it as a context manager: it is locked against a second run while it is open.

    Parameters
    ----------
    start : path
        Common start of the two files, with or without ``.jsonl``.
    questions : sequence of Question
        Added to those that the table has.

    Raises
    ------
    ConfigError
        If the table has a question of the same id and another prompt, a row is no JSON object, or
        another run is writing to it.
    """

    def __init__(self, start: str | Path, questions: Sequence[Question]) -> None:
        path = Path(start)
        name = path.name.removesuffix(".jsonl")
        self.queries = path.with_name(f"{name}.queries.jsonl")
        self.responses = path.with_name(f"{name}.responses.jsonl")
        self._start = path.with_name(name)
        self._questions = questions
        self._file = -1
        self.done: set[tuple[str, str, int]] = set()
        """Question, model and sample of every row."""

    def __enter__(self) -> Self:
        self.responses.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = os.open(self.responses, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {self.responses}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise ConfigError(f"another run is writing to {self.responses}") from error
        try:
            self._load()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def append(self, row: Row) -> None:
        """Write `row` at the end, in one piece."""
        line = json.dumps(asdict(row), ensure_ascii=False) + "\n"
        rest = memoryview(line.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.done.add((row.query_id, row.model, row.sample))

    def _load(self) -> None:
        """Find out what is done, drop a row that was cut, and add the questions."""
        content = self.responses.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                self.done.add((row["query_id"], row["model"], row.get("sample") or 0))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"{self.responses.name}, row {number}: not a response: {error!r}"
                ) from error
        known = {q.query_id: q for q in read_questions(self.queries)} if self._has_queries else {}
        for question in self._questions:
            other = known.setdefault(question.query_id, question)
            if other.prompt != question.prompt:
                raise ConfigError(
                    f"{self.queries.name} has another prompt for {question.query_id!r}; collect "
                    "into another table"
                )
        table = replace(OutcomeTable.of([], []), queries=tuple(known.values()))
        write_outcomes(table, self._start.with_name(f"{self._start.name}.jsonl"), queries_only=True)

    @property
    def _has_queries(self) -> bool:
        return self.queries.is_file()
