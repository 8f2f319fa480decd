"""A table as columns that are checked as they are taken; an error names the file and the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError

__all__ = [
    # columns
    "BoolColumn", "Coded", "FloatColumn", "IntColumn",
    # tables of them
    "NUMBERS", "QUERY", "RESPONSE", "Row", "Schema", "Sheet",
]  # fmt: skip

BoolColumn: TypeAlias = NDArray[np.bool_]
FloatColumn: TypeAlias = NDArray[np.float64]
IntColumn: TypeAlias = NDArray[np.int64]

Row: TypeAlias = tuple[int, Mapping[str, Any]]
"""Where a row is in its file (the first is 1), and its values by column."""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of few different values, each row the number of one."""

    codes: IntColumn
    """-1 where there is none."""
    values: list[str]


@dataclass(frozen=True, slots=True)
class Schema:
    """Which columns a table has."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: Mapping[str, str]
    """Other names, by column, that rows may use."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are read."""
        return self.required + self.optional


QUERY = Schema(("query_id", "prompt"), ("dataset", "split", "task", "gold", "metric"), {})
RESPONSE = Schema(
    ("query_id", "model", "score"),
    ("sample", "response_text", "pred", "prompt_tokens", "completion_tokens", "cost_usd",
     "latency_s"),
    {"response_text": "text"},
)  # fmt: skip


NUMBERS = frozenset(
    ("score", "sample", "prompt_tokens", "completion_tokens", "cost_usd", "latency_s")
)
"""The columns of numbers."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The columns of one table, and where each row comes from."""

    name: str
    columns: dict[str, list[Any] | FloatColumn | Coded]
    """Values as they were written; or, from files that have types, numbers (NaN where there is
    none) and coded strings."""
    lines: Sequence[int]

    @classmethod
    def of_rows(cls, name: str, rows: Sequence[Row], schema: Schema) -> "Sheet":
        """Return the columns of `rows`.

        Raises
        ------
        ConfigError
            If a row lacks a required column.
        """
        for line, row in rows:
            for column in schema.required:
                if column not in row:
                    raise ConfigError(
                        f"{name}, row {line}: no {column!r}; a row needs "
                        f"{', '.join(schema.required)} (null where a score is unknown)"
                    )
        columns: dict[str, list[Any] | FloatColumn | Coded] = {
            column: [
                row.get(column, row.get(schema.aliases.get(column, column))) for _, row in rows
            ]
            for column in schema.names
        }
        return cls(name, columns, [line for line, _ in rows])

    def error(self, row: int, problem: str) -> ConfigError:
        """Return the error that says what is wrong with `row` (from 0)."""
        return ConfigError(f"{self.name}, row {self.lines[row]}: {problem}")

    def values(self, column: str) -> list[Any]:
        """Return a column as a list, `None` where there is no value."""
        found = self.columns[column]
        if isinstance(found, Coded):
            return [None if code < 0 else found.values[code] for code in found.codes.tolist()]
        if isinstance(found, np.ndarray):
            return [None if np.isnan(number) else number for number in found.tolist()]
        return found

    def coded(self, column: str) -> Coded:
        """Return a column of strings by the number of each, in the order they are first met.

        Raises
        ------
        ConfigError
            If a value is no string.
        """
        found = self.columns[column]
        if isinstance(found, Coded) and (found.codes >= 0).all():
            return found
        strings = self.strings(column)
        numbers = {value: code for code, value in enumerate(dict.fromkeys(strings))}
        return Coded(np.array([numbers[value] for value in strings], np.int64), [*numbers])

    def strings(self, column: str, *, default: str | None = None) -> list[str]:
        """Return a column of strings, with `default` in place of null.

        Raises
        ------
        ConfigError
            If a value is no string.
        """
        values: list[Any] = [default if v is None else v for v in self.values(column)]
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(row, f"{column!r} must be a string, got {value!r:.80}")
        return values

    def texts(self, column: str) -> tuple[str | None, ...]:
        """Return a column of strings and nulls.

        Raises
        ------
        ConfigError
            If a value is neither.
        """
        values = self.values(column)
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                raise self.error(row, f"{column!r} must be a string or null, got {value!r:.80}")
        return tuple(values)

    def floats(self, column: str, *, high: float = np.inf) -> FloatColumn:
        """Return a column of numbers from 0 to `high`, NaN in place of null.

        Raises
        ------
        ConfigError
            If a value is no such number.
        """
        numbers = self._numbers(column)
        wrong = np.flatnonzero((numbers < 0) | (numbers > high))
        if wrong.size:
            bound = "0 or more" if high == np.inf else f"from 0 to {high:g}"
            value = self.values(column)[wrong[0]]
            raise self.error(int(wrong[0]), f"{column!r} must be {bound}, got {value!r}")
        return numbers

    def _numbers(self, column: str) -> FloatColumn:
        found = self.columns[column]
        if isinstance(found, np.ndarray):
            return found
        values = self.values(column)
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, (int, float)):
                raise self.error(row, f"{column!r} must be a number or null, got {value!r:.80}")
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def counts(self, column: str, *, default: int) -> IntColumn:
        """Return a column of whole numbers, with `default` in place of null.

        Raises
        ------
        ConfigError
            If a value is no whole number, or below 0.
        """
        numbers = self.floats(column)
        whole = np.where(np.isnan(numbers), default, numbers)
        wrong = np.flatnonzero(whole != np.floor(whole))
        if wrong.size:
            raise self.error(
                int(wrong[0]), f"{column!r} must be a whole number, got {whole[wrong[0]]}"
            )
        return whole.astype(np.int64)
