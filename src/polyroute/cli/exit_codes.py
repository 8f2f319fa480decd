"""What the exit code of every command means. `docs/reference/cli.md` repeats this table."""

from enum import IntEnum
from typing import NoReturn

import typer

__all__ = ["ExitCode", "leave"]


class ExitCode(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    """Done; data, if any, is on standard output."""
    FAILED = 1
    """There is no answer, or `doctor` found something wrong."""
    USAGE = 2
    """Wrong usage or configuration: nothing was called, nothing was spent."""
    RECORDS = 3
    """A record is damaged, missing or could not be kept; an answer was still delivered."""
    DIFFERS = 4
    """A replayed decision differs from the recorded one."""
    CANCELLED = 130
    """Interrupted by Ctrl-C: running calls were cancelled upstream."""


def leave(code: ExitCode) -> NoReturn:
    """End the command.

    Raises
    ------
    typer.Exit
        Always, with `code`.
    """
    raise typer.Exit(code)
