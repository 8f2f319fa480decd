import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record


@pytest.fixture
def stored(run, tmp_path):
    """Make three records, and return their ids, oldest first."""
    for question in ("one", "two", "three"):
        assert run("ask", "-p", "b", question).exit_code == 0
    lines = (tmp_path / "records" / "r.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


@pytest.fixture
def lines(stored, tmp_path):
    """Return a function that changes the lines of the store with another function."""
    path = tmp_path / "records" / "r.jsonl"

    def change(function):
        path.write_bytes(b"".join(function(path.read_bytes().splitlines(keepends=True))))

    return change


@pytest.mark.usefixtures("stored")
def test_the_list_is_newest_first_one_line_each(run):
    result = run("trace", "list")
    rows = result.stdout.splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["three", "two", "one"]
    assert result.stderr == ""


def test_the_list_for_programs_has_whole_ids(run, stored):
    listed = json.loads(run("trace", "list", "--json").stdout)
    assert [record["id"] for record in listed] == stored[::-1]
    assert {record["policy"] for record in listed} == {"fixed"}


@pytest.mark.usefixtures("stored")
def test_the_list_is_narrowed_by_status_policy_and_number(run):
    assert json.loads(run("trace", "list", "--json", "--status", "failed").stdout) == []
    assert json.loads(run("trace", "list", "--json", "--policy", "panel").stdout) == []
    assert len(json.loads(run("trace", "list", "--json", "-n", "2").stdout)) == 2


def test_an_id_is_shortened_to_a_beginning_that_fits_one(run, stored):
    first = stored[0]
    beginning = next(first[:n] for n in range(1, 33) if sum(i[:n] == first[:n] for i in stored) < 2)
    assert json.loads(run("trace", "show", beginning, "--json").stdout)["id"] == first


@pytest.mark.usefixtures("stored")
def test_a_beginning_that_fits_several_is_refused_with_their_ids(run):
    result = run("trace", "show", "0")
    assert result.exit_code == 3
    assert "begins more than one id" in result.stderr


@pytest.mark.usefixtures("stored")
def test_last_is_the_newest(run):
    result = run("trace", "show", "last")
    assert result.exit_code == 0
    assert "question: three" in result.stdout
    assert "round 1: asks b" in result.stdout
    assert result.stdout.rstrip().endswith("b heard: three")


def test_without_records_last_says_how_to_make_one(run):
    result = run("trace", "show", "last")
    assert result.exit_code == 3
    assert "polyroute ask" in result.stderr


@pytest.mark.parametrize("content", ["hash", "none"])
def test_a_record_without_texts_is_shown_with_its_bill_and_cannot_be_replayed(
    run, configure, tmp_path, content
):
    path = str(tmp_path / "r.jsonl")
    configure(records={"store": "jsonl", "path": path, "content": content})
    run("ask", "a secret")
    shown = run("trace", "show", "last")
    assert shown.exit_code == 0
    assert "secret" not in shown.stdout
    assert "3 calls" in shown.stdout
    replayed = run("trace", "replay", "last")
    assert replayed.exit_code == 3
    assert "content: full" in replayed.stderr


def test_verify_says_how_many_are_as_written(run, stored):
    result = run("trace", "verify")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok: {len(stored)} records as written, head ")


def test_verify_of_no_records_is_ok(run):
    result = run("trace", "verify")
    assert (result.exit_code, result.stdout) == (0, "ok: 0 records as written\n")


@pytest.mark.parametrize(
    ("kind", "number", "tamper"),
    [
        ("changed", 2, lambda ls: [ls[0], ls[1].replace(b"heard: two", b"heard: twa"), ls[2]]),
        ("removed", 2, lambda ls: [ls[0], ls[2]]),
        ("removed", 3, lambda ls: ls[:2]),
        ("reordered", 1, lambda ls: [ls[1], ls[0], ls[2]]),
    ],
)
def test_verify_names_the_first_record_that_is_not_as_written(run, lines, kind, number, tamper):
    lines(tamper)
    result = run("trace", "verify")
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{kind}: record {number} ")
    told = json.loads(run("trace", "verify", "--json").stdout)
    assert (told["ok"], told["broken"]["kind"], told["broken"]["number"]) == (False, kind, number)


def test_verify_finds_a_rewritten_history_by_a_head_kept_elsewhere(run, stored, tmp_path):
    head = run("trace", "verify").stdout.split()[-1]
    assert run("trace", "verify", "--head", head).exit_code == 0
    for file in (tmp_path / "records").iterdir():
        file.unlink()
    run("ask", "-p", "b", "another past")
    assert run("trace", "verify").exit_code == 0
    result = run("trace", "verify", "--head", head)
    assert result.exit_code == 3
    assert result.stdout.startswith("rewritten: ")


@pytest.mark.parametrize("suffix", ["jsonl", "sqlite"])
def test_verify_takes_the_path_of_a_store(run, configure, tmp_path, suffix):
    path = tmp_path / f"other.{suffix}"
    configure(records={"store": suffix, "path": str(path)})
    run("ask", "-p", "b", "x")
    configure()
    assert run("trace", "verify", path).stdout.startswith("ok: 1 record as written")


def test_verify_names_what_a_server_that_was_killed_still_owed(run, stored, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owed = tmp_path / "records" / f"r.jsonl.{ended.pid}.promised"
    owed.write_text(f"{stored[0]}\nt-lost\nhalf-writ")
    result = run("trace", "verify")
    assert result.exit_code == 3
    assert "missing: t-lost" in result.stderr
    assert stored[0] not in result.stderr
    assert json.loads(run("trace", "verify", "--json").stdout)["missing"] == ["t-lost"]


def test_verify_of_a_path_that_is_not_there_names_it(run):
    result = run("trace", "verify", "nowhere.jsonl")
    assert result.exit_code == 3
    assert "nowhere.jsonl" in result.stderr


def test_a_corrupt_line_is_reported_and_the_rest_is_readable(run, lines):
    lines(lambda ls: [ls[0], b"{not json\n", ls[2]])
    result = run("trace", "list")
    assert result.exit_code == 3
    assert [row.split()[-1] for row in result.stdout.splitlines()[1:]] == ["three", "one"]
    assert "line 2 cannot be read" in result.stderr


def test_a_corrupt_database_is_one_clean_message(run, configure, tmp_path):
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4000)
    configure(records={"store": "sqlite", "path": str(path)})
    result = run("trace", "list")
    assert result.exit_code == 3
    assert str(path) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_changed_row_of_a_database_is_named(run, configure, tmp_path):
    path = tmp_path / "r.sqlite"
    configure(records={"store": "sqlite", "path": str(path)})
    for question in ("one", "two"):
        run("ask", "-p", "b", question)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET body = replace(body, 'heard: two', 'heard: twa')")
    database.close()
    result = run("trace", "verify")
    assert result.exit_code == 3
    assert result.stdout.startswith("changed: record 2 ")


@pytest.mark.usefixtures("stored")
def test_replay_derives_the_same_decisions(run):
    run("ask", "a panel")
    result = run("trace", "replay", "last")
    assert result.exit_code == 0
    assert re.fullmatch(r"same: \w+: 2 decisions derived again, each as recorded\n", result.stdout)


@pytest.mark.usefixtures("stored")
def test_replay_of_all_records_counts_them(run):
    result = run("trace", "replay", "--all")
    assert result.exit_code == 0
    assert result.stdout.startswith("same: 3 records: 3 decisions")


@pytest.mark.usefixtures("stored")
def test_replay_of_all_leaves_out_what_names_no_policy_such_as_remembered_answers(run, tmp_path):
    store = JsonlStore(tmp_path / "records" / "r.jsonl")
    (newest,) = store.list(limit=1)
    store.append(replace(newest, id="remembered", policy=None))
    result = run("trace", "replay", "--all")
    assert result.exit_code == 0
    assert result.stdout.startswith("same: 3 records: 3 decisions")
    assert "1 record left out: no policy is named" in result.stderr
    assert run("trace", "replay", "--all", "-p", "b").stderr == ""


def test_replay_shows_the_first_decision_that_differs(run, configure, says):
    configure(policy={"name": "cascade", "order": ["a", "b"], "accept": "says:accept"})
    run("ask", "x")
    says.ACCEPTS = False
    result = run("trace", "replay", "last")
    assert result.exit_code == 4
    assert "step 2 of 2" in result.stdout
    assert "recorded: answers" in result.stdout
    assert "replayed: asks b" in result.stdout


def test_what_another_policy_would_have_decided_is_no_failure(run):
    run("ask", "x")
    result = run("trace", "replay", "last", "--policy", "only-b")
    assert result.exit_code == 0
    assert "step 1 of 2" in result.stdout
    assert "replayed: asks b" in result.stdout


def test_what_another_budget_would_have_decided(run):
    run("ask", "x")
    told = json.loads(run("trace", "replay", "last", "--max-rounds", "1", "--json").stdout)
    assert told["difference"]["replayed"]["type"] == "answer"
    poor = run("trace", "replay", "last", "--max-usd", "0")
    assert poor.exit_code == 0
    assert "would be refused" in poor.stdout


def test_replay_needs_a_record_to_replay(run):
    assert run("trace", "replay").exit_code == 2


def test_exported_lines_verify_against_the_head_of_the_store(run, stored, tmp_path):
    path = tmp_path / "export.jsonl"
    result = run("trace", "export", "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == stored
    head = run("trace", "verify").stdout.split()[-1]
    assert run("trace", "verify", path, "--head", head).stdout.startswith("ok: 3 records")
    without = run("trace", "verify", path)
    assert without.exit_code == 3
    assert "--head" in without.stderr
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert run("trace", "verify", path, "--head", head).exit_code == 3


@pytest.mark.usefixtures("stored")
def test_exported_csv_goes_to_standard_output(run):
    result = run("trace", "export", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["model"] for row in rows] == ["b", "b", "b"]
    assert "3 records written" in result.stderr


def aged(path, *, days):
    """Make a store anew in which every record is so many days older."""
    old = [Record.from_line(line.rstrip()) for line in path.read_bytes().splitlines()]
    for file in path.parent.iterdir():
        file.unlink()
    store = JsonlStore(path)
    for record in old:
        moment = datetime.fromisoformat(record.created_at) - timedelta(days=days)
        store.append(replace(record, created_at=moment.isoformat(timespec="microseconds")))
    store.close()


def test_a_purge_by_age_leaves_the_chain_the_young_and_a_line_in_the_audit_log(
    run, stored, tmp_path, monkeypatch
):
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path / "home"))
    path = tmp_path / "records" / "r.jsonl"
    aged(path, days=31)
    run("ask", "-p", "b", "young")
    would = run("trace", "purge", "--older-than", "30d", "--dry-run")
    assert would.stdout == "would purge 3 records\n"
    assert not (tmp_path / "home" / "audit.jsonl").exists()
    assert run("trace", "purge", "--older-than", "30d").stdout == "purged 3 records\n"
    assert [row.split()[-1] for row in run("trace", "list").stdout.splitlines()[1:]] == ["young"]
    verified = run("trace", "verify")
    assert verified.exit_code == 0
    assert "4 records as written, 3 of them purged" in verified.stdout
    assert run("trace", "show", stored[0]).exit_code == 3
    (noted,) = map(json.loads, (tmp_path / "home" / "audit.jsonl").read_text().splitlines())
    assert (noted["act"], noted["records"]) == ("trace.purge", 3)
    assert run("trace", "purge", "--older-than", "30d").stdout == "purged 0 records\n"


@pytest.mark.usefixtures("stored")
def test_a_purge_says_which_records_by_age_or_by_user(run, tmp_path):
    before = (tmp_path / "records" / "r.jsonl").read_bytes()
    for wrong in ((), ("--older-than", "30d", "--user", "4711"), ("--older-than", "soon")):
        assert run("trace", "purge", *wrong).exit_code == 2
    assert (tmp_path / "records" / "r.jsonl").read_bytes() == before
