import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Price
from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.train.examples import Examples

QUERIES = [
    {"query_id": "q1", "prompt": "2 + 2?", "split": "train"},
    {"query_id": "q2", "prompt": "Why?", "split": "train"},
    {"query_id": "q3", "prompt": "Who?", "split": "val"},
    {"query_id": "q4", "prompt": "Unscored.", "split": "val"},
]
RESPONSES = [
    {"query_id": "q1", "model": "a", "score": 1.0, "cost_usd": 0.01},
    {"query_id": "q1", "model": "a", "score": 0.0, "cost_usd": 0.03, "sample": 1},
    {"query_id": "q2", "model": "b", "score": 0.5},
    {"query_id": "q3", "model": "b", "score": 1.0, "cost_usd": 0.0},
    {"query_id": "q4", "model": "a", "score": None},
]
TABLE = OutcomeTable.of(QUERIES, RESPONSES)


def test_what_was_not_observed_is_not_zero():
    found = Examples.of(TABLE)
    assert [request.prompt for request in found.requests] == ["2 + 2?", "Why?", "Who?"]
    np.testing.assert_array_equal(found.quality_NM, [[0.5, np.nan], [np.nan, 0.5], [np.nan, 1.0]])
    np.testing.assert_array_equal(found.usd_NM, [[0.02, np.nan], [np.nan, np.nan], [np.nan, 0.0]])
    assert np.isnan(found.log_usd_NM[1]).all()
    assert found.log_usd_NM[2, 1] == -9.0  # a free call
    assert found.log_usd_NM[0, 0] == pytest.approx(np.log10(0.02))


def test_cards_are_those_of_the_pool_that_the_table_knows():
    price = Price.per_million(1, 2)
    pool = Pool([ModelCard(id="other"), ModelCard(id="bee", price=price, aliases=("b",))])
    found = Examples.of(TABLE, splits=["val"], pool=pool)
    assert found.pool.ids == ("bee",)
    assert found.pool[0].price == price
    assert found.quality_NM.tolist() == [[1.0]]


def test_what_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no split 'dev', only 'train', 'val'"):
        Examples.of(TABLE, splits=["dev"])
    with pytest.raises(ConfigError, match="none of the cards c; it has a, b"):
        Examples.of(TABLE, pool=Pool([ModelCard(id="c")]))
    with pytest.raises(ConfigError, match="nothing to learn from"):
        Examples.of(TABLE.only(np.array([False, False, False, True])))
    with pytest.raises(ConfigError, match="too few"):
        Examples.of(TABLE, splits=["val"]).held_out(0.2)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 99))
def test_the_held_out_part_is_divided_by_question(table, seed):
    whole = Examples.of(table)
    part, held = whole.held_out(0.2, seed=seed)
    assert not {r.prompt for r in part.requests} & {r.prompt for r in held.requests}
    assert len(part) + len(held) == len(whole) == 300
    assert 25 < len(held) < 100
    shuffled = whole.rows(np.arange(300)[::-1]).held_out(0.2, seed=seed)[1]
    assert {r.id for r in shuffled.requests} == {r.id for r in held.requests}


def test_the_hash_is_that_of_everything_learned_from(table):
    whole = Examples.of(table)
    assert whole.digest == Examples.of(table).digest
    others = [whole.rows(np.arange(299)), whole.only(["small"]), whole.rows(np.arange(300)[::-1])]
    assert len({whole.digest, *(one.digest for one in others)}) == 4
