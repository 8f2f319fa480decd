"""The one place where an error becomes a message and an exit code; no traceback leaves here."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from polyroute.cli.exit_codes import ExitCode
from polyroute.errors import ConfigError, PolyrouteError, RecordError

__all__ = ["boundary"]


@contextmanager
def boundary() -> Iterator[None]:
    """Turn the errors of this package into a message on standard error and an exit code.

    Raises
    ------
    typer.Exit
        With the code of `ExitCode` that fits the error.
    BrokenPipeError
        As it comes.
    """
    try:
        yield
    except PolyrouteError as error:
        _say(str(error))
        raise typer.Exit(_code(error)) from error
    except BrokenPipeError:
        raise  # the reader has had enough: typer ends the command without a word
    except OSError as error:
        _say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        _give_up_output()
        raise typer.Exit(ExitCode.FAILED) from error
    except KeyboardInterrupt as error:
        _say("interrupted")
        raise typer.Exit(ExitCode.CANCELLED) from error


def _code(error: PolyrouteError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.RECORDS if isinstance(error, RecordError) else ExitCode.FAILED


def _give_up_output() -> None:
    """Drop what standard output could not take, so that the exit does not fail on it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    """Write the message as it is: this module is loaded by every command, `rich` is not."""
    typer.echo(f"error: {message}", err=True)
