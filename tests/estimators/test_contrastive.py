import numpy as np
import pytest
from scipy.optimize import check_grad

from polyroute.errors import ConfigError
from polyroute.estimators.contrastive import Contrastive, _apart, _contrast, _loss
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import State
from polyroute.types import Request

POOL = Pool([ModelCard(id=f"card-{j}") for j in range(4)])


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


def drawn(count=1200, seed=0):
    """Questions and cards on a sphere; the nearer, the likelier a right answer."""
    rng = np.random.default_rng(seed)
    rows_NV, cards_MV = rng.standard_normal((count, 5)), rng.standard_normal((len(POOL), 5))
    rows_NV /= np.linalg.norm(rows_NV, axis=1, keepdims=True)
    cards_MV /= np.linalg.norm(cards_MV, axis=1, keepdims=True)
    cosine_NM = rows_NV @ cards_MV.T
    chance_NM = 1 / (1 + np.exp(-6 * cosine_NM))
    target_NM = (rng.random(chance_NM.shape) < chance_NM).astype(float)
    return Rows(rows_NV), [Request.of(str(n)) for n in range(count)], target_NM, chance_NM, cards_MV


def test_the_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    target_NM = rng.random((12, 3))
    target_NM[2, 1] = np.nan
    contrast = _contrast(rng.standard_normal((12, 4)), target_NM, 1, rng)

    def unpack(x):
        return {"text": x[:8].reshape(4, 2), "card": x[8:].reshape(3, 2)}

    def gradient(x):
        found = _loss(unpack(x), contrast, 0.5, 0.7, 0.1)[1]
        return np.concatenate([found["text"].ravel(), found["card"].ravel()])

    error = check_grad(
        lambda x: _loss(unpack(x), contrast, 0.5, 0.7, 0.1)[0], gradient, rng.standard_normal(14)
    )
    assert error < 1e-4


def test_the_contrast_is_the_papers_sum_written_out():
    rng = np.random.default_rng(1)
    score_NM, near_NM = rng.standard_normal((6, 5)), rng.integers(2, size=(6, 5)).astype(float)
    expected = 0.0
    for score, near in zip(score_NM, near_NM, strict=True):
        far = np.exp(score[near == 0]).sum()
        losses = [-np.log(np.exp(s) / (np.exp(s) + far)) for s in score[near == 1]]
        expected += np.mean(losses) if losses and (near == 0).any() else 0.0
    assert _apart(score_NM, near_NM, 1 - near_NM)[0] == pytest.approx(expected)


@pytest.mark.parametrize("groups", [0.0, 0.3])
def test_it_finds_the_card_that_a_question_lies_near(groups):
    rows, requests, target_NM, chance_NM, _ = drawn(800)
    fitted = Contrastive(encoder=rows, groups=groups).fit(requests, target_NM, POOL)
    picks_N = np.argmax(fitted.predict(requests, POOL), axis=1)
    got = chance_NM[np.arange(len(picks_N)), picks_N].mean()
    best_single, oracle = chance_NM.mean(axis=0).max(), chance_NM.max(axis=1).mean()
    assert (got - best_single) / (oracle - best_single) > 0.85


def test_predictions_are_on_the_scale_of_the_target():
    rows, requests, target_NM, chance_NM, _ = drawn(500)
    for low, high in [(0.0, 1.0), (-5.0, -3.0)]:
        scaled_NM = low + (high - low) * target_NM
        predicted_NM = (
            Contrastive(encoder=rows).fit(requests, scaled_NM, POOL).predict(requests, POOL)
        )
        np.testing.assert_allclose(predicted_NM.mean(axis=0), scaled_NM.mean(axis=0))
        assert np.corrcoef(predicted_NM.ravel(), chance_NM.ravel())[0, 1] > 0.75


def test_questions_that_all_get_right_teach_nothing_about_the_order():
    rows, requests, target_NM, _, _ = drawn(300)
    same = Contrastive(encoder=rows, groups=0.0).fit(requests, np.ones_like(target_NM), POOL)
    np.testing.assert_allclose(same.predict(requests, POOL), 1.0)


@pytest.mark.parametrize(
    "parameters",
    [{"width": 0}, {"best": 0}, {"temperature": 0.0}, {"groups": -1.0}, {"penalty": 0.0}],
)
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(ConfigError):
        Contrastive(**parameters)
