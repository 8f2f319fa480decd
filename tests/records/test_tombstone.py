"""Records that are purged: gone from the file, and nothing else changed."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from polyroute import Answer, ModelCard, Pool, Request, Step, Trace
from polyroute.errors import RecordError
from polyroute.records.content import Content
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.records.sqlite import SqliteStore
from polyroute.records.store import Purges
from polyroute.records.tombstone import Tombstone, of_user, older_than

POOL = Pool([ModelCard(id="a")])
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(k: int, *, content: Content = "full", **params: Any) -> Record:
    request = structs.replace(Request.of(f"secret question {k}", id=f"t-{k}"), params=params)
    trace = Trace(request, POOL).with_step(Step(Answer(text=f"secret answer {k}")))
    moment = START + timedelta(days=k)
    return Record.of(trace, policy={"name": "fixed"}, created_at=moment, content=content)


@pytest.fixture(params=[JsonlStore, SqliteStore])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = request.param(tmp_path / "records")
    for k in range(6):
        made.append(record(k, user="ann" if k % 2 else "bob"))
    yield made
    made.close()


def stored(store: Any) -> bytes:
    folder = store.path.parent
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_purged_records_are_gone_and_the_chain_holds(store: Any) -> None:
    assert isinstance(store, Purges)
    head = store.head()
    assert store.purge(of_user("ann"), "user") == 3
    verdict = store.verify()
    assert (verdict.ok, verdict.count, verdict.purged, verdict.problems) == (True, 6, 3, ())
    assert verdict.head == head == store.head()
    assert [kept.id for kept in store] == ["t-0", "t-2", "t-4"]
    assert [kept.id for kept in store.list()] == ["t-4", "t-2", "t-0"]
    assert store.problems() == []
    with pytest.raises(RecordError, match="was purged"):
        store.get("t-1")
    assert store.purge(of_user("ann"), "user") == 0
    for k in range(6):
        assert (b"secret answer %d" % k in stored(store)) == (k % 2 == 0)


def test_others_append_between_the_turns_of_a_purge(store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("polyroute.records.store._AT_A_TIME", 2)
    monkeypatch.setattr("polyroute.records.sqlite._PAGE", 2)
    reader = type(store)(store.path)  # as the command line opens it: to read, and then to write
    other = type(store)(store.path)

    def matches(kept: Record) -> bool:
        if kept.id in ("t-2", "t-5"):
            other.append(record(10 + int(kept.id[-1])))
        return kept.number is not None and kept.number <= 6

    assert reader.purge(matches, "age") == 6
    assert [kept.id for kept in store] == ["t-12", "t-15"]
    assert (store.verify().ok, store.verify().purged) == (True, 6)
    reader.close()
    other.close()


def test_records_can_be_appended_while_they_are_read(store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("polyroute.records.sqlite._PAGE", 2)
    reader = type(store)(store.path)
    found = []
    for kept in reader:
        found.append(kept.id)
        if kept.id == "t-0":
            reader.append(record(6))
    assert found[:6] == [f"t-{k}" for k in range(6)]
    assert reader.verify().ok
    reader.close()


def test_records_are_purged_by_age_also_the_newest(store: Any) -> None:
    assert store.purge(older_than(START + timedelta(days=2)), "age") == 2
    assert [kept.id for kept in store] == ["t-2", "t-3", "t-4", "t-5"]
    assert store.purge(older_than(START + timedelta(days=99)), "age") == 4
    store.append(record(6))
    assert store.verify().purged == 6
    assert store.verify().ok
    assert [kept.number for kept in store] == [7]
    with pytest.raises(RecordError, match="already"):
        store.append(record(1))


def test_a_change_beside_a_tombstone_is_still_found(store: Any, tmp_path: Path) -> None:
    store.purge(of_user("bob"), "user")
    if isinstance(store, JsonlStore):
        text = store.path.read_bytes()
        store.path.write_bytes(text.replace(b"secret answer 3", b"secret answer X"))
    else:
        store.close()
        connection = sqlite3.connect(store.path)
        connection.execute("UPDATE records SET body = replace(body, 'answer 3', 'answer X')")
        connection.commit()
        connection.close()
    broken = store.verify().broken
    assert broken is not None
    assert (broken.kind, broken.number, broken.id) == ("changed", 4, "t-3")


def test_a_tombstone_with_another_hash_breaks_the_chain(store: Any) -> None:
    hash = next(kept.hash for kept in store if kept.id == "t-2")
    store.purge(lambda kept: kept.id == "t-2", "age")
    stone = Tombstone.from_line(_line(store, "t-2"))
    assert stone is not None
    assert (stone.hash, stone.number, stone.reason) == (hash, 3, "age")
    changed = replace(stone, hash="0" * 64).line()
    assert Tombstone.from_line(changed) is not None
    if isinstance(store, JsonlStore):
        store.path.write_bytes(store.path.read_bytes().replace(stone.line(), changed))
        assert store.verify().broken is not None


def _line(store: Any, id: str) -> bytes:
    if isinstance(store, JsonlStore):
        lines = store.path.read_bytes().splitlines()
        return next(line for line in lines if id.encode() in line)
    row = store._connection.execute("SELECT body FROM records WHERE id = ?", (id,)).fetchone()
    return str(row[0]).encode()


@pytest.mark.parametrize(
    "params",
    [{"user": "ann"}, {"safety_identifier": "ann"}, {"metadata": {"user_id": "ann"}}],
)
def test_a_user_is_known_by_every_field_that_names_one(params: dict[str, Any]) -> None:
    matches: Callable[[Record], bool] = of_user("ann")
    assert matches(record(0, **params))
    assert not matches(record(0, user="anna"))
    assert not matches(record(0))


def test_a_user_is_known_in_a_record_that_keeps_hashes() -> None:
    assert of_user("ann")(record(0, content="hash", user="ann"))
    assert not of_user("ann")(record(0, content="none", user="ann")), "nothing is kept of it"


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"purged":{}}', b'{"purged":{"at":1}}', b'"purged":{', b'["purged":{']
)
def test_what_only_looks_like_a_tombstone_is_none(line: bytes) -> None:
    assert Tombstone.from_line(line) is None
