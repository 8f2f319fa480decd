"""A network with one hidden layer, shared by all cards, on reduced text features.

The one decision here: one network for all cards, so that what is learned of a question from one
card serves the others, trained with a loss that leaves out what was not observed (which is why it
is not scikit-learn's). It is a few matrix products in numpy, to train as well as to serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, fitted, inner, nested, observed_means, place
from polyroute.estimators._text import Lines, Text, dense
from polyroute.pool import Pool
from polyroute.protocols import Encoder, FloatArray, Method, State
from polyroute.types import Request

__all__ = ["Perceptron"]

_NAMES = ("w_DH", "b_H", "w_HM", "b_M")


class Perceptron:
    """Predict all cards by a multilayer perceptron with one hidden layer of rectified units.

    Parameters
    ----------
    encoder : Encoder, optional
        Features of the prompt; by default TF-IDF over words and pairs of words.
    dimensions : int, optional, default=128
        Reduce the features to that many columns first; null leaves them as they are.
    hidden : int, default=64
        Units of the hidden layer.
    epochs : int, default=5
        Passes over the questions; more of them learn the noise of single answers.
    learning_rate : float, default=0.002
        Step size of Adam.
    alpha : float, default=0.001
        Weight decay, decoupled from the gradient's scale, as in AdamW.
    batch : int, default=64
        Questions per step.
    seed : int, default=0
        Of the initial weights, the order of the questions and the reduction.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Features are centred and scaled by one number, so that directions keep their weight; targets
    are centred on each card's mean. RouterBench's MLP router is level with its kNN
    router. Measured: docs/benchmarks/routers.md.

    References
    ----------
    Hu et al., "RouterBench", arXiv:2403.12031. Optimiser: Kingma and Ba, "Adam",
    arXiv:1412.6980, algorithm 1; decay: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Hu et al., RouterBench, arXiv:2403.12031",
    )

    def __init__(  # noqa: PLR0913 - an optimiser has its hyper-parameters
        self,
        *,
        encoder: Encoder | None = None,
        dimensions: int | None = 128,
        hidden: int = 64,
        epochs: int = 5,
        learning_rate: float = 0.002,
        alpha: float = 0.001,
        batch: int = 64,
        seed: int = 0,
    ) -> None:
        if min(hidden, epochs, batch) < 1:
            raise ConfigError(
                f"hidden, epochs and batch must be 1 or more, got {hidden!r}, {epochs!r}, {batch!r}"
            )
        if not learning_rate > 0 or alpha < 0:
            raise ConfigError(
                f"learning_rate must be positive and alpha 0 or more, got {learning_rate!r} and "
                f"{alpha!r}"
            )
        self._text = Text(encoder, dimensions=dimensions, seed=seed)
        self._hidden = hidden
        self._epochs = epochs
        self._learning_rate = learning_rate
        self._alpha = alpha
        self._batch = batch
        self._seed = seed
        self._ids: tuple[str, ...] | None = None
        self._network = _Network(*(np.empty((0, 0)) for _ in _NAMES))
        self._first: Lines | None = None
        self._centre_D: FloatArray = np.empty(0)
        self._scale = 1.0

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit the encoder on the prompts, and the network on what was observed."""
        target_NM = check(requests, target_NM, pool)
        x_ND = dense(self._text.fit(requests))
        self._centre_D = x_ND.mean(axis=0)
        self._scale = float(np.sqrt(np.mean((x_ND - self._centre_D) ** 2))) or 1.0
        x_ND = (x_ND - self._centre_D) / self._scale
        mean_M = observed_means(target_NM)
        seen_NM = (~np.isnan(target_NM)).astype(np.float64)
        surplus_NM = np.nan_to_num(target_NM - mean_M)
        network = self._trained(x_ND, surplus_NM, seen_NM)
        self._network = _Network(network.w_DH, network.b_H, network.w_HM, network.b_M + mean_M)
        self._ids = pool.ids
        self._first = self._served()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the predictions, shape (N, len(pool)); not clipped."""
        ids = fitted(self._ids, self)
        hidden_NH = fitted(self._first, self)(requests)
        np.maximum(hidden_NH, 0, out=hidden_NH)
        return place(hidden_NH @ self._network.w_HM + self._network.b_M, ids, pool)

    def state(self) -> State:
        """Return the encoder's state and the network's weights."""
        ids = fitted(self._ids, self)
        text = self._text.state()
        own = {name: getattr(self._network, name) for name in _NAMES}
        return State(
            arrays={**own, "centre_D": self._centre_D, **nested("text", text)},
            values={"cards": list(ids), "text": text.values, "scale": self._scale},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self._text.restore(inner("text", state, state.values["text"]))
        self._network = _Network(*(state.arrays[name] for name in _NAMES))
        self._centre_D = state.arrays["centre_D"]
        self._scale = state.values["scale"]
        self._ids = tuple(state.values["cards"])
        self._first = self._served()
        return self

    def _served(self) -> Lines:
        """Return the first layer, with the centre and the scale of the features in it."""
        weights_DH = self._network.w_DH / self._scale
        return self._text.lines(weights_DH, self._network.b_H - self._centre_D @ weights_DH)

    def _trained(self, x_ND: FloatArray, target_NM: FloatArray, seen_NM: FloatArray) -> "_Network":
        rng = np.random.default_rng(self._seed)
        network = _Network.random(rng, x_ND.shape[1], self._hidden, target_NM.shape[1])
        adam = _Adam(network, self._learning_rate, self._alpha)
        for _ in range(self._epochs):
            order = rng.permutation(len(x_ND))
            for k in range(0, len(order), self._batch):
                rows = order[k : k + self._batch]
                adam.step(network.gradient(x_ND[rows], target_NM[rows], seen_NM[rows]))
        return network


@dataclass(frozen=True, slots=True, eq=False)
class _Network:
    """Weights of the two layers; the arrays are updated in place while training."""

    w_DH: FloatArray
    b_H: FloatArray
    w_HM: FloatArray
    b_M: FloatArray

    @classmethod
    def random(cls, rng: np.random.Generator, width: int, hidden: int, cards: int) -> "_Network":
        """Return weights as He et al. draw them for rectified units; the output begins at zero."""
        w_DH = rng.normal(0, np.sqrt(2 / width), (width, hidden))
        return cls(w_DH, np.zeros(hidden), np.zeros((hidden, cards)), np.zeros(cards))

    @property
    def arrays(self) -> tuple[FloatArray, ...]:
        """All weights, in the order of `gradient`."""
        return self.w_DH, self.b_H, self.w_HM, self.b_M

    def gradient(
        self, x_ND: FloatArray, target_NM: FloatArray, seen_NM: FloatArray
    ) -> tuple[FloatArray, ...]:
        """Return the gradient of half the mean squared error over what was observed."""
        raw_NH = x_ND @ self.w_DH + self.b_H
        hidden_NH = np.maximum(raw_NH, 0)
        error_NM = seen_NM * (hidden_NH @ self.w_HM + self.b_M - target_NM)
        error_NM /= max(seen_NM.sum(), 1.0)
        back_NH = (error_NM @ self.w_HM.T) * (raw_NH > 0)
        return x_ND.T @ back_NH, back_NH.sum(axis=0), hidden_NH.T @ error_NM, error_NM.sum(axis=0)


class _Adam:
    """Adam with decoupled weight decay on the matrices."""

    def __init__(self, network: _Network, learning_rate: float, decay: float) -> None:
        self._weights = network.arrays
        self._rate, self._decay, self._steps = learning_rate, decay, 0
        self._first: list[NDArray[np.float64]] = [np.zeros_like(w) for w in self._weights]
        self._second: list[NDArray[np.float64]] = [np.zeros_like(w) for w in self._weights]

    def step(self, gradients: tuple[FloatArray, ...]) -> None:
        """Move the weights against the gradients, in place."""
        self._steps += 1
        first_share, second_share = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for k, (weights, gradient) in enumerate(zip(self._weights, gradients, strict=True)):
            self._first[k] += 0.1 * (gradient - self._first[k])
            self._second[k] += 0.001 * (gradient**2 - self._second[k])
            if weights.ndim == 2:
                weights -= self._rate * self._decay * weights
            size = np.sqrt(self._second[k] / second_share) + 1e-8
            weights -= self._rate * self._first[k] / first_share / size
