"""`polyroute data import`: an outcome table from a format of others."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, working, write_line
from polyroute.cli.lazy import command
from polyroute.errors import ConfigError
from polyroute.outcomes import write_outcomes
from polyroute.outcomes.importers import IMPORTERS, Imported
from polyroute.spec import nearest

__all__ = ["app", "import_", "write_imported"]

app = command()


@app.command()
def import_(
    format: Annotated[str, typer.Argument(help=", ".join(IMPORTERS), metavar="FORMAT")],
    path: Annotated[Path, typer.Argument(help="A file, or a folder of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Start of the table's files (.csv, .jsonl).")
    ],
) -> None:
    """Read a table that others wrote, and write it as an outcome table."""
    if format not in IMPORTERS:
        raise ConfigError(f"unknown format {format!r}; {nearest(format, [*IMPORTERS])}")
    with working(f"reading {path}"):
        imported = IMPORTERS[format](path)
    write_imported(imported, output)


def write_imported(imported: Imported, output: Path) -> None:
    """Write the table, and say what is in it and what was left out."""
    written = write_outcomes(imported.table, output)
    table = imported.table
    write_line(
        f"{plural(len(table.queries), 'question')}, {plural(len(table.models), 'model')}, "
        f"{plural(len(table.responses), 'response')} in {written.queries.name} and "
        f"{written.responses.name}"
    )
    for reason, count in imported.left_out.items():
        note(f"{plural(count, 'row')} left out: {reason}")
