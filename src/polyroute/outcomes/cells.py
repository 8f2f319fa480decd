"""CSV that tells an empty text from a missing one.

The one decision here: an empty cell is missing, and ``""`` is a text of no characters. A model that
said nothing and a reply that nobody kept are different outcomes, and a table must survive being
written and read. Otherwise it is RFC 4180, in which every spreadsheet and pandas read it.
"""

import re
from collections.abc import Iterator, Sequence

from polyroute.errors import ConfigError

__all__ = ["line_of", "lines_in"]


def line_of(cells: Sequence[str | None]) -> str:
    r"""Return one line, with its end.

    Examples
    --------
    >>> line_of(["a", None, "", "x, y"])
    'a,,"","x, y"\n'
    """
    return ",".join("" if cell is None else _quoted(cell) for cell in cells) + "\n"


def lines_in(text: str, *, name: str) -> Iterator[tuple[int, list[str | None]]]:
    r"""Yield the number of the line a row begins in (from 1), and its cells.

    Blank lines are left out.

    Raises
    ------
    ConfigError
        If a quote is not closed, or something follows one that is.

    Examples
    --------
    >>> list(lines_in('a,b\n"x\ny",\n"",2\n', name="t.csv"))
    [(1, ['a', 'b']), (2, ['x\ny', None]), (4, ['', '2'])]
    """
    row: list[str | None] = []
    line = start = 1
    place = 0
    while place < len(text):
        found = _CELL.match(text, place)
        if found is None:
            raise ConfigError(
                f"{name}, row {line}: a quoted cell must end with a quote, and a comma or the end "
                'of the line after it; a quote inside is written twice ("")'
            )
        quoted, plain, end = found.groups()
        cell = plain or None if quoted is None else quoted.replace('""', '"')
        line += found[0].count("\n")
        place = found.end()
        if end == "," or row or cell is not None:
            row.append(cell)
        if end == "," and place < len(text):
            continue
        if end == ",":  # the file ends after a comma: one more empty cell
            row.append(None)
        if row:
            yield start, row
        row, start = [], line


_CELL = re.compile(r'(?:"((?:[^"]|"")*+)"|([^",\r\n][^,\r\n]*|))(,|\r?\n|\r|\Z)')
_SPECIAL = re.compile(r'[",\r\n]|^\s|\s$|^$')


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell
