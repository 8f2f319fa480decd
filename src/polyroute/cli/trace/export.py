"""`polyroute trace export`: all records, for other tools."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, working
from polyroute.cli.construction import store_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile
from polyroute.cli.stored import report_problems
from polyroute.records.export import Format
from polyroute.records.export import export as write

__all__ = ["app", "export"]

app = command()


@app.command()
def export(
    format: Annotated[
        Format, typer.Option("--format", "-f", help="jsonl: whole records; csv: a line per call.")
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; standard output if missing.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Write all records, oldest first; JSON lines can be verified and replayed elsewhere."""
    store = store_from(config)
    if output is None:
        count = write(store, sys.stdout, format)
    else:
        with working(f"writing {output}"):
            count = write(store, output, format)
    note(f"{plural(count, 'record')} written")
    leave(ExitCode.RECORDS if report_problems(store) else ExitCode.OK)
