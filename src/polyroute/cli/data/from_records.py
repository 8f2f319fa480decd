"""`polyroute data from-records`: an outcome table from what was routed and recorded here."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import note, plural, working
from polyroute.cli.construction import store_at, store_from
from polyroute.cli.data.import_ import write_imported
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile
from polyroute.cli.scores import scores_of
from polyroute.cli.stored import report_problems
from polyroute.outcomes.importers import of_records

__all__ = ["app", "from_records"]

app = command()


@app.command()
def from_records(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Start of the table's files (.csv, .jsonl).")
    ],
    path: Annotated[
        Path | None, typer.Argument(help="A store or an export; the configured store if missing.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help='JSON lines {"id": ..., "score": ...} that judge answers by trace.'),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Turn records into an outcome table: who answered what, at what price and in what time.

    A record does not know how good its answer was. Its score is the newest feedback on it
    (POST /v1/feedback); --scores says it for the ones somebody else judged, and wins.
    """
    store = store_from(config) if path is None else store_at(path)
    with working("reading the records"):
        judged = scores_of(store, scores)
        imported = of_records((record.to_json() for record in store), scores=judged)
    write_imported(imported, output)
    note(f"{plural(len(judged), 'answer')} scored by --scores or by feedback")
    leave(ExitCode.RECORDS if report_problems(store) else ExitCode.OK)
