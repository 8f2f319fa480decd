import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from polyroute.errors import ConfigError
from polyroute.estimators.factorization import Factorization
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import State
from polyroute.types import Request

POOL = Pool([ModelCard(id=f"card-{j}") for j in range(5)])


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


def drawn(count, seed=0):
    """Outcomes drawn from a model of rank 2, with six features."""
    rng = np.random.default_rng(seed)
    rows_NV = rng.standard_normal((count, 6))
    logit_NM = rows_NV @ rng.standard_normal((6, 2)) @ rng.standard_normal((2, len(POOL))) + 0.5
    chance_NM = 1 / (1 + np.exp(-logit_NM))
    requests = [Request.of(str(n)) for n in range(count)]
    return Rows(rows_NV), requests, (rng.random(chance_NM.shape) < chance_NM) * 1.0, chance_NM


def test_it_recovers_the_chances_that_the_outcomes_were_drawn_from():
    rows, requests, target_NM, chance_NM = drawn(4000)
    fitted = Factorization(encoder=rows, rank=2, penalty=1e-5).fit(requests, target_NM, POOL)
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).mean() < 0.02


def test_with_one_card_it_is_logistic_regression():
    rows, requests, target_NM, _ = drawn(500)
    one = Pool(POOL[:1])
    fitted = Factorization(encoder=rows, penalty=0.0).fit(requests, target_NM[:, :1], one)
    regression = LogisticRegression(C=1e6, max_iter=2000).fit(rows.rows_NV, target_NM[:, 0])
    np.testing.assert_allclose(
        fitted.predict(requests, one)[:, 0],
        regression.predict_proba(rows.rows_NV)[:, 1],
        atol=5e-3,
    )


def test_half_of_the_outcomes_will_do():
    rows, requests, target_NM, chance_NM = drawn(4000)
    target_NM[np.random.default_rng(1).random(target_NM.shape) < 0.5] = np.nan
    fitted = Factorization(encoder=rows, rank=2, penalty=1e-5).fit(requests, target_NM, POOL)
    assert np.abs(fitted.predict(requests, POOL) - chance_NM).mean() < 0.03


def test_sharing_a_rank_beats_one_regression_per_card_on_few_outcomes():
    rows, requests, target_NM, chance_NM = drawn(1500)
    fit_N = np.arange(1500) < 60
    few = [r for r, kept in zip(requests, fit_N, strict=True) if kept]

    def error(rank):
        fitted = Factorization(encoder=rows, rank=rank, penalty=1e-4)
        fitted.fit(few, target_NM[fit_N], POOL)
        return np.abs(fitted.predict(requests, POOL) - chance_NM)[~fit_N].mean()

    separate = np.mean([
        np.abs(
            LogisticRegression(C=1e4, max_iter=2000)
            .fit(rows.rows_NV[fit_N], target_NM[fit_N, m])
            .predict_proba(rows.rows_NV[~fit_N])[:, 1]
            - chance_NM[~fit_N, m]
        ).mean()
        for m in range(len(POOL))
    ])  # fmt: skip
    assert error(2) < separate


def test_a_log_cost_stays_within_its_range():
    rows, requests, target_NM, _ = drawn(200)
    cost_NM = -5 + 2 * target_NM
    predicted_NM = Factorization(encoder=rows).fit(requests, cost_NM, POOL).predict(requests, POOL)
    assert predicted_NM.min() >= -5
    assert predicted_NM.max() <= -3
    np.testing.assert_allclose(predicted_NM.mean(axis=0), cost_NM.mean(axis=0), atol=0.02)


@pytest.mark.parametrize("parameters", [{"rank": 0}, {"penalty": -1.0}, {"steps": 0}])
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        Factorization(**parameters)
