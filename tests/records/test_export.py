import csv
import io
import stat
from decimal import Decimal

import pytest

from polyroute.errors import RecordError
from polyroute.records.export import CSV_COLUMNS, export
from polyroute.records.record import Record


def test_an_exported_line_is_the_stored_line(store, record_of, tmp_path):
    kept = [store.append(record_of(id)) for id in ("one", "two")]
    target = tmp_path / "out.jsonl"
    assert export(store, target) == 2
    lines = target.read_bytes().splitlines()
    assert [Record.from_line(line) for line in lines] == kept
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["full", "none"])
def test_a_csv_has_one_line_per_call_and_no_texts(record_of, content):
    stream = io.StringIO()
    assert export([record_of("one", content=content), record_of("two")], stream, "csv") == 2
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["trace"] for row in rows] == ["one", "two"]
    assert (rows[0]["model"], rows[0]["input"], rows[0]["failure"]) == ("a", "3", "")
    assert sum(Decimal(row["usd"]) for row in rows) == Decimal("0.0000014")
    assert "né" not in stream.getvalue()


def test_an_unknown_format_and_a_target_that_is_a_folder_are_errors(record_of, tmp_path):
    with pytest.raises(RecordError, match="expected 'jsonl' or 'csv'"):
        export([], io.StringIO(), "xml")
    with pytest.raises(RecordError, match="cannot write"):
        export([record_of("one")], tmp_path)
