"""What the tests of the stores share: finished traces, and both stores."""

from decimal import Decimal

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
def store(request, tmp_path):
    opened = request.param(tmp_path / "new" / "deep" / "records.any")
    yield opened
    opened.close()
