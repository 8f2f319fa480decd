"""Cost from prompt length, against prices computed exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Price, Request, Usage
from polyroute.errors import ConfigError
from polyroute.estimators.token_cost import TokenCost

PRICED = ModelCard(id="priced", price=Price.per_million(2, 8, call="0.0001"))
TOKENS = [10, 400, 25, 3_000, 90]
REQUESTS = [Request.of("x" * (4 * tokens)) for tokens in TOKENS]


def billed(price, prompt, completion):
    return float(price.cost(Usage(input=prompt, output=completion)))


@given(completion=st.integers(1, 5_000), tokens=st.integers(0, 20_000))
def test_a_constant_answer_length_is_priced_as_the_ledger_would(completion, tokens):
    pool = Pool([PRICED])
    target_NM = np.log10([[billed(PRICED.price, k, completion)] for k in TOKENS])
    cost = TokenCost().fit(REQUESTS, target_NM, pool)
    found = 10 ** cost.predict([Request.of("x" * (4 * tokens))], pool)[0, 0]
    assert found == pytest.approx(billed(PRICED.price, tokens, completion), rel=1e-6)


def test_without_a_price_the_line_is_learned_from_the_bills():
    pool = Pool([ModelCard(id="bare")])
    target_NM = np.log10([[billed(PRICED.price, k, 120)] for k in TOKENS])
    found = 10 ** TokenCost().fit(REQUESTS, target_NM, pool).predict(REQUESTS, pool)
    np.testing.assert_allclose(found, 10**target_NM, rtol=1e-6)


def test_a_card_never_called_is_priced_by_its_card_and_the_others_answers():
    target_NM = np.log10([[billed(PRICED.price, k, 120)] for k in TOKENS])
    cost = TokenCost().fit(REQUESTS, target_NM, Pool([PRICED]))
    new = ModelCard(id="new", price=Price.per_million(1, 3))
    found = 10 ** cost.predict(REQUESTS, Pool([new]))[:, 0]
    np.testing.assert_allclose(found, [billed(new.price, k, 120) for k in TOKENS], rtol=1e-6)


def test_known_answer_lengths_stand_in_for_observations():
    target_NM = np.log10([[billed(PRICED.price, k, 120)] for k in TOKENS])
    cost = TokenCost(completion_tokens={"new": 900}).fit(REQUESTS, target_NM, Pool([PRICED]))
    new = ModelCard(id="new", price=Price.per_million(1, 3))
    found = 10 ** cost.predict(REQUESTS, Pool([new]))[:, 0]
    np.testing.assert_allclose(found, [billed(new.price, k, 900) for k in TOKENS], rtol=1e-6)


def test_a_card_without_price_or_bills_is_unknown():
    cost = TokenCost().fit(REQUESTS, np.full((5, 1), -3.0), Pool([PRICED]))
    assert np.isnan(cost.predict(REQUESTS, Pool([ModelCard(id="bare")]))).all()


def test_the_logarithm_is_predicted_without_bias():
    rng = np.random.default_rng(0)
    pool = Pool([PRICED, ModelCard(id="bare")])
    requests = [Request.of("x" * n) for n in rng.integers(1, 4_000, 400)]
    usd_NM = [[billed(PRICED.price, len(r.prompt) // 4, int(k)) for k in rng.integers(1, 900, 2)]
              for r in requests]  # fmt: skip
    found_NM = TokenCost().fit(requests, np.log10(usd_NM), pool).predict(requests, pool)
    np.testing.assert_allclose(found_NM.mean(axis=0), np.log10(usd_NM).mean(axis=0), atol=1e-9)


def test_a_length_of_zero_is_refused():
    with pytest.raises(ConfigError, match="new"):
        TokenCost(completion_tokens={"new": 0})
