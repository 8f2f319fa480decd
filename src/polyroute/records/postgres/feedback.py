"""What answers were worth, in the database: heard by every machine that learns from it.

The one decision here: feedback is numbered under the same lock as records, so that whoever has read
up to a number has missed none below it.
"""

from collections.abc import Iterator
from contextlib import suppress

from polyroute.errors import RecordError
from polyroute.records.feedback import Feedback
from polyroute.records.postgres.database import Database
from polyroute.records.postgres.rows import key_of

__all__ = ["PostgresFeedback"]

_PAGE = 1_000
"""Rows read at a time."""


class PostgresFeedback:
    """The table of feedback beside the records of one database.

    Parameters
    ----------
    database : Database
        Where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Feedback) -> None:
        """Append `feedback`; when this returns, it is stored.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        lost = f"the feedback on {feedback.trace_id!r} is lost: "
        row = (key_of(feedback.trace_id), feedback.line().decode().strip())
        with self._database.attributed(lost), self._database.writing() as connection:
            connection.execute(
                "INSERT INTO feedback SELECT coalesce(max(number), 0) + 1, %s, %s FROM feedback",
                row,
            )

    def since(self, offset: int, *, until: int | None = None) -> tuple[list[Feedback], int]:
        """Return the feedback after number `offset`, oldest first, and the newest number.

        Parameters
        ----------
        offset : int
            0, or what an earlier call returned.
        until : int, optional
            Number of the last to return; the newest by default.

        Raises
        ------
        RecordError
            If the database cannot be reached.
        """
        found: list[Feedback] = []
        query = (
            "SELECT number, line FROM feedback WHERE number > %s "
            "AND (%s::bigint IS NULL OR number <= %s) ORDER BY number LIMIT %s"
        )
        while True:
            with self._database.reading() as connection:
                if connection is None:
                    return found, offset
                rows = connection.execute(query, (offset, until, until, _PAGE)).fetchall()
            for number, line in rows:
                offset = int(number)
                with suppress(RecordError):
                    found.append(Feedback.from_line(line.encode()))
            if len(rows) < _PAGE:
                return found, offset

    def __iter__(self) -> Iterator[Feedback]:
        """Yield all readable feedback, oldest first."""
        return iter(self.since(0)[0])

    def rewards(self) -> dict[str, float]:
        """Return the newest reward of each trace, by its id."""
        return {each.trace_id: float(each.reward) for each in self}
