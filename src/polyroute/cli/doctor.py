"""`polyroute doctor`: try everything out; say what is wrong and what to do."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from polyroute.cli.console import err, is_live, table, write_json, write_table
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.findings import Finding, findings
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.cli.probes import installed, probe_cards, probe_records, probe_weights
from polyroute.cli.production import unready
from polyroute.cli.production.running import running
from polyroute.config import Setup, build, find, read
from polyroute.errors import ConfigError

__all__ = ["app", "doctor"]

app = command()


@app.command()
def doctor(
    production: Annotated[
        bool,
        typer.Option("--production", help="Say what is not ready for production; call nobody."),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="URL", help="Ask a running server, too, how its instances are."
        ),
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            "--key-env", metavar="NAME", help="Variable that holds an administrator's key of it."
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check the configuration, probe every endpoint, and say what is wrong and what to do.

    Endpoints are asked for their list of models, which costs nothing; candidates that run here
    are asked one short question. The exit code is 1 when anything is wrong.
    """
    found = _unready(config) if production else [*installed(), *_configured(config)]
    if server is not None:
        found += running(server, key_env)
    if as_json:
        write_json([{name: getattr(one, name) for name in _FIELDS} for one in found])
    else:
        _write(found)
    wrong = any(finding.level == "error" for finding in found)
    leave(ExitCode.FAILED if wrong else ExitCode.OK)


_FIELDS = ("subject", "level", "problem", "remedy")


def _configured(config: Path | None) -> list[Finding]:
    try:
        settings = read(config)
        file = find(config) or "the built-in one"
    except ConfigError as error:
        return [Finding("configuration", "error", str(error), "polyroute config init writes one")]
    parts = [probe_records(settings.records), *probe_weights(settings.pool)]
    try:
        setup = build(settings)
    except ConfigError as error:
        return [Finding("configuration", "error", str(error), "polyroute config check"), *parts]
    well = Finding("configuration", problem=str(file))
    return [well, *findings(setup), *parts, *_probed(setup)]


def _unready(config: Path | None) -> list[Finding]:
    try:
        return unready(read(config), find(config))
    except ConfigError as error:
        return [Finding("configuration", "error", str(error), "polyroute config check")]


def _probed(setup: Setup) -> list[Finding]:
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True, disable=not is_live()) as progress:
        task = progress.add_task("", total=len(setup.backends))
        return asyncio.run(probe_cards(setup, lambda: progress.advance(task)))


def _write(found: list[Finding]) -> None:
    rows = table("what", "state", "finding", "what to do")
    for finding in found:
        state = {"error": "WRONG", "warning": "warning"}.get(finding.level, "ok")
        style = {"error": "red", "warning": "yellow"}.get(finding.level)
        rows.add_row(finding.subject, state, finding.problem, finding.remedy, style=style)
    write_table(rows)
