"""`polyroute trace list`: the newest records, one line each."""

from collections.abc import Sequence
from typing import Annotated

import typer

from polyroute.cli.console import clip, dollars, table, write_json, write_table
from polyroute.cli.construction import store_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.cli.stored import question_of, report_problems
from polyroute.records.record import Record, Status
from polyroute.records.store import policy_name
from polyroute.types import Json

__all__ = ["app", "list"]

app = command()

_SHORT = 12
"""Characters of an id that are shown: those of a time-ordered one that hold its millisecond."""


@app.command()
def list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only those with that status.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only those of that policy.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the newest records first, one line each.

    Ids are shortened; any beginning that fits one record only names it.
    """
    store = store_from(config)
    records = store.list(limit=limit, status=status, policy=policy)
    if as_json:
        write_json([_summary(record) for record in records])
    else:
        _write(records)
    leave(ExitCode.RECORDS if report_problems(store) else ExitCode.OK)


def _write(records: Sequence[Record]) -> None:
    rows = table("trace", "time", "status", "policy", "calls", "dollars", "question")
    shortened = [record.id[:_SHORT] for record in records]
    for record, short in zip(records, shortened, strict=True):
        said = _summary(record)
        unknown = f" + {record.bill.unknown} unknown" if record.bill.unknown else ""
        rows.add_row(
            short if shortened.count(short) == 1 else record.id,
            str(record.created_at)[:19].replace("T", " "),
            record.status,
            said["policy"] or "-",
            str(said["calls"]),
            f"{dollars(record.bill.usd)}{unknown}",
            clip(question_of(record), 60),
        )
    write_table(rows)


def _summary(record: Record) -> dict[str, Json]:
    return {
        "id": record.id,
        "number": record.number,
        "created_at": record.created_at,
        "status": record.status,
        "policy": policy_name(record),
        "calls": sum(len(step["replies"]) for step in record.steps),
        "tokens": record.usage.total,
        "usd": str(record.bill.usd),
        "unknown_prices": record.bill.unknown,
        "question": question_of(record),
    }
