import numpy as np
import pytest

from polyroute.errors import ConfigError
from polyroute.estimators._latent import Projection, Span, minimise, sigmoid
from polyroute.types import Request


class Rows:
    """An encoder whose texts are row numbers."""

    def __init__(self, rows_NV):
        self.rows_NV = rows_NV.astype(np.float32)

    def fit(self, texts):
        return self

    def encode(self, texts):
        return self.rows_NV[[int(text) for text in texts]]


def asked(texts):
    return [Request.of(text) for text in texts]


def test_the_directions_are_those_of_a_full_decomposition():
    rng = np.random.default_rng(0)
    rows_NV = rng.standard_normal((80, 50)) * 0.9 ** np.arange(50)
    found_ND = Projection(Rows(rows_NV), 6, 1).fit(asked(map(str, range(80))))
    left, length, _ = np.linalg.svd(rows_NV, full_matrices=False)
    wanted_ND = left[:, :6] * length[:6]
    wanted_ND /= np.sqrt(np.mean(np.sum(wanted_ND**2, axis=1)))
    np.testing.assert_allclose(np.abs(found_ND), np.abs(wanted_ND), atol=1e-3)


@pytest.mark.parametrize("texts", [[""], ["one"], ["same same"] * 4, ["red car", "blue bus"]])
def test_few_texts_have_few_directions(texts):
    projection = Projection(None, 16)
    fitted_ND = projection.fit(asked(texts))
    rows_ND = projection(asked([*texts, "", "unseen"]))
    assert rows_ND.shape == (len(texts) + 2, fitted_ND.shape[1])
    assert np.isfinite(rows_ND).all()
    assert projection([]).shape == (0, fitted_ND.shape[1])


def test_a_projection_has_a_direction_or_more():
    with pytest.raises(ConfigError):
        Projection(None, 0)


def test_a_span_goes_there_and_back():
    span = Span.of(np.array([-5.0, -2.5, np.nan]))
    np.testing.assert_allclose(span.target(span.unit(np.array([-5, -3, -2.5]))), [-5, -3, -2.5])
    assert Span.of(np.array([-1.0, -1.0])).target(np.zeros(1)) == -1.0


def test_the_minimum_of_a_logistic_regression_has_no_gradient():
    rng = np.random.default_rng(0)
    rows, truth = rng.standard_normal((200, 3)), rng.random(200)

    def loss(p):
        chance = sigmoid(rows @ p["w"])
        value = -np.sum(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
        return value, {"w": rows.T @ (chance - truth)}

    found = minimise(loss, {"w": np.zeros(3)}, steps=200)
    np.testing.assert_allclose(loss(found)[1]["w"], 0, atol=1e-3)
