"""`polyroute config check`: what a configuration does, in words, and what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import clip, hint, plural, report, write_json, write_line
from polyroute.cli.construction import setup_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.findings import Finding, findings
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.config import Setup, find, state_folder
from polyroute.errors import ConfigError
from polyroute.types import Json

__all__ = ["app", "check"]

app = command()


@app.command()
def check(
    path: Annotated[
        Path | None, typer.Argument(help="Configuration file; the one in use if missing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read and build a configuration, say what it does, and name what is wrong with it.

    Nothing is called; `polyroute doctor` also probes the endpoints. The exit code is 2 when
    something is an error, and 0 when there are only warnings.
    """  # noqa: DOC501 - the docstring is what --help prints
    try:
        setup = setup_from(path)
    except ConfigError as error:
        if not as_json:
            raise
        wrong = Finding("configuration", "error", str(error))
        write_json({"says": [], "findings": [_to_json(wrong)]})
        leave(ExitCode.USAGE)
    found = findings(setup)
    file = find(path)
    lines = _in_words(setup, "the built-in configuration" if file is None else str(file))
    if as_json:
        write_json({"says": lines, "findings": [_to_json(finding) for finding in found]})
    else:
        for line in lines:
            write_line(line)
        for finding in found:
            report(finding.level, f"{finding.subject}: {finding.problem}")
            hint(finding.remedy)
    errors = sum(finding.level == "error" for finding in found)
    if not as_json:
        write_line(f"{plural(errors, 'error')}, {plural(len(found) - errors, 'warning')}")
    leave(ExitCode.USAGE if errors else ExitCode.OK)


def _in_words(setup: Setup, name: str) -> list[str]:
    return [
        f"configuration: {name}",
        f"pool: {plural(len(setup.pool), 'card')}",
        *(f"  {clip(card.descriptor(), 160)}" for card in setup.pool),
        f"policy: {_policy(setup.specs['default'])}",
        *(
            f"  or {policy}: {_policy(spec)}"
            for policy, spec in setup.specs.items()
            if policy != "default"
        ),
        f"when a policy breaks: {_fallback(setup)}",
        f"budget of a request: {_budget(setup)}",
        f"records: {_records(setup)}",
        f"server: {_server(setup)}",
    ]


def _policy(spec: Json) -> str:
    parameters = ", ".join(f"{key}: {value}" for key, value in spec.items() if key != "name")
    return clip(f"{spec['name']} ({parameters})" if parameters else spec["name"], 200)


def _fallback(setup: Setup) -> str:
    card = setup.settings.fallback
    return "the request fails" if card is None else f"{card} answers"


def _budget(setup: Setup) -> str:
    budget = setup.budget
    limits = [plural(budget.rounds, "round")]
    if budget.usd is not None:
        limits.append(f"${budget.usd:f}")
    if budget.seconds is not None:
        limits.append(f"{budget.seconds:g} s")
    if budget.tokens is not None:
        limits.append(f"{budget.tokens} tokens")
    return f"at most {', '.join(limits)}; a request may ask for less"


def _records(setup: Setup) -> str:
    records = setup.settings.records
    if records.store == "none":
        return "none are kept"
    texts = {"full": "texts in full", "hash": "hashes of texts", "none": "no texts"}
    if records.store == "postgres":
        return f"Postgres at ${records.url_env} ({texts[records.content]})"
    path = records.path or state_folder() / f"records.{records.store}"
    return f"{path} ({texts[records.content]})"


def _server(setup: Setup) -> str:
    server, access = setup.settings.server, setup.settings.access
    keys = [
        *([str(access.keys)] if access.keys is not None else ()),
        *([f"${server.keys_env}"] if server.keys_env is not None else ()),
        *([f"${access.admin_keys_env} (administrators')"] if access.admin_keys_env else ()),
    ]
    whose = f"keys from {' and '.join(keys)}" if keys else "no keys"
    return f"{server.host}, port {server.port}, {whose}"


def _to_json(finding: Finding) -> dict[str, Json]:
    names = ("subject", "level", "problem", "remedy")
    return {name: getattr(finding, name) for name in names}
