"""One contract for every engine of shared state."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polyroute.errors import ConfigError, StateError
from polyroute.registry import load, names
from polyroute.state.memory import MemoryState
from polyroute.state.shared import LARGEST, Hold, Shared, units, usd_of
from polyroute.state.sqlite import SqliteState

LATER = time.time() + 600

Make = Callable[[], Shared]


def hold(key: str, amount: int, most: int | None = None, least: int | None = None) -> Hold:
    return Hold(key=key, amount=amount, least=least, most=most, ends_at=LATER)


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "memory":
        yield MemoryState
    elif request.param == "sqlite":
        yield lambda: SqliteState(tmp_path / "state.sqlite")
    else:
        server = request.getfixturevalue("redis_server")
        yield lambda: load("state", "redis")(server.url)


def run(make: Make, work: Callable[[Shared], Awaitable[None]]) -> None:
    async def main() -> None:
        state = make()
        try:
            await work(state)
        finally:
            await state.close()

    asyncio.run(main())


def test_every_engine_is_registered() -> None:
    assert names("state") == ["memory", "redis", "sqlite"]


def test_all_holds_are_granted_or_none(make: Make) -> None:
    async def work(state: Shared) -> None:
        assert isinstance(state, Shared)
        first = await state.take("a", [hold("day", 7, 10), hold("month", 7, 100)])
        assert (first.ok, first.granted, first.left) == (True, (7, 7), (3, 93))
        second = await state.take("b", [hold("month", 7, 100), hold("day", 7, 10)])
        assert (second.ok, second.refused, second.granted) == (False, 1, (0, 0))
        assert await state.read(["day", "month", "other"]) == (7, 7, 0)
        assert not await state.settle("b", {"month": 5})
        third = await state.take("c", [hold("day", 3, 10), hold("uncounted", 9)])
        assert (third.granted, third.left) == ((3, 9), (0, None))

    run(make, work)


def test_what_was_held_is_replaced_by_what_was_spent_once(make: Make) -> None:
    async def work(state: Shared) -> None:
        await state.take("a", [hold("day", 50, 100), hold("month", 50, 100)])
        assert await state.settle("a", {"day": 12, "month": 12})
        assert not await state.settle("a", {"day": 12}), "a repeated message changes nothing"
        assert await state.read(["day", "month"]) == (12, 12)
        await state.take("b", [hold("day", 50, 100)])
        assert await state.settle("b", {})
        assert await state.read(["day"]) == (12,)
        await state.take("c", [hold("day", 1, 100)])
        await state.settle("c", {"day": 200})
        over = await state.take("d", [hold("day", 1, 100)])
        assert (over.refused, over.left) == (0, (-112,))

    run(make, work)


def test_a_hold_takes_what_is_left_down_to_its_least(make: Make) -> None:
    async def work(state: Shared) -> None:
        await state.take("a", [hold("day", 90, 100)])
        part = await state.take("b", [hold("day", 50, 100, least=10)])
        assert (part.granted, part.left) == ((10,), (0,))
        none = await state.take("c", [hold("day", 50, 100, least=1)])
        assert (none.refused, none.granted) == (0, (0,))
        nothing = await state.take("d", [hold("day", 0, 100)])
        assert nothing.ok

    run(make, work)


def test_large_sums_are_exact_to_the_last_unit(make: Make) -> None:
    """A double has no room for a unit beside a million dollars; the counters have."""
    million = units(Decimal(1_000_000))
    most = million + 3

    async def work(state: Shared) -> None:
        step = LARGEST - 1
        k = 0
        while (left := most - sum(await state.read(["day"]))) > 3:
            taken = await state.take(f"big{k}", [hold("day", min(step, left - 3), most)])
            assert taken.ok
            k += 1
        assert await state.read(["day"]) == (million,)
        assert (await state.take("x", [hold("day", 4, most)])).refused == 0
        assert (await state.take("y", [hold("day", 3, most)])).left == (0,)
        assert (await state.take("z", [hold("day", 1, most)])).refused == 0

    run(make, work)


def test_nothing_is_granted_beyond_the_limit_under_concurrency(make: Make) -> None:
    async def work(state: Shared) -> None:
        async def one(k: int) -> int:
            taken = await state.take(f"id{k}", [hold("day", 10, 95), hold("count", 1)])
            if not taken.ok:
                return 0
            await asyncio.sleep(0)
            await state.settle(f"id{k}", {"day": k % 10, "count": 1})
            return k % 10

        spent = sum(await asyncio.gather(*(one(k) for k in range(60))))
        assert (await state.read(["day"]))[0] == spent <= 95

    run(make, work)


def test_the_sum_is_that_of_a_ledger_of_decimals(make: Make) -> None:
    """A random history against plain arithmetic."""
    rng = random.Random(5)

    async def work(state: Shared) -> None:
        bills = [Decimal(rng.randrange(10**9)).scaleb(-12) for _ in range(40)]
        for k, bill in enumerate(bills):
            await state.take(f"t{k}", [hold("day", units(Decimal("0.01")), units(Decimal(5)))])
            await state.settle(f"t{k}", {"day": units(bill)})
        assert usd_of((await state.read(["day"]))[0]) == sum(bills)

    run(make, work)


def test_values_are_remembered_for_their_time(make: Make) -> None:
    async def work(state: Shared) -> None:
        assert await state.get("k") is None
        assert await state.put("k", b"\x00one", ttl_s=60)
        assert not await state.put("k", b"two", ttl_s=60, if_absent=True)
        assert await state.get("k") == b"\x00one"
        await state.delete("k", "unknown")
        assert await state.get("k") is None
        await state.put("short", b"x", ttl_s=0.001)
        deadline = time.monotonic() + 5
        while await state.get("short") is not None and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        assert await state.get("short") is None
        assert await state.put("short", b"y", ttl_s=60, if_absent=True)

    run(make, work)


def test_a_counter_of_a_window_that_is_long_over_is_gone(make: Make) -> None:
    async def work(state: Shared) -> None:
        gone = Hold(key="old", amount=5, most=5, ends_at=time.time() - 7200)
        assert (await state.take("a", [gone])).ok
        assert await state.read(["old"]) == (0,)
        await state.settle("a", {"old": 3})
        assert await state.read(["old"]) == (0,)

    run(make, work)


_TAKE_MANY = """
import asyncio, sys
from polyroute.registry import load
from polyroute.state.shared import Hold

engine, where, name, most, ends_at = sys.argv[1:]

async def main():
    state = load("state", engine)(where)
    done = 0
    for k in range(80):
        hold = Hold(key="day", amount=3, most=int(most), ends_at=float(ends_at))
        done += (await state.take(f"{name}{k}", [hold])).granted[0]
    await state.close()
    print(done)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "redis"])
def test_two_processes_share_one_limit(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = str(tmp_path / "state.sqlite")
    if engine == "redis":
        where = request.getfixturevalue("redis_server").url
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKE_MANY, engine, where, name, "300", str(LATER)],
            stdout=subprocess.PIPE,
        )
        for name in "ab"
    ]
    total = sum(int(worker.communicate(timeout=60)[0]) for worker in workers)
    assert total == 300


@pytest.mark.slow
def test_redis_that_is_gone_is_an_error_and_comes_back_without_a_restart(redis_server: Any) -> None:
    async def main() -> None:
        state = load("state", "redis")(redis_server.url)
        assert (await state.take("a", [hold("day", 4, 10)])).ok
        redis_server.stop()
        for _ in range(3):
            with pytest.raises(StateError, match="Redis cannot be reached"):
                await state.take("b", [hold("day", 4, 10)])
            with pytest.raises(StateError):
                await state.settle("a", {"day": 1})
        redis_server.start()
        assert await state.settle("a", {"day": 1}), "what was counted is there again"
        assert await state.read(["day"]) == (1,)
        await state.close()

    asyncio.run(main())


def test_sqlite_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def main() -> None:
        state = SqliteState(tmp_path / "file" / "state.sqlite")
        with pytest.raises(StateError, match="cannot be used"):
            await state.read(["k"])

    asyncio.run(main())


def test_a_hold_that_cannot_be_exact_is_refused() -> None:
    for amount, least, most in ((-1, None, None), (LARGEST + 1, None, None), (1, 2, None)):
        with pytest.raises(ConfigError):
            hold("k", amount, most, least)
    with pytest.raises(ConfigError):
        hold("k", 1, -1)


def test_dollars_are_rounded_up_to_a_unit_and_read_back() -> None:
    assert units(Decimal("0.1") / 3) == 33333333334
    assert usd_of(units(Decimal("12.340000000001"))) == Decimal("12.340000000001")
    assert str(usd_of(units(Decimal(100)))) == "100"


def test_the_password_of_redis_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    make = load("state", "redis")
    with pytest.raises(ConfigError, match="must not hold a password"):
        make("redis://:hunter2@127.0.0.1/0")
    with pytest.raises(ConfigError, match="'NO_SUCH'"):
        make("redis://127.0.0.1/0", "NO_SUCH")
    with pytest.raises(ConfigError, match=r"state\.url"):
        make("http://127.0.0.1")


@pytest.mark.slow
def test_many_at_once_share_few_connections_to_redis(redis_server: Any) -> None:
    async def test() -> None:
        state = load("state", "redis")(redis_server.url, timeout_s=20, connections=3)
        ends_at = time.time() + 60
        holds = [Hold(key="n", amount=1, most=100, ends_at=ends_at)]
        taken = await asyncio.gather(*(state.take(str(k), holds) for k in range(200)))
        assert sum(one.ok for one in taken) == 100
        clients = await state._redis.client_list()
        assert len(clients) <= 3
        await state.close()

    asyncio.run(test())
