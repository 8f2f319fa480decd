import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from polyroute.errors import ConfigError
from polyroute.estimators.bradley_terry import BradleyTerry, strengths
from polyroute.pool import ModelCard, Pool
from polyroute.types import Request

POOL = Pool([ModelCard(id="a"), ModelCard(id="b"), ModelCard(id="c")])


def two_kinds(count=300, seed=0):
    """`a` is good at the first kind of question, `b` at the second, `c` is poor."""
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(2, size=count)
    texts = [("add the numbers", "write a sonnet")[kind] for kind in kind_N]
    chance_NM = np.stack([0.8 - 0.6 * kind_N, 0.2 + 0.6 * kind_N, np.full(count, 0.1)], axis=1)
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    return [Request.of(text) for text in texts], target_NM, kind_N


def test_strengths_are_those_of_a_brute_force_maximiser():
    wins_MM = np.random.default_rng(0).random((4, 4)) * 5
    np.fill_diagonal(wins_MM, 0)

    def loss(x):
        gap = x[:, None] - x[None, :]
        prior = 0.5 * np.sum(np.logaddexp(0, -x) + np.logaddexp(0, x))
        return np.sum(wins_MM * np.logaddexp(0, -gap)) + prior

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    np.testing.assert_allclose(
        strengths(wins_MM[np.newaxis], 1.0)[0], best - best.mean(), atol=1e-5
    )


def test_two_cards_are_a_logistic_regression_with_weights():
    rng = np.random.default_rng(1)
    first_won, weight = rng.integers(2, size=50), rng.random(50)
    wins_MM = np.array([
        [0, np.sum(weight * first_won)],
        [np.sum(weight * (1 - first_won)), 0],
    ])  # fmt: skip
    regression = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10).fit(
        np.ones((50, 1)), first_won, sample_weight=weight
    )
    found = strengths(wins_MM[np.newaxis], 1e-9)[0]
    assert found[0] - found[1] == pytest.approx(regression.coef_[0, 0], abs=1e-4)


def test_the_ranking_follows_the_kind_of_question():
    requests, target_NM, kind_N = two_kinds()
    fitted = BradleyTerry().fit(requests, target_NM, POOL)
    assert np.array_equal(np.argmax(fitted.predict(requests, POOL), axis=1), kind_N)


def test_expected_quality_is_near_the_local_means():
    requests, target_NM, kind_N = two_kinds(1000)
    predicted_NM = BradleyTerry().fit(requests, target_NM, POOL).predict(requests, POOL)
    for kind in (0, 1):
        here = kind_N == kind
        np.testing.assert_allclose(
            predicted_NM[here].mean(axis=0), target_NM[here].mean(axis=0), atol=0.12
        )


def test_with_gamma_one_every_question_has_the_same_ranking():
    requests, target_NM, _ = two_kinds()
    predicted_NM = BradleyTerry(gamma=1.0).fit(requests, target_NM, POOL).predict(requests, POOL)
    np.testing.assert_allclose(predicted_NM, predicted_NM[:1].repeat(len(requests), 0))


def test_a_card_that_was_not_compared_loses_nothing():
    requests, target_NM, kind_N = two_kinds(600)
    target_NM[np.random.default_rng(2).random(600) < 0.7, 1] = np.nan
    fitted = BradleyTerry().fit(requests, target_NM, POOL)
    assert np.array_equal(np.argmax(fitted.predict(requests, POOL), axis=1), kind_N)


@pytest.mark.parametrize("parameters", [{"gamma": 0.5}, {"prior": 0.0}])
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        BradleyTerry(**parameters)
