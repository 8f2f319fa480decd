from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Price, Usage
from polyroute.errors import ConfigError, UnknownModelError

POOL = Pool(
    [
        ModelCard(id="gpt-4", aliases=("four",)),
        ModelCard(id="gpt-4-mini", price=Price.per_million("0.15", "0.6", cached="0.075")),
    ]
)


def test_names_match_exactly_and_near_ones_are_only_listed():
    with pytest.raises(UnknownModelError, match="did you mean 'gpt-4'") as caught:
        POOL.card("gpt")
    assert isinstance(caught.value, KeyError)
    assert not str(caught.value).startswith('"')


def test_a_declared_alias_names_its_card():
    assert POOL.card("four").id == "gpt-4"
    assert "four" in POOL
    assert "five" not in POOL


@pytest.mark.parametrize(
    "cards",
    [
        [],
        [ModelCard(id="a"), ModelCard(id="a")],
        [ModelCard(id="a"), ModelCard(id="b", aliases=("a",))],
        [ModelCard(id="a", aliases=("x",)), ModelCard(id="b", aliases=("x",))],
    ],
    ids=["empty", "same id", "alias is an id", "same alias"],
)
def test_an_ambiguous_or_empty_pool_is_refused(cards):
    with pytest.raises(ConfigError):
        Pool(cards)


def test_cached_and_reasoning_tokens_have_their_own_rates():
    price = Price.per_million(1, 2, cached="0.1", reasoning=4, call="0.5")
    usage = Usage(input=1_000_000, output=1_000_000, cached=1_000_000, reasoning=1_000_000)
    assert price.cost(usage) == Decimal("7.6")


def test_cached_and_reasoning_fall_back_to_input_and_output():
    assert Price.per_million(1, 2).cost(Usage(0, 0, 1_000_000, 1_000_000)) == 3


@pytest.mark.parametrize("rates", [{"input": -1, "output": 0}, {"input": "x", "output": 0}])
def test_a_rate_that_is_no_price_is_refused(rates):
    with pytest.raises(ConfigError):
        Price.per_million(**rates)


def test_not_a_number_is_no_price():
    with pytest.raises(ConfigError):
        Price.per_million("nan", 1)


@given(st.permutations(["a", "b", "c", "d"]), st.sets(st.sampled_from("abcd"), min_size=1))
def test_a_smaller_pool_keeps_the_order(order, names):
    pool = Pool(ModelCard(id=name) for name in order)
    assert pool.only(names).ids == tuple(name for name in order if name in names)


def test_cards_survive_json():
    card = ModelCard(
        id="x",
        kind="tool",
        description="d",
        price=Price.per_million("0.1", "0.30", call="0.001"),
        context=10,
        modalities=frozenset({"text", "image"}),
        skills={"math": 0.5},
        latency_s=0.5,
        aliases=("y",),
    )
    assert ModelCard.from_json(card.to_json()) == card


def test_the_digest_changes_with_a_price_and_with_the_order():
    a, b = ModelCard(id="a"), ModelCard(id="b")
    dearer = ModelCard(id="a", price=Price.per_million(1, 1))
    assert len({Pool([a, b]).digest, Pool([b, a]).digest, Pool([dearer, b]).digest}) == 3
    assert Pool([a, b]).digest == Pool([a, b]).digest


def test_a_descriptor_tells_what_a_policy_may_know():
    text = POOL[1].descriptor()
    assert "gpt-4-mini (model; $0.15 in / $0.6 out per million tokens)" in text
    assert "unknown" in POOL[0].descriptor()
