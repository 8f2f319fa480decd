"""What the store in Postgres promises beyond what every store does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from polyroute.cli import app
from polyroute.config import RecordSettings, Settings, build, open_records
from polyroute.errors import ConfigError, RecordError
from polyroute.gateway.app import create_app
from polyroute.records.feedback import Feedback
from polyroute.records.tombstone import older_than

pytest.importorskip("psycopg")
import psycopg

from polyroute.records.postgres import PostgresStore


@pytest.fixture
def kept(in_postgres, tmp_path):
    opened = in_postgres(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def sql(kept, postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {kept._database.schema}")
        yield connection.execute


def test_the_url_is_in_the_environment_and_never_in_an_error(monkeypatch):
    with pytest.raises(ConfigError, match=r"'NOT_SET' is not set"):
        PostgresStore("NOT_SET")
    monkeypatch.setenv("URL", "postgres//me:secret@host/x")
    with pytest.raises(ConfigError, match=r"\$URL holds no URL") as caught:
        PostgresStore("URL")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("URL", "postgresql://me:secret@127.0.0.1:1/x")
    store = PostgresStore("URL", timeout_s=2)
    with pytest.raises(RecordError, match="see that Postgres runs") as caught:
        store.list()
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="small letters"):
        PostgresStore("URL", schema='x"; DROP TABLE records')


def test_the_configuration_names_the_variable(monkeypatch):
    with pytest.raises(ConfigError, match=r"records\.url_env is missing"):
        open_records(RecordSettings(store="postgres"))
    monkeypatch.setenv("URL", "postgresql://127.0.0.1:1/x")
    assert isinstance(open_records(RecordSettings(store="postgres", url_env="URL")), PostgresStore)


APPEND = """
import sys
from polyroute.decision import Answer
from polyroute.pool import ModelCard, Pool
from polyroute.records.postgres import PostgresStore
from polyroute.records.record import Record
from polyroute.trace import Step, Trace
from polyroute.types import Request
schema, name = sys.argv[1:]
store = PostgresStore("TEST_POSTGRES_URL", schema=schema)
pool = Pool([ModelCard(id="a")])
def record(k):
    trace = Trace(Request.of("x", id=f"{name}-{k}"), pool)
    return Record.of(trace.with_step(Step(Answer(text="y"))), policy=None)
for k in range(0, 15, 3):
    store.append(record(k))
    assert not store.append_all([record(k + 1), record(k + 2)])
store.close()
"""


@pytest.mark.slow
def test_four_processes_write_one_chain_and_make_the_tables_once(kept):
    command = [sys.executable, "-c", APPEND, kept._database.schema]
    workers = [subprocess.Popen([*command, f"p{j}"], env=os.environ) for j in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    verdict = kept.verify()
    assert verdict.ok
    assert verdict.count == 60
    for j in range(4):
        mine = [r.id for r in kept if r.id.startswith(f"p{j}-")]
        assert mine == [f"p{j}-{k}" for k in range(15)]


@pytest.mark.slow
def test_each_month_has_its_partition(kept, sql, record_of):
    for k, month in enumerate((11, 12, 1, 11)):
        year = 2026 + (month == 1)
        kept.append(record_of(f"r{k}", created_at=datetime(year, month, 28, 23, 59, tzinfo=UTC)))
    rows = sql("SELECT tableoid::regclass::text, count(*) FROM records GROUP BY 1 ORDER BY 1")
    assert rows.fetchall() == [
        ("records_2026_11", 2),
        ("records_2026_12", 1),
        ("records_2027_01", 1),
    ]
    assert [r.id for r in kept] == ["r0", "r1", "r2", "r3"]
    assert kept.get("r1").created_at.startswith("2026-12")
    assert kept.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE records SET body = replace(body, 'né r2', 'né rX') WHERE number = 3", "changed"),
        ("UPDATE records SET status = 'failed' WHERE number = 3", "changed"),
        ("DELETE FROM records WHERE number = 3", "removed"),
        ("DELETE FROM records WHERE number = 5", "removed"),
        ("UPDATE records SET number = 9 - number WHERE number IN (4, 5)", "reordered"),
    ],
)
def test_any_change_is_found(kept, sql, record_of, change, kind):
    assert not kept.append_all([record_of(f"r{k}") for k in range(5)])
    assert kept.verify().ok
    sql(change)
    verdict = kept.verify()
    assert not verdict.ok
    assert verdict.broken.kind == kind


@pytest.mark.slow
def test_a_batch_keeps_what_it_can_and_a_lost_head_is_made_anew(kept, sql, record_of):
    refused = kept.append_all([record_of("one"), record_of("one"), record_of("two")])
    assert list(refused) == ["one"]
    assert [r.id for r in kept] == ["one", "two"]
    sql("DELETE FROM head")
    assert kept.verify().broken.kind == "head"
    kept.append(record_of("three"))
    assert kept.verify().ok
    assert kept.head().count == 3


@pytest.mark.slow
def test_a_connection_that_was_cut_is_made_anew(kept, sql, record_of):
    kept.append(record_of("one"))
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'polyroute'"
    )
    with pytest.raises(RecordError, match="'two' is lost"):
        kept.append(record_of("two"))
    kept.append(record_of("three"))
    assert [r.id for r in kept] == ["one", "three"]


@pytest.mark.slow
def test_tables_of_a_newer_program_are_left_alone(kept, sql, record_of):
    kept.append(record_of("one"))
    sql("UPDATE version SET number = 99")
    kept.close()
    with pytest.raises(RecordError, match="install a newer one"):
        kept.append(record_of("two"))
    with pytest.raises(RecordError, match="install a newer one"):
        kept.list()


@pytest.mark.slow
def test_what_is_purged_is_gone_from_the_table_and_the_chain_holds(kept, sql, record_of):
    kept.append(record_of("old", created_at=datetime(2020, 1, 1, tzinfo=UTC)))
    kept.append(record_of("new"))
    assert kept.purge(older_than(datetime(2021, 1, 1, tzinfo=UTC)), "age") == 1
    assert [r.id for r in kept] == ["new"]
    with pytest.raises(RecordError, match="was purged"):
        kept.get("old")
    assert sql("SELECT count(*) FROM records WHERE body LIKE '%%question old%%'").fetchone() == (0,)
    verdict = kept.verify()
    assert (verdict.ok, verdict.count, verdict.purged) == (True, 2, 1)


@pytest.mark.slow
def test_the_command_line_lists_verifies_and_exports(kept, record_of, tmp_path, monkeypatch):
    kept.append_all([record_of(f"r{k}") for k in range(3)])
    wire = {
        "pool": [{"id": "a", "backend": {"name": "scripted", "say": "builtins:str"}}],
        "policy": "cheapest",
        "records": {"store": "postgres", "url_env": "SCHEMA_URL"},
    }
    url = os.environ["TEST_POSTGRES_URL"]
    monkeypatch.setenv("SCHEMA_URL", url)
    monkeypatch.setattr(PostgresStore.__init__, "__defaults__", (kept._database.schema, 5, None))
    config = tmp_path / "polyroute.yaml"
    config.write_text(json.dumps({"version": 1, **wire}))
    run = CliRunner().invoke
    listed = run(app, ["trace", "list", "--config", str(config)])
    assert listed.exit_code == 0, listed.output
    assert "r2" in listed.output
    verified = run(app, ["trace", "verify", "--config", str(config)])
    assert verified.exit_code == 0, verified.output
    assert "3 records" in verified.output
    out = tmp_path / "out.jsonl"
    exported = run(app, ["trace", "export", "--output", str(out), "--config", str(config)])
    assert exported.exit_code == 0, exported.output
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["r0", "r1", "r2"]


@pytest.mark.slow
def test_feedback_is_heard_by_every_machine_and_read_from_where_it_stopped(in_postgres, tmp_path):
    one, other = in_postgres(tmp_path), in_postgres(tmp_path)
    assert one.feedback.since(0) == ([], 0)
    said = [Feedback(trace_id=id, reward=reward) for id, reward in (("a", 0), ("b", 1), ("a", 0.5))]
    for feedback, by in zip(said, (one, other, one), strict=True):
        by.feedback.add(feedback)
    assert other.feedback.since(0) == (said, 3)
    assert other.feedback.since(1, until=2) == (said[1:2], 2)
    assert list(other.feedback) == said
    assert one.feedback.rewards() == {"a": 0.5, "b": 1.0}
    one.close()
    other.close()


@pytest.mark.slow
def test_tables_of_an_older_program_are_brought_up_to_date(
    kept, sql, in_postgres, record_of, tmp_path
):
    kept.append(record_of("one"))
    sql("DROP TABLE feedback")
    sql("UPDATE version SET number = 1")
    later = in_postgres(tmp_path)
    assert [record.id for record in later] == ["one"]
    assert later.feedback.since(0) == ([], 0)
    later.close()


@pytest.mark.slow
def test_a_bandit_learns_from_what_another_machine_was_told(in_postgres, tmp_path, monkeypatch):
    (tmp_path / "says.py").write_text("def name(model, prompt):\n    return model\n")
    monkeypatch.syspath_prepend(tmp_path)
    card = {"price": {"input": 1, "output": 1}, "backend": {"name": "scripted", "say": "says:name"}}
    wire = {
        "pool": [{"id": id, **card} for id in ("small", "large")],
        "policy": "thompson",
        "records": {"store": "none"},
    }
    hello = {"model": "polyroute", "messages": [{"role": "user", "content": "hello"}]}
    specs = []
    for machine in ("one", "two"):
        store = in_postgres(tmp_path)
        store.path = tmp_path / machine / "records.postgres"
        setup = replace(build(Settings.model_validate(wire)), records=store)
        with TestClient(create_app(setup)) as client:
            reply = client.post("/v1/chat/completions", json=hello).json()
            trace = reply["polyroute"]["trace_id"]
            specs.append(client.get(f"/v1/traces/{trace}").json()["policy"])
            if machine == "one":
                rated = client.post("/v1/feedback", json={"trace_id": trace, "reward": 1})
                assert rated.status_code == 200, rated.text
    assert "state" not in specs[0]
    assert specs[1]["state"]["sha256"], "it has learned before its first request"
