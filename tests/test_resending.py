"""What the loop does with a call that is sent more than once: the bill has every sending."""

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from polyroute import Budget, Failure, ModelCard, Pool, Price, Reply, Request, Usage, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.policies.fixed import Fixed
from polyroute.records.codec import step_from_json, step_to_json

POOL = Pool([ModelCard(id="m", price=Price.per_million(1, 10), max_output=100)])
LOST = Reply(model="m", usage=None, instance="b", failure=Failure("cancelled", "too late"))
ONE = Usage(10, 5)
ONE_USD = Decimal("0.00006")


class Hedging:
    """Sends a second time where it may, and says what came of both."""

    def __init__(self, lost=LOST, hangs=False, forgets=False):
        self.lost, self.hangs, self.forgets = lost, hangs, forgets
        self.allowed = None

    async def complete(self, call, trace, emit=None):
        return await self.complete_or_resend(call, trace, emit, lambda: False)

    async def complete_or_resend(self, call, trace, emit, reserve):
        self.allowed = reserve()
        if self.hangs:
            await asyncio.sleep(3600)
        discarded = (self.lost,) if self.allowed and not self.forgets else ()
        return Reply(model="m", text="yes", usage=ONE, instance="a", discarded=discarded)

    async def close(self):
        pass


def ask(backend, **budget):
    request = Request.of("hello", budget=Budget(**budget))
    return asyncio.run(run_episode(Fixed("m"), backend, request, POOL))


def test_the_bill_of_a_sending_nobody_knows_is_unknown_and_shown():
    trace = ask(Hedging())
    assert trace.bill.usd == ONE_USD
    assert trace.bill.unknown == 1
    assert trace.usd is None
    assert [lost.instance for lost in trace.final.discarded] == ["b"]


def test_a_known_one_is_added_to_the_last_digit():
    trace = ask(Hedging(replace(LOST, usage=Usage(10, 1))))
    assert trace.usd == ONE_USD + Decimal("0.00002")
    assert trace.usage == Usage(20, 6)


def test_a_second_sending_that_does_not_fit_into_the_budget_is_not_made():
    worst = Decimal("0.001") + Decimal(100) / 1_000_000  # 100 completion tokens, a short prompt
    roomy, tight = Hedging(), Hedging()
    ask(roomy, usd=2 * worst + Decimal("0.001"))
    trace = ask(tight, usd=worst + Decimal("0.0005"))
    assert roomy.allowed
    assert not tight.allowed
    assert trace.usd == ONE_USD


def test_what_nobody_knows_stays_reserved():
    trace = ask(Hedging(), usd=Decimal("0.01"))
    assert trace.rest is None


@pytest.mark.parametrize("backend", [Hedging(hangs=True), Hedging(forgets=True)])
def test_a_sending_that_was_reserved_is_shown_whatever_the_backend_says(backend):
    trace = ask(backend, seconds=0.05)
    assert len(trace.replies[0].discarded) == 1
    assert trace.usd is None


def test_it_passes_through_the_backends_of_a_pool():
    backend = Hedging()
    assert len(ask(ByCard({"m": backend})).final.discarded) == 1


def test_records_keep_it():
    step = ask(Hedging()).steps[0]
    assert step_from_json(step_to_json(step)) == step
    plain = ask(Hedging(), usd=Decimal("0.0013")).steps[0]
    assert "discarded" not in step_to_json(plain)["replies"][0]
