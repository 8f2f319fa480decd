"""Where the command line writes: data to standard output, everything else to standard error.

Everything is legible without colour. Text that a model wrote is shown without the control
characters that could drive a terminal.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyroute.types import Json

__all__ = [
    # where to write
    "err", "is_live", "out",
    # what to write
    "hint", "note", "report", "warn", "working",
    "write_answer", "write_json", "write_line", "write_table",
    # how it looks
    "clip", "dollars", "plural", "printable", "table",
]  # fmt: skip

_WIDE = 1_000
"""Columns of a stream that is no terminal: rows stay lines, for the programs that read them."""


def out() -> Console:
    """Return the console of standard output."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(markup=False, highlight=False, emoji=False, width=width)


def err() -> Console:
    """Return the console of standard error."""
    width = None if sys.stderr.isatty() else _WIDE
    return Console(stderr=True, markup=False, highlight=False, emoji=False, width=width)


def is_live() -> bool:
    """Whether a person watches both streams, on a terminal that can move its cursor."""
    return sys.stdout.isatty() and sys.stderr.isatty() and not err().is_dumb_terminal


def note(text: str) -> None:
    """Say something beside the data."""
    err().print(Text(text), soft_wrap=True)


def warn(text: str) -> None:
    """Say what went wrong without ending the command."""
    report("warning", text)


def report(level: str, text: str) -> None:
    """Say something after its `level`: ``error``, ``warning``, ``ok``."""
    style = {"error": "bold red", "warning": "bold yellow"}.get(level, "bold green")
    err().print(Text.assemble((f"{level}: ", style), text), soft_wrap=True)


def hint(text: str) -> None:
    """Say what to do next."""
    err().print(Text.assemble(("hint: ", "bold cyan"), text), soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something is going on, for as long as it does."""
    if not sys.stderr.isatty():
        yield
        return
    with err().status(Text(f"{what} …")):
        yield


def write_answer(text: str) -> None:
    """Write an answer to standard output: as it is to a pipe, without controls to a terminal."""
    sys.stdout.write(f"{printable(text) if sys.stdout.isatty() else text}\n")
    sys.stdout.flush()


def write_line(text: str) -> None:
    """Write one line of data."""
    out().print(Text(printable(text)), soft_wrap=True)


def write_json(value: Json) -> None:
    """Write one JSON value to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def write_table(rows: Table) -> None:
    """Write a table as data."""
    out().print(rows)


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """Return an empty table: no frame, a line under the header.

    Parameters
    ----------
    *columns : str
        Headers.
    right : sequence of str
        Columns of numbers, aligned to the right.
    title : str, optional
        Line above the table.
    """
    rows = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for column in columns:
        rows.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return rows


def dollars(usd: Decimal | None) -> str:
    """Return an amount to its last digit; an unknown one is not zero.

    Examples
    --------
    >>> dollars(Decimal("0.00001230")), dollars(Decimal(0)), dollars(None)
    ('$0.0000123', '$0', 'unknown')
    """
    return "unknown" if usd is None else f"${usd.normalize():f}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "reply"), plural(3, "reply"), plural(2, "round")
    ('1 reply', '3 replies', '2 rounds')
    """
    if count == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {many}"


def printable(text: str) -> str:
    r"""Return `text` without control characters; a model must not drive the reader's terminal.

    Examples
    --------
    >>> printable("red: \x1b[31m!")
    'red: [31m!'
    """
    return _CONTROLS.sub("", text)


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tab and line end, and halves of characters that UTF-8 cannot write."""


_SCANNED = 10


def clip(text: str, limit: int = 100) -> str:
    r"""Return `text` on one line of at most `limit` characters.

    Examples
    --------
    >>> clip("one\n two   three", 9)
    'one two …'
    """
    start = text[: _SCANNED * limit]  # a reply may be megabytes
    line = " ".join(printable(start).split())
    is_whole = len(line) <= limit and len(start) == len(text)
    return line if is_whole else line[: limit - 1] + "…"
