"""The ids of records that were promised and are not stored yet, on disk.

The one decision here: a server answers before it writes, so what it owes is noted first, in a page
of a file that is mapped into memory: that costs no call of the system, and survives the process
being killed. Whoever verifies the records then knows which are missing, by name.
"""

import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from polyroute.records.store import private_folder

__all__ = ["Promises", "promised"]

_SUFFIX = "promised"
_SHORTEST = 2**16
"""Bytes of the file at first; it is doubled when what is open does not fit."""


class Promises:
    """What one process owes to a store.

    Parameters
    ----------
    path : path
        The file of the store; the promises lie beside it, one file a process.

    Raises
    ------
    OSError
        From every method, if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.{os.getpid()}.{_SUFFIX}")
        self._open: dict[str, None] = {}
        self._page: mmap.mmap | None = None
        self._size = 0

    def make(self, id: str) -> None:
        """Note that the record `id` will be stored."""
        line = _line(id)
        if self._page is None or self._size + len(line) > len(self._page):
            self._write_anew(room=len(line))
        assert self._page is not None, "written anew"
        self._page[self._size : self._size + len(line)] = line
        self._size += len(line)
        self._open[id] = None

    def keep(self, ids: Iterable[str]) -> None:
        """Note that the records `ids` are stored, or counted as lost."""
        for id in ids:
            self._open.pop(id, None)
        if self._page is not None and not self._open:
            self._page[: self._size] = bytes(self._size)
            self._size = 0

    def close(self) -> None:
        """Remove the file, when nothing is owed."""
        if self._page is not None:
            self._page.close()
            self._page = None
            if not self._open:
                self._path.unlink(missing_ok=True)

    def _write_anew(self, *, room: int) -> None:
        """Replace the file by one of what is open, with room for more."""
        lines = b"".join(map(_line, self._open))
        size = _SHORTEST
        while size < 2 * (len(lines) + room):
            size *= 2
        private_folder(self._path.parent)
        fresh = self._path.with_name(f"{self._path.name}.new")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600)
        try:
            # every byte is written now: a full disk is an error here, and a fault in a page later
            os.pwrite(file, lines.ljust(size, b"\0"), 0)
            page = mmap.mmap(file, size)
        finally:
            os.close(file)
        fresh.replace(self._path)
        if self._page is not None:
            self._page.close()
        self._page, self._size = page, len(lines)


def promised(path: Path) -> Mapping[str, int]:
    """Return the ids that are owed to the store at `path`, with the process that owes each.

    Examples
    --------
    >>> promised(Path("no/such/records.sqlite"))
    {}
    """
    owed: dict[str, int] = {}
    if not path.parent.is_dir():
        return owed
    for file in sorted(path.parent.iterdir()):
        name = file.name.removeprefix(f"{path.name}.").removesuffix(f".{_SUFFIX}")
        if file.name == f"{path.name}.{name}.{_SUFFIX}" and name.isdigit():
            lines = file.read_bytes().rstrip(b"\0").split(b"\n")
            # the last piece is empty, or was cut off by the end of the process
            owed |= {line.decode("utf-8", "surrogateescape"): int(name) for line in lines[:-1]}
    return owed


def _line(id: str) -> bytes:
    return id.replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n"
