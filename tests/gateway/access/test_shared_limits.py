"""Two servers, one Redis, one key: what both spend together stays within its budget."""

import importlib.util
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

_CONFTEST = Path(__file__).parents[2] / "state" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("state_conftest", _CONFTEST)
assert _SPEC is not None
_STATE = importlib.util.module_from_spec(_SPEC)
sys.modules["state_conftest"] = _STATE
assert _SPEC.loader is not None
_SPEC.loader.exec_module(_STATE)
redis_server = _STATE.redis_server

_SERVER = """
import asyncio, json, random, sys
from decimal import Decimal
from msgspec.structs import replace
from polyroute import Answer, Call, ModelCard, Pool, Price, Reply, Request, Route, Step, Trace
from polyroute.gateway.access.keys import AccessKey, digest
from polyroute.gateway.access.limits import Limits
from polyroute.gateway.access.ring import KeyRing
from polyroute.gateway.asked import Asked
from polyroute.gateway.catalogue import Choice
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.policies.fixed import Fixed
from polyroute.registry import load
from polyroute.types import Budget, Usage

url, seed = sys.argv[1:]
rng = random.Random(int(seed))
pool = Pool([ModelCard(id="a", price=Price.per_million(1, 2))])
sha = digest(b"k").hex()
key = AccessKey.model_validate({"id": sha[:12], "sha256": sha, "name": "k",
    "created_at": "2026-01-01T00:00:00Z", "usd_per_month": "1.00"})
ring = KeyRing([key], pool=pool)
caller = ring.caller({"headers": [(b"authorization", b"Bearer k")]})
choice = Choice(name="default", policy=Fixed("a"), spec={"name": "fixed", "model": "a"})

async def main():
    state = load("state", "redis")(url, timeout_s=5)
    limits = Limits(ring, state)
    bills, refused = [], 0

    async def one(k):
        nonlocal refused
        request = replace(Request.of("?", id=f"r{k}"), budget=Budget(usd=Decimal("0.01")))
        asked = Asked(request=request, choice=choice, pool=pool, restricted=False,
            model="polyroute", stream=False, include_usage=False, show_trace=False)
        try:
            admission = await limits.admit(caller, asked)
        except ApiError as error:
            assert error.status in (429, 503), error  # used up, or Redis too slow: never let in
            refused += 1
            return
        given = admission.asked.request.budget.usd
        await asyncio.sleep(rng.random() / 100)
        bill = given * rng.randrange(500, 1001) / 1000
        bills.append(bill)
        reply = Reply(model="a", text="x", usage=Usage(1), usd=bill)
        steps = (Step(Route(calls=(Call("a"),)), (reply,)), Step(Answer(text="x")))
        await admission.lease.settle(Outcome(trace=Trace(request, pool, steps)))

    await asyncio.gather(*(one(k) for k in range(200)))
    await state.close()
    print(json.dumps({"spent": str(sum(bills)), "refused": refused}))

asyncio.run(main())
"""


@pytest.mark.slow
def test_two_servers_that_share_redis_spend_one_budget(
    redis_server: Any,
) -> None:
    command = [sys.executable, "-c", _SERVER, redis_server.url]
    servers = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE) for seed in (1, 2)]
    said = [json.loads(server.communicate(timeout=600)[0]) for server in servers]
    spent = sum(Decimal(one["spent"]) for one in said)
    assert 0 < spent <= 1
    assert all(one["refused"] > 0 for one in said)
