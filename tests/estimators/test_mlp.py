"""The perceptron: its gradient against finite differences, its steps against torch."""

import numpy as np
import pytest

from polyroute import ModelCard, Pool, Request
from polyroute.errors import ConfigError
from polyroute.estimators import mlp
from polyroute.estimators.mlp import Perceptron
from polyroute.estimators.ridge import Ridge

pytest.importorskip("scipy")

POOL = Pool(ModelCard(id=name) for name in "ab")


def loss(network, x_ND, target_NM, seen_NM):
    hidden_NH = np.maximum(x_ND @ network.w_DH + network.b_H, 0)
    error_NM = np.where(seen_NM > 0, hidden_NH @ network.w_HM + network.b_M - target_NM, 0.0)
    return 0.5 * (error_NM**2).sum() / seen_NM.sum()


def test_the_gradient_is_that_of_the_loss_over_what_was_observed():
    rng = np.random.default_rng(0)
    network = mlp._Network.random(rng, 4, 5, 2)
    network.w_HM[:] = rng.normal(size=(5, 2))
    x_ND, target_NM = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    seen_NM = (rng.random((7, 2)) < 0.7).astype(float)
    found = network.gradient(x_ND, target_NM, seen_NM)
    for weights, gradient in zip(network.arrays, found, strict=True):
        expected = np.zeros_like(weights)
        for index in np.ndindex(weights.shape):
            kept = weights[index]
            weights[index] = kept + 1e-6
            above = loss(network, x_ND, target_NM, seen_NM)
            weights[index] = kept - 1e-6
            expected[index] = (above - loss(network, x_ND, target_NM, seen_NM)) / 2e-6
            weights[index] = kept
        np.testing.assert_allclose(gradient, expected, atol=1e-7)


@pytest.mark.slow  # it imports torch
def test_adam_s_steps_are_those_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    network = mlp._Network.random(rng, 3, 4, 2)
    ours = mlp._Adam(network, 0.01, 0.1)
    theirs = [torch.tensor(w.copy(), requires_grad=True) for w in network.arrays]
    groups = [
        {"params": [w for w in theirs if w.ndim == 2], "weight_decay": 0.1},
        {"params": [w for w in theirs if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.01)
    for _ in range(5):
        gradients = tuple(rng.normal(size=w.shape) for w in network.arrays)
        ours.step(gradients)
        for weights, gradient in zip(theirs, gradients, strict=True):
            weights.grad = torch.tensor(gradient)
        optimiser.step()
    for weights, expected in zip(network.arrays, theirs, strict=True):
        np.testing.assert_allclose(weights, expected.detach().numpy(), atol=1e-8)


def test_it_learns_what_no_line_can():
    # good exactly when one of the two words is there, but not both
    texts = ["red", "blue", "red blue", "green"] * 30
    target_NM = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]] * 30)
    requests = [Request.of(f"{text} thing") for text in texts]
    asked = requests[:4]
    deep = Perceptron(epochs=60, learning_rate=0.01, batch=16).fit(requests, target_NM, POOL)
    np.testing.assert_allclose(deep.predict(asked, POOL), target_NM[:4], atol=0.1)
    line = Ridge(alpha=30).fit(requests, target_NM, POOL).predict(asked, POOL)
    assert np.abs(line - target_NM[:4]).max() > 0.2


def test_no_hidden_units_are_refused():
    with pytest.raises(ConfigError, match="hidden"):
        Perceptron(hidden=0)
