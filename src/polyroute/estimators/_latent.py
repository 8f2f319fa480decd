"""What the estimators with a latent space share: projected requests, a span, a descent.

The one decision here: a request enters as its leading singular directions. The heads above are then
small dense problems that L-BFGS solves to the end in seconds, with gradients written out: no
learning rate, no shuffling, the same numbers on every run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._text import Lines, Text, dense
from polyroute.protocols import Encoder, FloatArray, State
from polyroute.types import Request

__all__ = ["Parameters", "Projection", "Span", "minimise", "sigmoid", "softplus", "unit_rows"]

Parameters: TypeAlias = Mapping[str, FloatArray]
"""Named arrays: what is learned, or the gradient of it."""


class Projection:
    """Requests as D dense numbers: the leading singular directions of an encoder's features.

    Rows are scaled by one number, so that their mean squared length over the fitted requests is 1.

    Parameters
    ----------
    encoder : Encoder or None
        Fitted with the projection; `None` is the default of every estimator.
    dims : int
        Most directions, D; fewer when the encoder has fewer features.
    seed : int, default=0
        Of the randomised decomposition.
    """

    def __init__(self, encoder: Encoder | None, dims: int, seed: int = 0) -> None:
        if dims < 1:
            raise ConfigError(f"dims must be 1 or more, got {dims!r}")
        self._text = Text(encoder, dimensions=dims, seed=seed)
        self._scale = 1.0

    def fit(self, requests: Sequence[Request]) -> FloatArray:
        """Fit the encoder, and find the directions; return the rows of `requests`."""
        rows_ND = dense(self._text.fit(requests))
        length = float(np.sqrt(np.mean(np.sum(rows_ND**2, axis=1))))
        self._scale = 1 / length if length else 1.0
        return np.asarray(rows_ND * self._scale)

    def __call__(self, requests: Sequence[Request]) -> FloatArray:
        """Return one row per request, shape (N, D)."""
        return np.asarray(dense(self._text.encode(requests)) * self._scale)

    def lines(self, weights_DL: FloatArray, bias_L: FloatArray) -> Lines:
        """Return L linear functions of the rows, to be served as one product."""
        return self._text.lines(weights_DL * self._scale, bias_L)

    def state(self) -> State:
        """Return the directions, the scale and the encoder's state."""
        text = self._text.state()
        return State(arrays=text.arrays, values={**text.values, "scale": self._scale})

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self."""
        self._text.restore(state)
        self._scale = float(state.values["scale"])
        return self


@dataclass(frozen=True, slots=True)
class Span:
    """The interval that targets lie in, for models whose output lies between 0 and 1.

    Examples
    --------
    >>> Span.of(np.array([0.2, np.nan, 1.0]))
    Span(low=0.0, high=1.0)
    >>> Span.of(np.array([-4.0, -2.0])).unit(np.array([-3.0]))
    array([0.5])
    """

    low: float
    high: float

    @classmethod
    def of(cls, target: FloatArray) -> "Span":
        """Return [0, 1] for scores, or else the range of what was observed (a log cost)."""
        low, high = float(np.nanmin(target)), float(np.nanmax(target))
        if low >= 0 and high <= 1:
            return cls(0.0, 1.0)
        return cls(low, high if high > low else low + 1)

    def unit(self, target: FloatArray) -> FloatArray:
        """Return `target` as a fraction of the span, cut to [0, 1]."""
        return np.asarray(np.clip((target - self.low) / (self.high - self.low), 0.0, 1.0))

    def target(self, fraction: FloatArray) -> FloatArray:
        """Return the number that a fraction of the span stands for."""
        if self.low == 0 and self.high == 1:
            return fraction
        return np.asarray(self.low + (self.high - self.low) * fraction)


def minimise(
    objective: Callable[[Parameters], tuple[float, Parameters]],
    start: Parameters,
    *,
    steps: int,
) -> dict[str, FloatArray]:
    """Return the parameters that minimise `objective`, by L-BFGS from `start`.

    Parameters
    ----------
    objective : callable
        From named arrays to the value and the gradient under the same names.
    start : mapping of str to ndarray
        Where to begin.
    steps : int
        Most iterations.

    Raises
    ------
    MissingExtraError
        If scipy is not installed.

    Examples
    --------
    >>> found = minimise(
    ...     lambda p: (float(np.sum((p["x"] - 3) ** 2)), {"x": 2 * (p["x"] - 3)}),
    ...     {"x": np.zeros(2)},
    ...     steps=50,
    ... )
    >>> found["x"].round(6)
    array([3., 3.])
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtraError("scipy is needed; run: pip install 'polyroute[learn]'") from error
    names = list(start)
    cuts = np.cumsum([start[name].size for name in names])[:-1]

    def unpack(flat: FloatArray) -> dict[str, FloatArray]:
        parts = np.split(flat, cuts)
        return {
            name: part.reshape(start[name].shape) for name, part in zip(names, parts, strict=True)
        }

    def flat_objective(flat: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = objective(unpack(flat))
        return value, np.concatenate([gradient[name].ravel() for name in names])

    flat = np.concatenate([np.asarray(start[name], np.float64).ravel() for name in names])
    found = minimize(
        flat_objective, flat, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 20}
    )
    return {name: np.array(part) for name, part in unpack(found.x).items()}


def sigmoid(x: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    chance = np.tanh(0.5 * x)
    chance += 1
    chance *= 0.5
    return chance


def softplus(x: FloatArray) -> FloatArray:
    """Return log(1 + exp(x)), without overflow."""
    return np.asarray(np.logaddexp(0.0, x))


def unit_rows(rows_ND: FloatArray) -> FloatArray:
    """Return the rows scaled to length 1; a row of zeros stays."""
    length_N1 = np.sqrt((rows_ND * rows_ND).sum(axis=1, keepdims=True))
    length_N1[length_N1 == 0] = 1
    return np.asarray(rows_ND / length_N1)
