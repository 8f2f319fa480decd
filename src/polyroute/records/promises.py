"""The ids of records that were promised and are not stored yet, on disk.

The one decision here: a server answers before it writes, so what it owes is noted first, by one
short write that survives the process being killed. Whoever verifies the records then knows which
are missing, by name.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from polyroute.records.store import private_folder

__all__ = ["Promises", "promised"]

_SUFFIX = "promised"
_LONGEST = 2**20
"""Bytes after which the file is written anew with what is open."""


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
        self._file: int | None = None
        self._size = 0

    def make(self, id: str) -> None:
        """Note that the record `id` will be stored."""
        if self._file is None:
            private_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        line = _line(id)
        os.pwrite(self._file, line, self._size)
        self._size += len(line)
        self._open[id] = None

    def keep(self, ids: Iterable[str]) -> None:
        """Note that the records `ids` are stored, or counted as lost."""
        for id in ids:
            self._open.pop(id, None)
        if self._file is not None and (not self._open or self._size > _LONGEST):
            lines = b"".join(map(_line, self._open))
            os.pwrite(self._file, lines, 0)
            os.ftruncate(self._file, len(lines))
            self._size = len(lines)

    def close(self) -> None:
        """Remove the file, when nothing is owed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            if not self._open:
                self._path.unlink(missing_ok=True)


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
            lines = file.read_bytes().split(b"\n")
            # the last piece is empty, or was cut off by the end of the process
            owed |= {line.decode("utf-8", "surrogateescape"): int(name) for line in lines[:-1]}
    return owed


def _line(id: str) -> bytes:
    return id.replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n"
