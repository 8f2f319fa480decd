"""Write an outcome table; `polyroute.outcomes.read_outcomes` reads the same table back."""

import gzip
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.outcomes.cells import line_of
from polyroute.outcomes.sheet import QUERY, RESPONSE
from polyroute.outcomes.table import OutcomeTable

__all__ = ["Written", "write_outcomes"]


@dataclass(frozen=True, slots=True)
class Written:
    """Where a table is."""

    queries: Path
    responses: Path


def write_outcomes(table: OutcomeTable, path: str | Path, *, queries_only: bool = False) -> Written:
    """Write a table as two files, so that reading them gives it back value by value.

    Parameters
    ----------
    table : OutcomeTable
        A model of it without any response is not in the files.
    path : str or Path
        The common start of the two files. An ending chooses their format: ``.parquet`` (without
        one, too), ``.jsonl``, ``.jsonl.gz``, ``.csv``, ``.csv.gz``. ``gsm`` writes
        ``gsm.queries.parquet`` and ``gsm.responses.parquet``. Existing ones are replaced, each at
        once and whole.
    queries_only : bool, default=False
        Leave the file of responses alone.

    Raises
    ------
    ConfigError
        If a file cannot be written, or a text holds half a character (a lone surrogate).
    MissingExtraError
        If the format is parquet and pyarrow is not installed.
    """
    start, suffix = _format(Path(path))
    write = _write_parquet if suffix == ".parquet" else _write_text
    halves = {"queries": _query_columns(table), "responses": _response_columns(table)}
    files = {half: start.with_name(f"{start.name}.{half}{suffix}") for half in halves}
    if queries_only:
        del halves["responses"]
    for half, columns in halves.items():
        part = files[half].with_name(f".{files[half].name}.{os.getpid()}.part")
        try:
            start.parent.mkdir(parents=True, exist_ok=True)
            write(columns, part, suffix)
            part.replace(files[half])
        except OSError as error:
            raise ConfigError(f"cannot write {files[half]}: {error.strerror or error}") from error
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"cannot write {files[half].name}: a text holds half a character "
                f"({error.object[error.start]!r}), which UTF-8 cannot express; repair the text"
            ) from error
        finally:
            part.unlink(missing_ok=True)
    return Written(files["queries"], files["responses"])


_Suffix: TypeAlias = Literal[".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz"]
_SUFFIXES: tuple[_Suffix, ...] = (".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


def _format(path: Path) -> tuple[Path, _Suffix]:
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix) and path.name != suffix:
            return path.with_name(path.name.removesuffix(suffix)), suffix
    return path, ".parquet"


_Columns: TypeAlias = Mapping[str, list[Any]]
"""Values by column, `None` where there is none."""


def _query_columns(table: OutcomeTable) -> _Columns:
    columns: dict[str, list[Any]] = {
        name: [getattr(question, name) for question in table.queries] for name in QUERY.names
    }
    for name in QUERY.optional:
        columns[name] = [value or None for value in columns[name]]
    columns["gold"] = [None if gold is None else list(gold) for gold in columns["gold"]]
    return columns


def _response_columns(table: OutcomeTable) -> _Columns:
    rows = table.responses
    ids = [question.query_id for question in table.queries]
    columns: dict[str, list[Any]] = {
        "query_id": [ids[n] for n in rows.query.tolist()],
        "model": [table.models[m] for m in rows.model.tolist()],
        "score": _known(rows.score.tolist()),
        "sample": rows.sample.tolist(),
        "response_text": list(rows.text),
        "pred": list(rows.pred),
        "prompt_tokens": [None if n < 0 else n for n in rows.prompt_tokens.tolist()],
        "completion_tokens": [None if n < 0 else n for n in rows.completion_tokens.tolist()],
        "cost_usd": _known(rows.cost_usd.tolist()),
        "latency_s": _known(rows.latency_s.tolist()),
    }
    return {name: columns[name] for name in RESPONSE.names}


def _known(numbers: list[float]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers]


def _write_parquet(columns: _Columns, path: Path, suffix: _Suffix) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "parquet needs pyarrow; run: pip install 'polyroute[tables]', or give the table a name "
            "that ends in .jsonl or .csv"
        ) from error
    kinds = {"sample": pyarrow.int64(), "prompt_tokens": pyarrow.int64(),
             "completion_tokens": pyarrow.int64(), "score": pyarrow.float64(),
             "cost_usd": pyarrow.float64(), "latency_s": pyarrow.float64()}  # fmt: skip
    arrays = {
        name: pyarrow.array(_as_json(name, values), kinds.get(name, pyarrow.string()))
        for name, values in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), path, compression="zstd")


def _as_json(name: str, values: list[Any]) -> list[Any]:
    """Return the column as cells: a list of golds becomes its JSON."""
    if name != "gold":
        return values
    return [None if gold is None else json.dumps(gold, ensure_ascii=False) for gold in values]


def _write_text(columns: _Columns, path: Path, suffix: _Suffix) -> None:
    lines = _csv_lines(columns) if suffix.startswith(".csv") else _json_lines(columns)
    with path.open("wb") as file:
        if not suffix.endswith(".gz"):
            _write_lines(lines, file)
            return
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:  # same table, same bytes
            _write_lines(lines, zipped)


def _write_lines(lines: Iterable[str], file: Any) -> None:  # noqa: ANN401 - a binary stream
    for line in lines:
        file.write(line.encode())


def _json_lines(columns: _Columns) -> Iterator[str]:
    for row in zip(*columns.values(), strict=True):
        pairs = zip(columns, row, strict=True)
        said = {name: v for name, v in pairs if v is not None or name == "score"}
        yield json.dumps(said, ensure_ascii=False) + "\n"


def _csv_lines(columns: _Columns) -> Iterator[str]:
    yield line_of(list(columns))
    cells = {name: _as_json(name, values) for name, values in columns.items()}
    for row in zip(*cells.values(), strict=True):
        yield line_of([v if v is None or isinstance(v, str) else repr(v) for v in row])
