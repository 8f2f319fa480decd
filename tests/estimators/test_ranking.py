import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from polyroute.errors import ConfigError
from polyroute.estimators.factorization import Factorization
from polyroute.estimators.ranking import Ranking
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import State
from polyroute.types import Request

POOL = Pool(
    ModelCard(id=name, price=Price.per_million(usd, usd))
    for name, usd in [("cheap", 1), ("middle", 10), ("dear", 100)]
)


class Rows:
    """An encoder whose texts are row numbers."""

    def __init__(self, rows_NV):
        self.rows_NV = rows_NV.astype(np.float32)

    def fit(self, texts):
        return self

    def encode(self, texts):
        return self.rows_NV[[int(text) for text in texts]]

    def state(self):
        return State()

    def restore(self, state):
        return self


def difficulty(count=3000, seed=0):
    """Each card is right on the questions it is strong enough for; the text shows how hard it is.

    The dearest is at least as good on every question, by a hair where the question is easy.
    """
    rng = np.random.default_rng(seed)
    hard_N = rng.random(count)
    rows_NV = np.stack([hard_N - 0.5, rng.standard_normal(count)], axis=1)
    chance_NM = 1 / (1 + np.exp(-12 * (np.array([0.45, 0.7, 1.0]) - hard_N[:, None])))
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    return Rows(rows_NV), [Request.of(str(n)) for n in range(count)], target_NM, chance_NM, hard_N


def test_a_scalar_regression_collapses_onto_the_dearest_card_and_this_does_not():
    rows, requests, target_NM, chance_NM, hard_N = difficulty()
    regression = Factorization(encoder=rows, penalty=1e-5).fit(requests, target_NM, POOL)
    ranking = Ranking(encoder=rows, tie=0.3).fit(requests, target_NM, POOL)
    by_regression_N = np.argmax(regression.predict(requests, POOL), axis=1)
    by_ranking_N = np.argmax(ranking.predict(requests, POOL), axis=1)
    assert np.mean(by_regression_N == 2) > 0.95
    assert np.mean(by_ranking_N[hard_N < 0.2] == 0) > 0.9
    assert np.mean(by_ranking_N[hard_N > 0.8] == 2) > 0.9
    at = np.arange(len(requests))
    kept = chance_NM[at, by_ranking_N].mean() / chance_NM[at, by_regression_N].mean()
    usd_M = np.array([1.0, 10, 100])
    saved = 1 - usd_M[by_ranking_N].mean() / usd_M[by_regression_N].mean()
    assert kept > 0.97
    assert saved > 0.4


def test_without_ties_two_cards_are_a_logistic_regression_on_who_won():
    rng = np.random.default_rng(0)
    rows_NV = rng.standard_normal((600, 3))
    chance_N = 1 / (1 + np.exp(-rows_NV @ np.array([1.0, -1, 0.5])))
    won_N = (rng.random(600) < chance_N).astype(float)
    two = POOL.only(["cheap", "dear"])
    fitted = Ranking(encoder=Rows(rows_NV), tie=0.0, penalty=1e-9).fit(
        [Request.of(str(n)) for n in range(600)], np.stack([won_N, 1 - won_N], axis=1), two
    )
    learned = fitted.state().arrays
    scale = np.sqrt(np.mean(np.sum(rows_NV**2, axis=1)))
    wanted = LogisticRegression(C=1e8, max_iter=2000).fit(rows_NV, won_N)
    np.testing.assert_allclose(
        (learned["text"][:, 0] - learned["text"][:, 1]) / scale, wanted.coef_[0], atol=0.01
    )


def test_a_wider_margin_sends_more_to_the_cheap_card():
    rows, requests, target_NM, _, _ = difficulty(1000)
    shares = [
        np.mean(
            np.argmax(
                Ranking(encoder=rows, margin=margin, tie=0.3)
                .fit(requests, target_NM, POOL)
                .predict(requests, POOL),
                axis=1,
            )
            == 0
        )
        for margin in (0.0, 1.0, 4.0)
    ]
    assert shares[0] < shares[1] < shares[2]


def test_a_pool_without_prices_is_ranked_by_differences_alone():
    rows, requests, target_NM, _, _ = difficulty(500)
    priceless = Pool(ModelCard(id=card.id) for card in POOL)
    with_ties = Ranking(encoder=rows).fit(requests, target_NM, priceless)
    without = Ranking(encoder=rows, tie=0.0).fit(requests, target_NM, POOL)
    np.testing.assert_allclose(
        with_ties.predict(requests, priceless), without.predict(requests, POOL), atol=1e-6
    )


def test_the_prediction_has_the_mean_of_the_target():
    rows, requests, target_NM, _, _ = difficulty(500)
    predicted_NM = Ranking(encoder=rows).fit(requests, target_NM, POOL).predict(requests, POOL)
    assert predicted_NM.mean() == pytest.approx(target_NM.mean())


@pytest.mark.parametrize("parameters", [{"margin": -1.0}, {"tie": -1.0}, {"penalty": 0.0}])
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        Ranking(**parameters)
