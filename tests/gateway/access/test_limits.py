"""What a key may spend, counted against a backend that bills what it likes."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from polyroute import Answer, Call, ModelCard, Pool, Price, Reply, Request, Route, Step, Trace
from polyroute.decision import Failure
from polyroute.errors import StateError
from polyroute.gateway.access.keys import AccessKey, digest
from polyroute.gateway.access.limits import Limits, windows
from polyroute.gateway.access.ring import KeyRing
from polyroute.gateway.asked import Asked
from polyroute.gateway.caller import Caller
from polyroute.gateway.catalogue import Choice
from polyroute.gateway.errors import ApiError
from polyroute.gateway.run import Outcome
from polyroute.policies.fixed import Fixed
from polyroute.state.memory import MemoryState
from polyroute.state.shared import usd_of
from polyroute.types import Budget, Message, Usage

NOON = datetime(2026, 2, 27, 12, tzinfo=UTC).timestamp()
CENT = Decimal("0.01")
POOL = Pool([ModelCard(id="a", price=Price.per_million(1, 2)), ModelCard(id="b")])


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> float:
        return self.at


def key(**limits: Any) -> AccessKey:
    sha256 = digest(b"k").hex()
    wire = {"id": sha256[:12], "sha256": sha256, "name": "k", "created_at": "2026-01-01T00:00:00Z"}
    return AccessKey.model_validate({**wire, **limits})


def asked(usd: Decimal | None = CENT, *, model: str = "polyroute", tokens: int = 100) -> Asked:
    card = None if model == "polyroute" else model
    choice = Choice(
        name="default" if card is None else "fixed",
        policy=Fixed("a"),
        spec={"name": "fixed", "model": "a"},
        card=card,
    )
    request = Request(
        id="r",
        messages=(Message("user", "x" * 40),),
        budget=Budget(usd=usd),
        params={"max_tokens": tokens},
    )
    return Asked(
        request=request, choice=choice, pool=POOL, restricted=False, model=model, stream=False,
        include_usage=False, show_trace=False,
    )  # fmt: skip


def outcome(usd: Decimal | None, total: int | None = 110) -> Outcome:
    usage = None if total is None else Usage(total)
    failure = Failure("timeout", "cut off") if usd is None else None
    reply = Reply(model="a", text="42", usage=usage, usd=usd, failure=failure)
    steps = (Step(Route(calls=(Call("a"),)), (reply,)), Step(Answer(text="42")))
    return Outcome(trace=Trace(Request.of("?", id="r"), POOL, steps))


@dataclass
class World:
    limits: Limits
    state: MemoryState
    clock: Clock
    caller: Caller
    key: AccessKey

    async def used(self) -> dict[str, int]:
        listed = windows(self.key, self.clock())
        counted = await self.state.read([window.counter for window in listed])
        return dict(zip((window.kind for window in listed), counted, strict=True))


def world(state: Any = None, *, open_on_loss: bool = False, **limits: Any) -> World:
    clock, mine = Clock(), key(**limits)
    state = state or MemoryState(clock)
    ring = KeyRing([mine], pool=POOL, clock=clock)
    caller = ring.caller({"headers": [(b"authorization", b"Bearer k")]})
    gate = Limits(ring, state, open_on_loss=open_on_loss, clock=clock)
    return World(gate, state, clock, caller, mine)


async def refused(here: World, request: Asked) -> ApiError:
    with pytest.raises(ApiError) as error:
        await here.limits.admit(here.caller, request)
    return error.value


def test_the_budget_of_a_request_is_what_its_key_has_left() -> None:
    async def main() -> None:
        here = world(usd_per_day=Decimal("0.025"), usd_per_month=1)
        first = await here.limits.admit(here.caller, asked())
        second = await here.limits.admit(here.caller, asked())
        third = await here.limits.admit(here.caller, asked())
        budgets = [one.asked.request.budget.usd for one in (first, second, third)]
        assert budgets == [CENT, CENT, Decimal("0.005")]
        error = await refused(here, asked())
        assert (error.status, error.code) == (429, "insufficient_quota")
        assert error.headers == {"retry-after": str(12 * 3600), "x-should-retry": "false"}
        assert "$0.025" in error.message
        await first.lease.settle(outcome(Decimal("0.001")))
        fourth = await here.limits.admit(here.caller, asked())
        assert fourth.asked.request.budget.usd == Decimal("0.009")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("came", "spent"),
    [
        (None, Decimal(0)),
        (outcome(Decimal("0.000000123457")), Decimal("0.000000123457")),
        (outcome(None), CENT),
    ],
    ids=["never began", "exact", "unknown price costs what was held"],
)
def test_a_request_costs_its_key_its_exact_bill(came: Outcome | None, spent: Decimal) -> None:
    async def main() -> None:
        here = world(usd_per_day=1, usd_per_month=2)
        admission = await here.limits.admit(here.caller, asked())
        held = await here.used()
        assert usd_of(held["usd_per_day"]) == CENT
        await admission.lease.settle(came)
        await admission.lease.settle(outcome(Decimal("0.5")))
        assert {kind: usd_of(n) for kind, n in (await here.used()).items()} == {
            "usd_per_day": spent,
            "usd_per_month": spent,
        }

    asyncio.run(main())


def test_a_key_with_money_for_a_hundred_never_pays_for_more() -> None:
    """Two hundred at once, each billed between nothing and all that it was given."""

    async def main() -> None:
        here = world(usd_per_day=Decimal("1.00"))
        bills: list[Decimal] = []

        async def one(k: int) -> int:
            try:
                admission = await here.limits.admit(here.caller, asked())
            except ApiError as error:
                return error.status
            given = admission.asked.request.budget.usd
            assert given is not None
            for _ in range(k % 7):
                await asyncio.sleep(0)
            bill = given if k % 2 else given * Decimal("0.731")
            bills.append(bill)
            assert sum(bills) <= 1
            await admission.lease.settle(outcome(bill))
            return 200

        statuses = await asyncio.gather(*(one(k) for k in range(200)))
        assert set(statuses) == {200, 429}
        assert usd_of((await here.used())["usd_per_day"]) == sum(bills) <= 1
        late = [await one(k) for k in range(200)]
        assert sum(bills) <= 1
        assert late[-1] == 429

    asyncio.run(main())


def test_a_minute_a_day_and_a_month_begin_anew() -> None:
    async def main() -> None:
        here = world(requests_per_minute=2, usd_per_day=CENT, usd_per_month=Decimal("0.02"))
        await here.limits.admit(here.caller, asked(Decimal(0)))
        await here.limits.admit(here.caller, asked(CENT))
        error = await refused(here, asked(Decimal(0)))
        assert (error.code, error.headers) == ("rate_limit_exceeded", {"retry-after": "60"})
        here.clock.at += 60
        assert (await refused(here, asked())).code == "insufficient_quota"
        here.clock.at += 86_400
        await here.limits.admit(here.caller, asked())
        here.clock.at += 60
        assert "month" not in (await refused(here, asked())).message, "the day is used up first"
        here.clock.at = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
        assert (await here.limits.admit(here.caller, asked())).asked.request.budget.usd == CENT

    asyncio.run(main())


def test_tokens_are_estimated_while_they_run_and_counted_as_they_were() -> None:
    async def main() -> None:
        here = world(tokens_per_minute=250)
        first = await here.limits.admit(here.caller, asked())
        second = await here.limits.admit(here.caller, asked())
        assert (await here.used())["tokens_per_minute"] == 220, "40 characters are 10 tokens"
        assert (await refused(here, asked())).code == "rate_limit_exceeded"
        await first.lease.settle(outcome(CENT, total=30))
        await second.lease.settle(outcome(CENT, total=None))
        assert (await here.used())["tokens_per_minute"] == 30 + 110
        here.clock.at += 60
        whole = await here.limits.admit(here.caller, asked(tokens=100_000))
        assert whole.asked.request.budget.tokens is None

    asyncio.run(main())


def test_a_request_without_a_budget_holds_its_cap_or_all_that_is_left() -> None:
    async def main() -> None:
        here = world(usd_per_day=1, usd_per_request=CENT)
        admission = await here.limits.admit(here.caller, asked(None))
        assert admission.asked.request.budget.usd == CENT
        here = world(usd_per_day=1)
        admission = await here.limits.admit(here.caller, asked(None))
        assert admission.asked.request.budget.usd == 1
        assert (await refused(here, asked(None))).status == 429
        here = world(usd_per_request=CENT)
        admission = await here.limits.admit(here.caller, asked(Decimal(5)))
        assert admission.asked.request.budget.usd == CENT

    asyncio.run(main())


@pytest.mark.parametrize(
    ("allowed", "request_", "code"),
    [
        ({"policies": ["other"]}, asked(), "policy_not_allowed"),
        ({"policies": ["default"]}, asked(model="a"), "policy_not_allowed"),
        ({"cards": ["b"]}, asked(model="a"), "model_not_allowed"),
        ({"cards": ["gone"]}, asked(), "model_not_allowed"),
        ({"policies": ["default"], "cards": ["a", "b"]}, asked(), None),
        ({"policies": ["fixed"], "cards": ["a"]}, asked(model="a"), None),
    ],
)
def test_a_key_asks_for_what_it_is_allowed(
    allowed: dict[str, Any], request_: Asked, code: str | None
) -> None:
    async def main() -> None:
        here = world(**allowed)
        if code is not None:
            error = await refused(here, request_)
            assert (error.status, error.code, error.type) == (403, code, "permission_error")
            return
        admitted = (await here.limits.admit(here.caller, request_)).asked
        assert set(admitted.pool.ids) <= set(allowed["cards"])
        assert admitted.restricted == (len(admitted.pool) < len(POOL))

    asyncio.run(main())


class Broken(MemoryState):
    """A state that is gone while `gone` is set; what it was told then may have arrived or not."""

    gone = False
    arrives = False

    async def take(self, id: str, holds: Any) -> Any:
        if self.gone and not self.arrives:
            raise StateError("gone")
        taken = await super().take(id, holds)
        if self.gone:
            raise StateError("gone")
        return taken

    async def settle(self, id: str, spent: Any) -> bool:
        if self.gone:
            raise StateError("gone")
        return await super().settle(id, spent)


@pytest.mark.parametrize("arrives", [False, True])
def test_lost_state_refuses_requests_and_is_settled_when_it_is_back(arrives: bool) -> None:
    async def main() -> None:
        state = Broken()
        here = world(state, usd_per_day=1)
        here.clock.at = time.time()
        first = await here.limits.admit(here.caller, asked())
        state.gone, state.arrives = True, arrives
        error = await refused(here, asked())
        assert (error.status, error.code) == (503, "limits_unavailable")
        assert error.headers["retry-after"] == "1"
        await first.lease.settle(outcome(Decimal("0.002")))
        assert here.limits.owed == 2
        state.gone = False
        second = await here.limits.admit(here.caller, asked())
        await second.lease.settle(outcome(Decimal("0.001")))
        assert here.limits.owed == 0
        assert usd_of((await here.used())["usd_per_day"]) == Decimal("0.003")

    asyncio.run(main())


def test_lost_state_lets_requests_in_when_that_is_declared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        state = Broken()
        state.gone = True
        here = world(state, open_on_loss=True, usd_per_day=1)
        admission = await here.limits.admit(here.caller, asked())
        await admission.lease.settle(outcome(CENT))
        assert admission.asked.request.budget.usd == CENT

    asyncio.run(main())
    assert "let in uncounted" in caplog.text


def test_a_client_that_leaves_while_it_is_admitted_leaves_nothing_held() -> None:
    class Slow(MemoryState):
        async def take(self, id: str, holds: Any) -> Any:
            taken = await super().take(id, holds)
            await asyncio.sleep(60)
            return taken

    async def main() -> None:
        state = Slow()
        here = world(state, usd_per_day=1)
        here.clock.at = time.time()
        admitting = asyncio.create_task(here.limits.admit(here.caller, asked()))
        await asyncio.sleep(0)
        admitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admitting
        await here.limits.settle("other", {})
        assert await here.used() == {"usd_per_day": 0}

    asyncio.run(main())


def test_the_windows_of_december_end_with_the_year() -> None:
    at = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC).timestamp()
    listed = windows(key(requests_per_minute=1, usd_per_day=1, usd_per_month=1), at)
    assert [window.ends_at - at for window in listed] == [30, 30, 30]
    assert [window.counter.split("/")[2] for window in listed[1:]] == ["2026-12-31", "2026-12"]


def test_a_caller_without_a_key_of_the_file_is_not_counted() -> None:
    async def main() -> None:
        here = world(usd_per_day=1)
        request, nobody = asked(), replace(here.caller, id="other")
        assert (await here.limits.admit(nobody, request)).asked is request

    asyncio.run(main())
