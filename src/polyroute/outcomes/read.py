"""Read an outcome table from parquet, JSON lines or CSV."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes.rows import csv_rows, json_rows
from polyroute.outcomes.sheet import (
    NUMBERS,
    QUERY,
    RESPONSE,
    Coded,
    FloatColumn,
    Row,
    Schema,
    Sheet,
)
from polyroute.outcomes.table import OutcomeTable, Question

__all__ = ["read_outcomes", "read_questions"]


def read_outcomes(path: str | Path) -> OutcomeTable:
    """Read an outcome table.

    Parameters
    ----------
    path : str or Path
        The common start of the two files (``tables/gsm`` for ``tables/gsm.queries.parquet`` and
        ``tables/gsm.responses.parquet``, or ``.jsonl``, ``.csv``, or one of these with ``.gz``),
        either of them, or one file of joined rows. ``tables/gsm.csv`` stands for the pair, too,
        when there is no such file. In CSV an empty cell is missing, and ``""`` an empty text.

    Raises
    ------
    ConfigError
        If there is no such table, a column or value is missing or of the wrong type, a response
        names an unknown question, or there are two of the same question, model and sample. The
        message names the file and the row (in JSON lines and CSV: the line).
    MissingExtraError
        If the table is parquet and pyarrow is not installed.
    """
    files = _files(Path(path))
    if len(files) == 2:
        return OutcomeTable.of_sheets(_read(files[0], QUERY), _read(files[1], RESPONSE))
    return _split_joined(files[0])


def read_questions(path: str | Path) -> tuple[Question, ...]:
    """Read questions alone: the queries of a table, or one file with a question in every row.

    Parameters
    ----------
    path : str or Path
        As in `read_outcomes`; the responses are not read and need not exist.

    Raises
    ------
    ConfigError
        If there is no such file, or a question is wrong; the message names the file and the row.
    """
    start = Path(path)
    for suffix in _SUFFIXES:
        name = start.name if start.is_file() else start.name.removesuffix(suffix)
        queries = start.with_name(f"{name}.queries{suffix}")
        if queries.is_file():
            return OutcomeTable.of_sheets(_read(queries, QUERY), _NO_RESPONSES).queries
    if not start.is_file():
        raise ConfigError(
            f"no questions at {str(start)!r}; expected a file, or {start.name}.queries.*"
        )
    return OutcomeTable.of_sheets(_read(start, QUERY), _NO_RESPONSES).queries


_NO_RESPONSES = Sheet.of_rows("responses", [], RESPONSE)

_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


def _files(path: Path) -> tuple[Path, ...]:
    """Return the pair of files (queries, responses), or the one joined file."""
    for suffix in _SUFFIXES:
        start = path.name if path.is_file() else path.name.removesuffix(suffix)
        pair = tuple(path.with_name(f"{start}.{half}{suffix}") for half in _HALVES)
        if any(file.exists() for file in pair):
            return _both(pair)
    for half in _HALVES:
        if f".{half}." in path.name:
            pair = tuple(path.with_name(path.name.replace(f".{half}.", f".{k}.")) for k in _HALVES)
            return _both(pair)
    if path.is_file():
        return (path,)
    raise ConfigError(
        f"no outcome table at {str(path)!r}; expected a file, or the start of a pair such as "
        f"{path.name}.queries.parquet and {path.name}.responses.parquet "
        f"(or {', '.join(_SUFFIXES[1:])})"
    )


_HALVES = ("queries", "responses")


def _both(pair: tuple[Path, ...]) -> tuple[Path, ...]:
    for file, other in zip(pair, reversed(pair), strict=True):
        if not file.is_file():
            raise ConfigError(f"{file} does not exist; {other.name} needs it beside it")
    return pair


def _read(path: Path, schema: Schema) -> Sheet:
    if path.suffix == ".parquet":
        return _parquet_sheet(path, schema)
    return Sheet.of_rows(path.name, list(_rows(path)), schema)


def _rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file, with the place of each."""
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if _SUFFIX_CSV.search(path.name) else json_rows(path)


_SUFFIX_CSV = re.compile(r"\.csv(\.gz)?$")


def _split_joined(path: Path) -> OutcomeTable:
    """Read one file of joined rows: a question and one response, or a list of them, in each."""
    questions: dict[Any, Row] = {}
    responses: list[Row] = []
    for line, row in _rows(path):
        query_id = row.get("query_id")
        first, known = questions.setdefault(query_id, (line, row))
        if known is not row and known.get("prompt") != row.get("prompt"):
            raise ConfigError(
                f"{path.name}, row {line}: query_id {query_id!r} has another prompt in row {first}"
            )
        inner = row.get("responses", [row])
        if not isinstance(inner, list) or not all(isinstance(one, Mapping) for one in inner):
            raise ConfigError(f"{path.name}, row {line}: 'responses' must be a list of objects")
        responses += [(line, {"query_id": query_id, **one}) for one in inner]
    return OutcomeTable.of_sheets(
        Sheet.of_rows(path.name, list(questions.values()), QUERY),
        Sheet.of_rows(path.name, responses, RESPONSE),
    )


def _parquet_sheet(path: Path, schema: Schema) -> Sheet:
    """Read the columns of `schema` as they lie in the file: a million rows, and no row is made."""
    table = _arrow_table(path, schema.names)
    for column in schema.required:
        if column not in table.column_names:
            raise ConfigError(
                f"{path.name}: no column {column!r}; it needs {', '.join(schema.required)}"
            )
    length = table.num_rows
    columns: dict[str, list[Any] | FloatColumn | Coded] = {}
    for name in schema.names:
        if name in table.column_names:
            columns[name] = _column(name, table[name])
        else:
            columns[name] = np.full(length, np.nan) if name in NUMBERS else [None] * length
    return Sheet(path.name, columns, range(1, length + 1))


_SINGLE = "float"
"""What pyarrow calls single precision."""
_CODED = frozenset(("query_id", "model"))


def _column(name: str, arrow: Any) -> list[Any] | FloatColumn | Coded:  # noqa: ANN401 - pyarrow's
    kind = str(arrow.type)
    if name in NUMBERS and kind == _SINGLE:
        return np.array(_as_written(arrow.to_pylist()), np.float64)
    if name in NUMBERS and (kind == "double" or kind.startswith(("int", "uint"))):
        numbers: FloatColumn = arrow.cast("float64", safe=False).to_numpy().astype(np.float64)
        return numbers
    if name in _CODED and kind in ("string", "large_string"):
        coded = arrow.combine_chunks().dictionary_encode()
        chunks = coded.chunks if hasattr(coded, "chunks") else [coded]
        if len(chunks) == 1:
            codes = chunks[0].indices.fill_null(-1).to_numpy(zero_copy_only=False)
            return Coded(codes.astype(np.int64), chunks[0].dictionary.to_pylist())
    return list(arrow.to_pylist())


def _parquet_rows(path: Path) -> Iterator[Row]:
    table = _arrow_table(path, None)
    columns = {
        name: _as_written(column.to_pylist()) if str(column.type) == _SINGLE else column.to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    for line, values in enumerate(zip(*columns.values(), strict=True), start=1):
        yield line, dict(zip(columns, values, strict=True))


def _arrow_table(path: Path, names: Sequence[str] | None) -> Any:  # noqa: ANN401 - pyarrow's
    """Return the columns of a parquet file that are in `names`, or all."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name} is parquet, which needs pyarrow; run: pip install 'polyroute[tables]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            return file.read([name for name in names or present if name in present])
    except (OSError, ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as parquet: {error}") from error


def _as_written(singles: list[Any]) -> list[Any]:
    """Return single-precision numbers as the shortest decimal that stands for them.

    A cost of 0.00015 stored in 32 bits reads back as 0.000150000007…; the digits after the
    seventh are nobody's money.
    """
    return [None if number is None else float(str(np.float32(number))) for number in singles]


def _csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file, with numbers where the table has numbers."""
    for line, row in csv_rows(path):
        yield line, {name: _cell(path, line, name, cell) for name, cell in row.items()}


def _cell(path: Path, line: int, column: str, cell: str | None) -> str | float | None:
    if cell is None or column not in NUMBERS:
        return cell
    try:
        return float(cell)
    except ValueError:
        raise ConfigError(
            f"{path.name}, row {line}: {column!r} must be a number or empty, got {cell!r:.80}"
        ) from None
