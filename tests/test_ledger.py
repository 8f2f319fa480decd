from dataclasses import replace
from decimal import Decimal

import pytest
from msgspec import structs

from polyroute import Budget, Call, Failure, Message, ModelCard, Pool, Price, Reply, Request, Usage
from polyroute.ledger import Ledger, price, prompt_bound

POOL = Pool(
    [
        ModelCard(id="m", price=Price.per_million(1, 10), max_output=100, aliases=("m-mini",)),
        ModelCard(id="dear", price=Price.per_million(100, 1000)),
        ModelCard(id="unpriced"),
    ]
)
ASK = Request.of("hello")


def test_several_choices_are_reserved_for_each():
    ledger = Ledger(Budget(tokens=10_000), POOL)
    one = ledger.reserve(Call("m", params={"n": 1}), ASK)
    three = ledger.reserve(Call("m", params={"n": 3}), ASK)
    assert three.tokens - one.tokens == 200


def test_settling_frees_what_was_not_used():
    bound = prompt_bound(ASK.messages, {}) + 100
    ledger = Ledger(Budget(tokens=bound), POOL)
    first = ledger.reserve(Call("m"), ASK)
    assert isinstance(ledger.reserve(Call("m"), ASK), Failure)
    ledger.settle(first, Reply(model="m", usage=Usage(0, 0)))
    assert not isinstance(ledger.reserve(Call("m"), ASK), Failure)


def test_an_image_is_reserved_as_large_as_the_window():
    image = Message("user", ({"type": "image_url", "image_url": {"url": "https://x/y.png"}},))
    request = structs.replace(ASK, messages=(image,))
    pool = Pool([replace(POOL[0], context=8_000)])
    budget = Budget(tokens=100_000)
    assert Ledger(budget, pool).reserve(Call("m"), request).tokens >= 8_000


def test_tools_count_into_the_prompt():
    tools = [{"type": "function", "function": {"name": "f" * 500}}]
    assert prompt_bound(ASK.messages, {"tools": tools}) > prompt_bound(ASK.messages, {}) + 500


def test_the_bound_is_never_below_the_bytes_of_the_text():
    messages = (Message("user", "漢字" * 50),)
    assert prompt_bound(messages, {}) >= len(("漢字" * 50).encode())


@pytest.mark.parametrize(
    ("answered_by", "billed"),
    [
        (None, "m"),
        ("m", "m"),
        ("m-mini", "m"),
        ("m-2026-11-22", "m"),
        ("m-mini-20261122", "m"),
        ("dear", "dear"),
        ("m-0613", "m"),
        ("m-5", None),
        ("m-pro", None),
        ("something-else", None),
        ("unpriced", None),
    ],
)
def test_the_card_that_answered_is_billed(answered_by, billed):
    reply = Reply(model="m", usage=Usage(7, 5), answered_by=answered_by)
    want = None if billed is None else POOL.card(billed).price.cost(Usage(7, 5))
    assert price(reply, POOL) == want


def test_a_price_that_the_backend_knows_better_is_kept():
    ledger = Ledger(Budget(), POOL)
    reserved = ledger.reserve(Call("m"), ASK)
    recorded = Reply(model="m", usage=Usage(1, 1), usd=Decimal("0.5"))
    assert ledger.settle(reserved, recorded) == Decimal("0.5")


def test_a_refusal_says_what_did_not_fit_and_what_is_left():
    failure = Ledger(Budget(usd=Decimal("0.000001")), POOL).reserve(Call("dear"), ASK)
    assert "'dear'" in failure.message
    assert "0.000001 usd left" in failure.message
    assert "raise the budget or set max_tokens" in failure.message


def test_what_was_spent_stays_spent():
    worst = Ledger(Budget(usd=Decimal(1)), POOL).reserve(Call("m"), ASK).usd
    ledger = Ledger(Budget(usd=worst), POOL)
    first = ledger.reserve(Call("m"), ASK)
    spent = ledger.settle(first, Reply(model="m", usage=Usage(10, 90)))
    assert spent == Decimal("0.00091")
    assert isinstance(ledger.reserve(Call("m", params={"max_tokens": 90}), ASK), Failure)
