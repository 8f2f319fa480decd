"""The rows of a text file, each with the line it begins in."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from polyroute.errors import ConfigError
from polyroute.outcomes.cells import lines_in
from polyroute.outcomes.sheet import Row
from polyroute.types import Json

__all__ = ["csv_rows", "json_rows", "json_value", "opened"]


@contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file of UTF-8 text, zipped when its name ends in ``.gz``.

    Raises
    ------
    ConfigError
        If it cannot be read to its end.
    """
    open_: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with open_(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file; every value is a string, or `None` for an empty cell.

    A first column without a name is a row number, and not read.

    Raises
    ------
    ConfigError
        If it is no CSV, or a row and the header differ in length.
    """
    with opened(path, newline="") as file:
        text = file.read()
    lines = lines_in(text, name=path.name)
    _, header = next(lines, (1, []))
    if None in header[1:] or len(set(header)) < len(header):
        raise ConfigError(f"{path.name}, row 1: every column needs a name of its own: {header}")
    for line, cells in lines:
        if len(cells) != len(header):
            raise ConfigError(
                f"{path.name}, row {line}: {len(cells)} cells under {len(header)} columns"
            )
        pairs = zip(header, cells, strict=True)
        yield line, {name: cell for name, cell in pairs if name is not None}


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a file of JSON lines.

    Raises
    ------
    ConfigError
        If a line is no JSON object.
    """
    with opened(path) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, _object(path, line, text)


def _object(path: Path, line: int, text: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name}, row {line}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{path.name}, row {line}: expected an object, got {row!r:.80}")
    return row


def json_value(path: Path) -> Json:
    """Return the one JSON value of a file.

    Raises
    ------
    ConfigError
        If it is no JSON.
    """
    with opened(path) as file:
        text = file.read()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name}: not JSON: {error}") from None
