"""`polyroute config init`: the default configuration as a file to edit."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import hint, note
from polyroute.cli.lazy import command
from polyroute.config import DEFAULT
from polyroute.errors import ConfigError

__all__ = ["app", "init"]

app = command()


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("polyroute.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
) -> None:
    """Write the default configuration, with its comments, to edit.

    A file that exists is left alone unless --force is given.
    """
    _write(path, force=force)
    note(f"{path} is written")
    hint(f"edit it, then: polyroute config check {path}")


def _write(path: Path, *, force: bool) -> None:
    """Write the file.

    Raises
    ------
    ConfigError
        If it exists and must not be overwritten, or cannot be written.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(DEFAULT.read_text("utf-8"))
    except FileExistsError:
        raise ConfigError(f"{path} exists; --force overwrites it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
