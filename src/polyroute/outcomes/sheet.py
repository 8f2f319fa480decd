"""A table as columns that are checked as they are taken; an error names the file and the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError

__all__ = ["BoolColumn", "FloatColumn", "IntColumn", "QUERY", "RESPONSE", "Row", "Schema", "Sheet"]

BoolColumn: TypeAlias = NDArray[np.bool_]
FloatColumn: TypeAlias = NDArray[np.float64]
IntColumn: TypeAlias = NDArray[np.int64]

Row: TypeAlias = tuple[int, Mapping[str, Any]]
"""Where a row is in its file (the first is 1), and its values by column."""


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


@dataclass(frozen=True, slots=True)
class Sheet:
    """The columns of one table, and where each row comes from."""

    name: str
    columns: dict[str, list[Any]]
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
        columns = {
            column: [
                row.get(column, row.get(schema.aliases.get(column, column))) for _, row in rows
            ]
            for column in schema.names
        }
        return cls(name, columns, [line for line, _ in rows])

    def error(self, row: int, problem: str) -> ConfigError:
        """Return the error that says what is wrong with `row` (from 0)."""
        return ConfigError(f"{self.name}, row {self.lines[row]}: {problem}")

    def strings(self, column: str, *, default: str | None = None) -> list[str]:
        """Return a column of strings, with `default` in place of null.

        Raises
        ------
        ConfigError
            If a value is no string.
        """
        values: list[Any] = [default if v is None else v for v in self.columns[column]]
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
        for row, value in enumerate(self.columns[column]):
            if value is not None and not isinstance(value, str):
                raise self.error(row, f"{column!r} must be a string or null, got {value!r:.80}")
        return tuple(self.columns[column])

    def floats(self, column: str, *, high: float = np.inf) -> FloatColumn:
        """Return a column of numbers from 0 to `high`, NaN in place of null.

        Raises
        ------
        ConfigError
            If a value is no such number.
        """
        for row, value in enumerate(self.columns[column]):
            if value is not None and not isinstance(value, (int, float)):
                raise self.error(row, f"{column!r} must be a number or null, got {value!r:.80}")
        numbers = np.array([np.nan if v is None else v for v in self.columns[column]], np.float64)
        wrong = np.flatnonzero((numbers < 0) | (numbers > high))
        if wrong.size:
            bound = "0 or more" if high == np.inf else f"from 0 to {high:g}"
            value = self.columns[column][wrong[0]]
            raise self.error(int(wrong[0]), f"{column!r} must be {bound}, got {value!r}")
        return numbers

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
