import shutil
import sqlite3

import pytest

from polyroute.errors import RecordError
from polyroute.records.record import Draft, Record
from polyroute.records.sqlite import SqliteStore

COLUMNS = ("number", "id", "created_at", "status", "policy", "body")


@pytest.fixture
def five(tmp_path, record_of):
    store = SqliteStore(tmp_path / "r.db")
    for k in range(1, 6):
        store.append(record_of(f"r{k}"))
    yield store
    store.close()


def tamper(store, *statements):
    store.close()
    connection = sqlite3.connect(store.path)
    for statement, *values in statements:
        connection.execute(statement, values)
    connection.commit()
    connection.close()
    return store.verify().broken


@pytest.mark.parametrize("column", COLUMNS[1:])
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("value", [b"\xff", "x", "", 7])
def test_any_other_value_in_any_column_is_found(five, column, number, value):
    broken = tamper(five, (f"UPDATE records SET {column} = ? WHERE number = ?", value, number))
    assert (broken.kind, broken.number, broken.where) == ("changed", number, f"row {number}")


@pytest.mark.parametrize("number", range(1, 6))
def test_one_letter_more_in_a_body_is_found(five, number):
    change = "UPDATE records SET body = replace(body, '42', '43') WHERE number = ?"
    broken = tamper(five, (change, number))
    assert (broken.kind, broken.number, broken.id) == ("changed", number, f"r{number}")


@pytest.mark.parametrize("number", range(1, 6))
def test_a_deleted_row_is_found(five, number):
    broken = tamper(five, ("DELETE FROM records WHERE number = ?", number))
    assert (broken.kind, broken.number, broken.id) == ("removed", number, None)


@pytest.mark.parametrize("kept", range(5))
def test_a_tail_that_was_cut_off_is_found(five, kept):
    broken = tamper(five, ("DELETE FROM records WHERE number > ?", kept))
    assert (broken.kind, broken.number) == ("removed", kept + 1)


@pytest.mark.parametrize(("i", "j"), [(i, j) for i in range(1, 6) for j in range(1, i)])
def test_two_rows_in_each_others_place_are_found(five, i, j):
    swap = "UPDATE records SET number = ? WHERE number = ?"
    broken = tamper(five, (swap, 99, i), (swap, i, j), (swap, j, 99))
    assert (broken.kind, broken.number, broken.id) == ("reordered", j, f"r{i}")


@pytest.mark.parametrize("number", range(1, 6))
def test_another_number_is_found(five, number):
    broken = tamper(five, ("UPDATE records SET number = 99 WHERE number = ?", number))
    kind = "changed" if number == 5 else "reordered"
    assert (broken.kind, broken.number) == (kind, number)


@pytest.mark.parametrize("number", range(1, 6))
def test_a_changed_record_that_was_hashed_anew_is_named(five, number):
    record = five.get(f"r{number}")
    forged = Draft(Record.from_json({**record.to_json(), "error": "x"}))
    sealed = forged.seal(record.number, record.previous)
    change = "UPDATE records SET body = ? WHERE number = ?"
    broken = tamper(five, (change, sealed.line.decode(), number))
    assert (broken.kind, broken.number, broken.id) == ("changed", number, f"r{number}")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE head SET hash = 'x'", "changed"),
        ("UPDATE head SET count = 6", "removed"),
        ("DELETE FROM head", "head"),
    ],
)
def test_a_changed_head_is_found(five, statement, kind):
    assert tamper(five, (statement,)).kind == kind


def test_records_appended_after_a_tail_was_cut_do_not_hide_the_gap(five, record_of):
    tamper(five, ("DELETE FROM records WHERE number > 3",))
    five.append(record_of("later"))
    broken = five.verify().broken
    assert (broken.kind, broken.number) == ("removed", 4)


def test_a_store_that_lost_its_head_goes_on_from_the_last_row(five, record_of):
    tamper(five, ("DELETE FROM head",))
    with pytest.raises(RecordError, match="run verify"):
        five.head()
    five.append(record_of("later"))
    assert five.verify().ok


@pytest.mark.parametrize(
    "text", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_says_what_to_do(tmp_path, record_of, text):
    path = tmp_path / "r.db"
    path.write_bytes(text)
    store = SqliteStore(path)
    for use in (
        lambda: store.append(record_of("one")), lambda: list(store), store.verify, store.list,
        lambda: store.get("one"), store.head, store.problems,
    ):  # fmt: skip
        with pytest.raises(RecordError, match=r"r\.db: file is not a database; move the file away"):
            use()
    assert path.read_bytes() == text
    store.close()


def test_rows_around_a_damaged_page_are_still_read(tmp_path, record_of):
    store = SqliteStore(tmp_path / "r.db")
    for k in range(1, 41):
        store.append(record_of(f"r{k}"))
    store.close()
    content = bytearray(store.path.read_bytes())
    page = content.index(b'"id":"r20"') // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    store.path.write_bytes(content)
    for entries in ([r.id for r in store], [r.id for r in store.list(limit=None)][::-1]):
        assert 20 <= len(entries) < 40
        assert "r20" not in entries
        assert entries == sorted(entries, key=lambda id: int(id[1:]))
        assert {"r1", "r40"} <= set(entries)
    assert "malformed" in store.problems()[0].reason
    broken = store.verify().broken
    assert broken.kind == "changed"
    assert broken.where == store.problems()[0].where
    store.close()


def test_a_folder_without_write_access_can_be_read(five, tmp_path):
    five.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(five.path, copy / "r.db")
    (copy / "r.db").chmod(0o400)
    copy.chmod(0o500)
    reader = SqliteStore(copy / "r.db")
    assert len(list(reader)) == 5
    reader.close()
    copy.chmod(0o700)


def test_a_file_that_was_removed_is_made_anew(five, record_of):
    five.close()
    five.path.unlink()
    assert list(five) == []
    five.append(record_of("one"))
    assert five.verify().count == 1


def test_an_empty_file_is_an_empty_store(tmp_path, record_of):
    (tmp_path / "r.db").touch()
    store = SqliteStore(tmp_path / "r.db")
    assert list(store) == []
    store.append(record_of("one"))
    assert store.verify().count == 1
    store.close()


def test_the_rows_can_be_queried_with_sql(five):
    connection = sqlite3.connect(five.path)
    query = "SELECT id, json_extract(body, '$.bill.usd') FROM records WHERE policy = 'fixed'"
    assert connection.execute(query).fetchone() == ("r1", "7E-7")
    connection.close()
