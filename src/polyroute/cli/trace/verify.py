"""`polyroute trace verify`: whether every record is as it was written, and none is missing."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import hint, plural, warn, working, write_json, write_line
from polyroute.cli.construction import store_at, store_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.records.chain import Verdict
from polyroute.records.store import RecordStore

__all__ = ["app", "verify"]

app = command()


@app.command()
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="A store or an export; the configured store if missing.")
    ] = None,
    config: ConfigFile = None,
    head: Annotated[
        str | None, typer.Option(help="A hash that an earlier run gave: it must still be there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every record against the hash chain; name the first that was changed, removed or moved.

    Keep the head that is printed somewhere else: --head then finds a history that was rewritten
    as a whole, too. The exit code is 3 when anything is not as it was written.
    """
    store = store_from(config) if path is None else store_at(path)
    with working("verifying"):
        verdict = _completed(store.verify(), head)
        lost = head is not None and not _holds(store, head)
    for problem in verdict.problems:
        warn(f"{problem.where} cannot be read: {problem.reason}")
    if as_json:
        write_json(_to_json(verdict, lost))
    else:
        write_line(_in_words(verdict, head if lost else None))
    leave(ExitCode.OK if verdict.ok and not lost else ExitCode.RECORDS)


def _completed(verdict: Verdict, head: str | None) -> Verdict:
    """Let a head kept elsewhere stand for the one that the store has lost, or an export never had.

    A head proves that nothing is missing up to it; so it has to be that of the last record.
    """
    if verdict.broken is None or verdict.broken.kind != "head":
        return verdict
    if head is None:
        hint("an export has no head of its own: give the one that 'trace verify' printed, --head")
    return replace(verdict, broken=None) if verdict.head.hash == head else verdict


def _holds(store: RecordStore, head: str) -> bool:
    return any(record.hash == head for record in store)


def _in_words(verdict: Verdict, lost: str | None) -> str:
    broken = verdict.broken
    if broken is not None:
        named = f" ({broken.id})" if broken.id else ""
        return (
            f"{broken.kind}: record {broken.number}{named} at {broken.where}: {broken.reason}; "
            f"{plural(verdict.count, 'record')} before it as written"
        )
    if lost is not None:
        return f"rewritten: no record has the hash {lost}, which was given as an earlier head"
    end = f", head {verdict.head.hash}" if verdict.head.hash else ""
    return f"ok: {plural(verdict.count, 'record')} as written{end}"


def _to_json(verdict: Verdict, lost: bool) -> dict[str, object]:
    broken = verdict.broken
    names = ("kind", "number", "id", "where", "reason")
    return {
        "ok": verdict.ok and not lost,
        "count": verdict.count,
        "head": verdict.head.hash,
        "broken": None if broken is None else {name: getattr(broken, name) for name in names},
        "earlier_head_lost": lost,
        "problems": [{"where": p.where, "reason": p.reason} for p in verdict.problems],
    }
