"""Write records for other tools: one JSON line per record, or one CSV line per call."""

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

from polyroute.errors import RecordError
from polyroute.records.record import Record
from polyroute.records.store import policy_name
from polyroute.types import Json

__all__ = ["CSV_COLUMNS", "Format", "export"]

Format: TypeAlias = Literal["jsonl", "csv"]

CSV_COLUMNS = (
    "trace", "created_at", "status", "policy", "step", "call", "own", "final", "model",
    "answered_by", "instance", "input", "output", "cached", "reasoning", "usd", "seconds",
    "first_token_s", "attempts", "finish_reason", "failure",
)  # fmt: skip
"""One line per call. Steps and calls are counted from 0; an empty `usd` or token count is
unknown, not 0."""


def export(records: Iterable[Record], target: str | Path | TextIO, format: Format = "jsonl") -> int:
    """Write `records` to `target`, in their order.

    Parameters
    ----------
    records : iterable of Record
        From a store: oldest first.
    target : str, path or text stream
        A file is made for its owner only, or overwritten. A stream should be UTF-8, and stays
        open.
    format : {"jsonl", "csv"}, default="jsonl"
        ``jsonl``: the records as they are stored, to be verified and replayed. ``csv``: one line
        per call with its model, tokens, dollars, seconds and failure; no texts.

    Returns
    -------
    int
        How many records were written.

    Raises
    ------
    RecordError
        If `format` is unknown, or `target` cannot be written.
    """
    if format not in ("jsonl", "csv"):
        raise RecordError(f"unknown format {format!r}; expected 'jsonl' or 'csv'")
    write = _write_jsonl if format == "jsonl" else _write_csv
    if not isinstance(target, str | Path):
        return write(records, target)
    try:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", newline="") as stream:
            return write(records, stream)
    except OSError as error:
        raise RecordError(f"cannot write {target}: {error.strerror or error}") from error


def _write_jsonl(records: Iterable[Record], stream: TextIO) -> int:
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 - the last one is returned
        stream.write(f"{record.line().decode()}\n")
    return count


def _write_csv(records: Iterable[Record], stream: TextIO) -> int:
    lines = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    lines.writeheader()
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 - the last one is returned
        lines.writerows(_calls(record))
    return count


def _calls(record: Record) -> Iterator[dict[str, Json]]:
    for k, step in enumerate(record.steps):
        for j, reply in enumerate(step["replies"]):
            yield {
                "trace": record.id,
                "created_at": record.created_at,
                "status": record.status,
                "policy": policy_name(record),
                "step": k,
                "call": j,
                "own": step["decision"]["own"],
                "final": step["decision"]["final"],
                **(reply["usage"] or {}),
                **{name: reply[name] for name in _OF_THE_REPLY},
                "failure": (reply["failure"] or {}).get("kind"),
            }


_OF_THE_REPLY = (
    "model", "answered_by", "instance", "usd", "seconds", "first_token_s", "attempts",
    "finish_reason",
)  # fmt: skip
