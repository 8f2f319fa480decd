"""`polyroute data from-records`: an outcome table from what was routed and recorded here."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import working
from polyroute.cli.construction import store_at, store_from
from polyroute.cli.data.import_ import write_imported
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile
from polyroute.cli.stored import report_problems
from polyroute.errors import ConfigError
from polyroute.outcomes.importers import of_records
from polyroute.outcomes.rows import json_rows

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

    A record does not know how good its answer was: --scores says it for the ones somebody judged.
    """
    store = store_from(config) if path is None else store_at(path)
    with working("reading the records"):
        judged = {} if scores is None else _scores(scores)
        imported = of_records((record.to_json() for record in store), scores=judged)
    write_imported(imported, output)
    leave(ExitCode.RECORDS if report_problems(store) else ExitCode.OK)


def _scores(path: Path) -> dict[str, float]:
    """Read scores by trace.

    Raises
    ------
    ConfigError
        If a row has no id, or no score from 0 to 1.
    """
    judged: dict[str, float] = {}
    for line, row in json_rows(path):
        id, score = row.get("id"), row.get("score")
        if not isinstance(id, str) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ConfigError(
                f'{path.name}, row {line}: expected {{"id": a trace, "score": 0 to 1}}, '
                f"got {row!r:.80}"
            )
        judged[id] = float(score)
    return judged
