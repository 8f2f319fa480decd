"""`polyroute trace purge`: what records say is deleted, their place in the chain stays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from polyroute.cli.console import plural, write_line
from polyroute.cli.construction import store_from
from polyroute.cli.lazy import command
from polyroute.cli.options import ConfigFile, days
from polyroute.config import read
from polyroute.errors import ConfigError
from polyroute.gateway.access.audit import audit_log, operator
from polyroute.records.record import Record
from polyroute.records.store import Purges
from polyroute.records.tombstone import Reason, of_user, older_than

__all__ = ["app", "purge"]

app = command()


@app.command()
def purge(
    older: Annotated[
        timedelta | None,
        typer.Option("--older-than", parser=days, metavar="DAYS", help="Such as 30d."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="The 'user' that the requests' bodies named.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many it would be, and delete nothing.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Delete what records say, of those that are old or of one user.

    What is left of each is its place in the chain, so that 'trace verify' still finds any other
    change; it says how many were purged. Exports and backups are not touched.
    """
    _purge(older, user, dry_run=dry_run, config=config)


def _purge(
    older: timedelta | None, user: str | None, *, dry_run: bool, config: Path | None
) -> None:
    matches, reason, what = _chosen(older, user)
    store = store_from(config)
    if dry_run:
        write_line(f"would purge {plural(sum(map(matches, store)), 'record')}")
        return
    if not isinstance(store, Purges):
        raise ConfigError("this store of records cannot purge; delete its rows where they are kept")
    purged = store.purge(matches, reason)
    audit_log(read(config)).note(operator(), "trace.purge", records=purged, **what)
    write_line(f"purged {plural(purged, 'record')}")


def _chosen(
    older: timedelta | None, user: str | None
) -> tuple[Callable[[Record], bool], Reason, dict[str, str]]:
    """Return which records are meant, why, and what the audit log says: of a user no name."""
    if older is not None and user is None:
        cutoff = datetime.now(UTC) - older
        return older_than(cutoff), "age", {"older_than": f"{cutoff:%Y-%m-%dT%H:%M:%SZ}"}
    if user is not None and older is None:
        return of_user(user), "user", {"reason": "user"}
    raise ConfigError("say which records: either --older-than DAYS or --user ID")
