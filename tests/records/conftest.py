"""What the tests of the stores share: finished traces, and both stores."""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import pytest

from polyroute.decision import Answer, Call, Route
from polyroute.pool import ModelCard, Pool, Price
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.records.sqlite import SqliteStore
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Request, Usage

POOL = Pool([ModelCard(id="a", price=Price.per_million("0.1", "0.2")), ModelCard(id="b")])


def _trace(id):
    reply = Reply(model="a", text=f"né {id}", usage=Usage(3, 2), usd=Decimal("0.0000007"))
    route = Route(calls=(Call("a", "sub"),), reason="why")
    trace = Trace(Request.of(f"question {id}", id=id), POOL)
    return trace.with_step(Step(route, (reply,), 0.25)).with_step(Step(Answer(text="42"), (), 0.5))


@pytest.fixture
def trace_of():
    return _trace


@pytest.fixture
def record_of():
    return lambda id, **kw: Record.of(_trace(id), policy={"name": "fixed", "model": "a"}, **kw)


@pytest.fixture(params=[JsonlStore, SqliteStore], ids=["jsonl", "sqlite"])
def file_store(request, tmp_path):
    opened = request.param(tmp_path / "new" / "deep" / "records.any")
    yield opened
    opened.close()


@pytest.fixture(
    params=[JsonlStore, SqliteStore, pytest.param("postgres", marks=pytest.mark.slow)],
    ids=["jsonl", "sqlite", "postgres"],
)
def store(request, tmp_path):
    kind = request.param
    if kind == "postgres":
        kind = request.getfixturevalue("in_postgres")
    opened = kind(tmp_path / "new" / "deep" / "records.any")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The URL of a Postgres of the tests' own."""
    binaries = Path("/usr/lib/postgresql")
    found = sorted(binaries.glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip("needs Postgres (apt-get install postgresql)")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="polyroute-postgres-"))  # sockets need a short path
    running = None
    try:
        user = "nobody" if os.getuid() == 0 else None  # it refuses to run as root
        if user is not None:
            shutil.chown(folder, user)
        run = {"user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        make = [found[-1], "-D", folder / "data", "-U", "tester", "--auth=trust", "--no-sync"]
        subprocess.run(make, check=True, cwd=folder, timeout=120, **run)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        start = [found[-1].with_name("postgres"), "-D", folder / "data", *options]
        running = subprocess.Popen(start, cwd=folder, **run)
        url = f"postgresql://tester@/postgres?host={folder}"
        _await_postgres(url, running)
        yield url
    finally:
        if running is not None:
            running.send_signal(signal.SIGINT)  # ends its sessions too
            running.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _await_postgres(url, running):
    psycopg = pytest.importorskip("psycopg")
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert running.poll() is None, "postgres ended"
            assert time.monotonic() < deadline, "postgres does not answer"
            time.sleep(0.05)


@pytest.fixture
def in_postgres(postgres, monkeypatch):
    """A store that is made from a path, as the others are: each has a schema of its own."""
    from polyroute.records.postgres import PostgresStore

    monkeypatch.setenv("TEST_POSTGRES_URL", postgres)

    class InPostgres(PostgresStore):
        def __init__(self, path):
            name = hashlib.sha256(str(path).encode()).hexdigest()
            super().__init__("TEST_POSTGRES_URL", schema=f"t_{name[:20]}")
            self.path = path

    return InPostgres
