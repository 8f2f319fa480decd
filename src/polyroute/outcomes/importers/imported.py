"""What every importer returns, and how it finds its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.outcomes.gathering import Gathering
from polyroute.outcomes.table import OutcomeTable

__all__ = ["Imported", "files_at", "finished"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A table, and what was left out of it."""

    table: OutcomeTable
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows by the reason why they are no outcome."""


def files_at(path: Path, endings: Sequence[str]) -> list[Path]:
    """Return the file `path`, or all files below the folder `path` with one of the endings.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(tuple(endings)))
    if not found:
        raise ConfigError(
            f"nothing to import at {str(path)!r}; expected a file, or a folder with files that end "
            f"in {' or '.join(endings)}"
        )
    return found


def finished(
    gathering: Gathering, path: Path, left_out: Mapping[str, int] | None = None
) -> Imported:
    """Return what was gathered from `path`.

    Raises
    ------
    ConfigError
        If that is nothing.
    """
    if not len(gathering):
        why = "; ".join(f"{count} left out: {reason}" for reason, count in (left_out or {}).items())
        raise ConfigError(f"{path}: there is no outcome in it{f' ({why})' if why else ''}")
    return Imported(gathering.table(), dict(left_out or {}))
