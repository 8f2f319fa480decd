import json
import os
import random
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute.decision import Answer
from polyroute.errors import RecordError
from polyroute.pool import ModelCard, Pool
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Draft, Record
from polyroute.trace import Step, Trace
from polyroute.types import Request


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The bytes of a file of five records and of its head, and where to put changed ones."""
    folder = tmp_path_factory.mktemp("five")
    store = JsonlStore(folder / "r.jsonl")
    for k in range(1, 6):
        trace = Trace(Request.of(f"é {k}?", id=f"r{k}"), Pool([ModelCard(id="a")]))
        store.append(Record.of(trace.with_step(Step(Answer(text="yes"))), policy={"name": "x"}))
    return store, store.path.read_bytes(), store._head_path.read_bytes()


def judge(five, text):
    store, _, head = five
    store.path.write_bytes(text)
    store._head_path.write_bytes(head)
    return JsonlStore(store.path).verify()


def test_the_file_as_written_is_in_order(five):
    verdict = judge(five, five[1])
    assert verdict.ok
    assert verdict.count == 5


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_found_and_the_record_named(five, data):
    text = bytearray(five[1])
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    number = five[1].count(b"\n", 0, at) + 1
    broken = judge(five, bytes(text)).broken
    assert broken is not None
    assert (broken.kind, broken.number) == ("changed", number)
    assert broken.where == f"line {number}"


@pytest.mark.parametrize("k", range(5))
def test_a_removed_line_is_found(five, k):
    lines = five[1].splitlines(keepends=True)
    broken = judge(five, b"".join(lines[:k] + lines[k + 1 :])).broken
    assert (broken.kind, broken.number, broken.id) == ("removed", k + 1, None)


@pytest.mark.parametrize("kept", range(5))
def test_a_tail_that_was_cut_off_is_found(five, kept):
    lines = five[1].splitlines(keepends=True)
    broken = judge(five, b"".join(lines[:kept])).broken
    assert (broken.kind, broken.number) == ("removed", kept + 1)
    assert broken.reason.startswith(str(5 - kept))


@pytest.mark.parametrize(("i", "j"), [(i, j) for i in range(5) for j in range(i)])
def test_two_lines_in_each_others_place_are_found(five, i, j):
    lines = five[1].splitlines(keepends=True)
    lines[i], lines[j] = lines[j], lines[i]
    broken = judge(five, b"".join(lines)).broken
    assert (broken.kind, broken.number, broken.id) == ("reordered", j + 1, f"r{i + 1}")


@pytest.mark.parametrize("k", range(5))
def test_a_line_that_stands_twice_is_found(five, k):
    lines = five[1].splitlines(keepends=True)
    broken = judge(five, b"".join(lines[: k + 1] + lines[k:])).broken
    assert (broken.kind, broken.id) == ("reordered", f"r{k + 1}")


@pytest.mark.parametrize("k", range(5))
def test_a_changed_record_that_was_hashed_anew_is_named(five, k):
    lines = five[1].splitlines(keepends=True)
    record = Record.from_line(lines[k])
    forged = Draft(replace(record, status="failed")).seal(record.number, record.previous)
    lines[k] = forged.line + b"\n"
    broken = judge(five, b"".join(lines)).broken
    assert (broken.kind, broken.number, broken.id) == ("changed", k + 1, f"r{k + 1}")


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda line: line.replace(b'"steps":', b'"steps": '),
        lambda line: line.replace(b"{", b'{"artifact":"x",', 1),
        lambda line: line.replace("é".encode(), b"\\u00e9"),
        lambda line: line.replace(b"\n", b"\r\n"),
    ],
    ids=["white space", "a key twice", "an escape", "a line end"],
)
def test_the_same_value_in_other_bytes_is_a_change(five, rewrite):
    lines = five[1].splitlines(keepends=True)
    lines[2] = rewrite(lines[2])
    broken = judge(five, b"".join(lines)).broken
    assert (broken.kind, broken.number, broken.id) == ("changed", 3, "r3")


def test_a_half_written_line_is_reported_and_the_rest_lives_on(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    store.append(record_of("one"))
    line = store.path.read_bytes()
    with store.path.open("ab") as file:
        file.write(line[: len(line) // 2])
    for reader in (store, JsonlStore(store.path)):
        assert [r.id for r in reader] == ["one"]
        assert [(p.where, p.reason[-9:]) for p in reader.problems()] == [("line 2", "(cut off)")]
        assert reader.verify().ok
    store.append(record_of("two"))
    store.append(record_of("three"))
    assert [r.id for r in store] == ["one", "two", "three"]
    assert store.get("two").number == 2
    verdict = store.verify()
    assert verdict.ok
    assert [p.where for p in verdict.problems] == ["line 2"]
    with store.path.open("r+b") as file:  # a change is still found, and not blamed on line 2
        file.seek(-10, os.SEEK_END)
        file.write(b"X")
    assert (store.verify().broken.where, store.verify().count) == ("line 4", 2)


def test_a_process_that_is_killed_while_it_appends_breaks_nothing(tmp_path):
    path = tmp_path / "r.jsonl"
    program = f"""
import itertools
from polyroute.decision import Answer
from polyroute.pool import ModelCard, Pool
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.trace import Step, Trace
from polyroute.types import Request
store = JsonlStore({str(path)!r})
for k in itertools.count():
    trace = Trace(Request.of("x" * 10_000, id=f"r{{k}}"), Pool([ModelCard(id="a")]))
    store.append(Record.of(trace.with_step(Step(Answer(text="y"))), policy=None))
    if k == 5:
        print("ready", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    store = JsonlStore(path)
    assert store.verify().ok
    trace = Trace(Request.of("x", id="after"), Pool([ModelCard(id="a")]))
    store.append(Record.of(trace, policy=None))
    assert store.verify().ok
    assert store.get("after").number == len(list(store))


def test_a_crash_between_the_line_and_the_head_is_made_good(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    store.append(record_of("one"))
    head = store._head_path.read_bytes()
    second = store.append(record_of("two"))
    store._head_path.write_bytes(head)
    assert store.verify().ok
    assert store.head().hash == second.hash
    assert store.append(record_of("three")).previous == second.hash
    assert store.verify().ok


def test_records_appended_after_a_tail_was_cut_do_not_hide_the_gap(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    for name in ("one", "two", "three"):
        store.append(record_of(name))
    lines = store.path.read_bytes().splitlines(keepends=True)
    store.path.write_bytes(b"".join(lines[:2]))
    store.append(record_of("four"))
    broken = store.verify().broken
    assert (broken.kind, broken.number, broken.where) == ("removed", 3, "line 3")
    assert [r.id for r in store] == ["one", "two", "four"]


def test_a_lost_head_is_reported_and_appends_go_on(tmp_path, record_of, caplog):
    store = JsonlStore(tmp_path / "r.jsonl")
    store.append(record_of("one"))
    for head in (None, b"no json"):
        store._head_path.unlink() if head is None else store._head_path.write_bytes(head)
        assert store.verify().broken.kind == "head"
        with pytest.raises(RecordError, match="run verify"):
            store.head()
        store.append(record_of(f"after {head}"))
        assert "made anew" in caplog.text
        assert store.verify().ok


def test_bytes_that_are_no_utf8_are_one_problem_with_its_line(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    for k in range(4):
        store.append(record_of(f"r{k}"))
    lines = store.path.read_bytes().splitlines(keepends=True)
    lines[1] = b"\xff\xfe" + bytes(random.Random(0).randrange(128, 256) for _ in range(50)) + b"\n"
    store.path.write_bytes(b"".join(lines))
    fresh = JsonlStore(store.path)
    assert [r.id for r in fresh] == ["r0", "r2", "r3"]
    assert [r.id for r in fresh.list()] == ["r3", "r2", "r0"]
    assert [(p.where, p.reason) for p in fresh.problems()] == [("line 2", "not UTF-8 at byte 0")]
    assert (fresh.verify().broken.number, fresh.verify().broken.where) == (2, "line 2")
    assert fresh.get("r3").id == "r3"


def test_a_store_that_is_open_notices_that_the_file_was_replaced(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    for k in range(3):
        store.append(record_of(f"r{k}"))
    lines = store.path.read_bytes().splitlines(keepends=True)
    store.path.write_bytes(b"".join(reversed(lines)))
    assert [store.get(f"r{k}").id for k in range(3)] == ["r0", "r1", "r2"]


def test_a_full_device_is_a_record_error(tmp_path, record_of):
    (tmp_path / "r.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordError, match="is lost") as caught:
        JsonlStore(tmp_path / "r.jsonl").append(record_of("one"))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_record_of_a_later_schema_is_a_problem_that_names_it(tmp_path, record_of):
    store = JsonlStore(tmp_path / "r.jsonl")
    store.append(record_of("one"))
    wire = json.loads(store.path.read_bytes())
    store.path.write_text(json.dumps({**wire, "schema": 9}) + "\n")
    assert "a record of schema 9" in store.problems()[0].reason
