"""`polyroute trace verify`: whether every record is as it was written, and none is missing."""

import os
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
from polyroute.records.promises import promised
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
    as a whole, too. A record that a server owed when it was killed is named as missing. The exit
    code is 3 when anything is not as it was written, or is missing.
    """
    store = store_from(config) if path is None else store_at(path)
    with working("verifying"):
        verdict = _completed(store.verify(), head)
        lost = head is not None and not _holds(store, head)
        missing = _missing(store)
    sound = verdict.ok and not lost and not missing
    for problem in verdict.problems:
        warn(f"{problem.where} cannot be read: {problem.reason}")
    for id, pid in missing.items():
        warn(f"missing: {id}, which process {pid} answered and had not written when it ended")
    if as_json:
        write_json({**_to_json(verdict, lost), "ok": sound, "missing": list(missing)})
    else:
        write_line(_in_words(verdict, head if lost else None))
    leave(ExitCode.OK if sound else ExitCode.RECORDS)


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


def _missing(store: RecordStore) -> dict[str, int]:
    """Return the records that a process which has ended promised and that are not there."""
    path = getattr(store, "path", None)
    owed = {} if path is None else promised(Path(path))
    ended = {id: pid for id, pid in owed.items() if not _runs(pid)}
    held = {record.id for record in store} if ended else set()
    return {id: pid for id, pid in ended.items() if id not in held}


def _runs(pid: int) -> bool:
    """Whether a process of that number runs: what it owes, it may yet write."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
    purged = f", {verdict.purged} of them purged" if verdict.purged else ""
    return f"ok: {plural(verdict.count, 'record')} as written{purged}{end}"


def _to_json(verdict: Verdict, lost: bool) -> dict[str, object]:
    broken = verdict.broken
    names = ("kind", "number", "id", "where", "reason")
    return {
        "count": verdict.count,
        "head": verdict.head.hash,
        "purged": verdict.purged,
        "broken": None if broken is None else {name: getattr(broken, name) for name in names},
        "earlier_head_lost": lost,
        "problems": [{"where": p.where, "reason": p.reason} for p in verdict.problems],
    }
