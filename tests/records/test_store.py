"""What every store promises."""

import os
import resource
import stat
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from polyroute.decision import Answer
from polyroute.errors import RecordError
from polyroute.pool import ModelCard, Pool
from polyroute.records.chain import verify_chain
from polyroute.records.record import Record
from polyroute.records.store import RecordStore, policy_name
from polyroute.registry import load, names
from polyroute.trace import Step, Trace
from polyroute.types import Request


def test_both_stores_are_registered_under_their_names():
    assert {"jsonl", "sqlite"} <= set(names("records"))
    for name in ("jsonl", "sqlite"):
        assert isinstance(load("records", name)("never-made"), RecordStore)


def test_an_empty_store_reads_as_empty_and_makes_no_file(store):
    assert list(store) == []
    assert list(store.list()) == []
    assert store.verify().ok
    assert store.head().count == 0
    assert store.problems() == []
    with pytest.raises(RecordError, match="holds no records"):
        store.get("x")
    assert not store.path.parent.exists()


def test_an_append_returns_the_record_as_it_is_read_back(store, record_of, trace_of):
    first = store.append(record_of("one", created_at=datetime(2026, 1, 2, tzinfo=UTC)))
    second = store.append(record_of("two"))
    assert (first.number, first.previous, first.created_at) == (
        1, None, "2026-01-02T00:00:00.000000Z",
    )  # fmt: skip
    assert (second.number, second.previous) == (2, first.hash)
    assert list(store) == [first, second]
    assert list(store.list()) == [second, first]
    assert store.get("one") == first
    assert store.get("two").trace() == trace_of("two")
    assert (store.head().count, store.head().hash) == (2, second.hash)
    verdict = store.verify()
    assert verdict.ok
    assert verdict.head == store.head()


def test_another_store_on_the_same_file_continues_the_chain(store, record_of):
    store.append(record_of("one"))
    other = type(store)(store.path)
    other.append(record_of("two"))
    store.append(record_of("three"))
    assert [r.id for r in other] == ["one", "two", "three"]
    assert other.verify().ok
    other.close()


def test_an_id_may_be_shortened_while_it_is_clear(store, record_of):
    for id in ("ab-1", "ab-2", "cd-1", "ab"):
        store.append(record_of(id))
    assert store.get("cd").id == "cd-1"
    assert store.get("ab").id == "ab"
    with pytest.raises(RecordError, match="'ab-1', 'ab-2'; give more"):
        store.get("ab-")
    with pytest.raises(RecordError, match="did you mean 'cd-1'"):
        store.get("dc-1")
    with pytest.raises(RecordError, match="the newest is 'ab'"):
        store.get("%_zz")
    with pytest.raises(RecordError, match="no record ''"):
        store.get("")


@pytest.mark.parametrize("id", ["", "ü\n\x00'\"%_", "\ud800x", '","id":"x"', "😀" * 50])
def test_any_text_can_be_an_id(store, id):
    trace = Trace(Request.of("x", id=id), Pool([ModelCard(id="a")]))
    store.append(Record.of(trace.with_step(Step(Answer(text="y"))), policy={"name": id}))
    assert store.get(id).id == id
    assert store.list(policy=id)[0].trace().request.id == id
    assert store.verify().ok
    with pytest.raises(RecordError, match="already"):
        store.append(Record.of(trace, policy=None))


def test_the_list_can_be_narrowed(store, record_of):
    for k in range(6):
        store.append(record_of(f"r{k}", status="failed" if k % 2 else None))
    assert [r.id for r in store.list(limit=2)] == ["r5", "r4"]
    assert [r.id for r in store.list(status="failed", limit=2)] == ["r5", "r3"]
    assert len(store.list(policy="fixed", limit=None)) == 6
    assert list(store.list(policy="other")) == []
    assert list(store.list(limit=0)) == []


def test_a_record_is_listed_under_the_policy_that_decided_not_the_fallbacks_around_it(
    store, trace_of
):
    spec = {"name": "with_fallbacks", "policy": {"name": "fixed", "model": "a"}, "fallbacks": []}
    store.append(Record.of(trace_of("one"), policy=spec))
    (found,) = store.list(policy="fixed")
    assert policy_name(found) == "fixed"
    assert found.policy == spec
    assert list(store.list(policy="with_fallbacks")) == []
    assert store.verify().ok


def test_an_id_is_stored_once(store, record_of):
    kept = store.append(record_of("one"))
    with pytest.raises(RecordError, match="has a record 'one' already"):
        store.append(record_of("one"))
    other = type(store)(store.path)
    with pytest.raises(RecordError, match="has a record 'one' already"):
        other.append(record_of("one"))
    other.close()
    assert list(store) == [kept]
    assert store.verify().ok


def test_only_the_owner_can_read(file_store, record_of):
    before = os.umask(0)
    try:
        file_store.append(record_of("one"))
    finally:
        os.umask(before)
    for folder in (file_store.path.parent, file_store.path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in file_store.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_folder_that_cannot_be_made_costs_the_record_and_says_so(file_store, record_of, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    file_store.path = tmp_path / "file" / "records"
    lost = type(file_store)(file_store.path)
    with pytest.raises(RecordError, match=r"'one' is lost: .*another path") as caught:
        lost.append(record_of("one"))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_path_that_is_a_folder_is_a_record_error(file_store, record_of, tmp_path):
    wrong = type(file_store)(tmp_path)
    for use in (lambda: wrong.append(record_of("one")), lambda: list(wrong), wrong.list):
        with pytest.raises(RecordError, match=str(tmp_path)):
            use()


@contextmanager
def _largest_file(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_half_written(file_store, record_of):
    for k in range(5):
        file_store.append(record_of(f"r{k}"))
    used = max(file.stat().st_size for file in file_store.path.parent.iterdir())
    with _largest_file(used + 700), pytest.raises(RecordError, match="'lost' is lost"):
        file_store.append(record_of("lost"))
    assert file_store.verify().ok
    assert file_store.problems() == []
    file_store.append(record_of("after"))
    assert [r.id for r in file_store] == ["r0", "r1", "r2", "r3", "r4", "after"]
    assert file_store.verify().ok


APPEND_15 = """
import sys
from polyroute.decision import Answer
from polyroute.pool import ModelCard, Pool
from polyroute.records.record import Record
from polyroute.registry import load
from polyroute.trace import Step, Trace
from polyroute.types import Request
kind, path, name = sys.argv[1:]
store = load("records", kind)(path)
pool = Pool([ModelCard(id="a")])
for k in range(15):
    trace = Trace(Request.of("x", id=f"{name}-{k}"), pool)
    store.append(Record.of(trace.with_step(Step(Answer(text="y"))), policy=None))
store.close()
"""


@pytest.mark.slow
def test_four_processes_write_one_chain(file_store):
    kind = {"JsonlStore": "jsonl", "SqliteStore": "sqlite"}[type(file_store).__name__]
    command = [sys.executable, "-c", APPEND_15, kind, str(file_store.path)]
    workers = [subprocess.Popen([*command, f"p{j}"]) for j in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    verdict = file_store.verify()
    assert verdict.ok
    assert verdict.count == 60
    for j in range(4):
        mine = [r.id for r in file_store if r.id.startswith(f"p{j}-")]
        assert mine == [f"p{j}-{k}" for k in range(15)]


def test_a_head_that_was_kept_elsewhere_shows_a_rewritten_store(store, record_of, tmp_path):
    store.append(record_of("one"))
    store.append(record_of("two"))
    kept = store.head()
    forged = type(store)(tmp_path / "forged")
    forged.append(record_of("one", error="rewritten"))
    forged.append(record_of("two"))
    forged.append(record_of("three"))
    assert forged.verify().ok  # by itself a store that was rewritten whole looks right
    entries = list(forged._entries())
    assert verify_chain(entries, kept).broken.number == 2
    assert verify_chain(entries, forged.head()).ok
    forged.close()
