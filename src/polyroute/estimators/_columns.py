"""What every estimator does with columns: check them, match them to cards, shrink their means."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, NotFittedError
from polyroute.pool import Pool
from polyroute.protocols import FloatArray, State
from polyroute.types import Request

__all__ = ["check", "fitted", "inner", "nested", "observed_means", "place", "shrunk_means"]

_Learned = TypeVar("_Learned")


def check(requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> FloatArray:
    """Return the target as double precision, once it fits the requests and the pool.

    Raises
    ------
    ConfigError
        If the shapes do not fit, a value is infinite, or nothing was observed at all.
    """
    target_NM = np.asarray(target_NM, np.float64)
    expected = (len(requests), len(pool))
    if target_NM.shape != expected:
        raise ConfigError(
            f"the target has shape {target_NM.shape}; {expected[0]} requests and {expected[1]} "
            f"cards need {expected}"
        )
    if np.isinf(target_NM).any():
        raise ConfigError(
            "the target holds an infinite value; use NaN for what was not observed, and a floor "
            "under a cost before its logarithm is taken"
        )
    if np.isnan(target_NM).all():
        raise ConfigError("nothing was observed: every value of the target is NaN")
    return target_NM


def fitted(learned: _Learned | None, estimator: object) -> _Learned:
    """Return what `estimator` learned.

    Raises
    ------
    NotFittedError
        If that is nothing yet.
    """
    if learned is None:
        raise NotFittedError(
            f"{type(estimator).__name__} was not fitted; call fit or restore before predict"
        )
    return learned


def place(fitted_NM: FloatArray, ids: Sequence[str], pool: Pool) -> FloatArray:
    """Return the columns of the cards `ids` in the order of `pool`; NaN for other cards."""
    if pool.ids == ids:  # how a router is served: nothing to move
        return np.asarray(fitted_NM, np.float64)
    column = {card_id: j for j, card_id in enumerate(ids)}
    placed_NM = np.full((len(fitted_NM), len(pool)), np.nan)
    for j, card in enumerate(pool):
        if card.id in column:
            placed_NM[:, j] = fitted_NM[:, column[card.id]]
    return placed_NM


def observed_means(target_NM: FloatArray) -> FloatArray:
    """Return each column's mean over what was observed, shape (M,); NaN where nothing was."""
    seen_NM = ~np.isnan(target_NM)
    count_M = seen_NM.sum(axis=0)
    mean_M = np.full(target_NM.shape[1], np.nan)
    np.divide(np.where(seen_NM, target_NM, 0).sum(axis=0), count_M, out=mean_M, where=count_M > 0)
    return mean_M


def shrunk_means(
    total: FloatArray, weight: FloatArray, prior: FloatArray, strength: float
) -> FloatArray:
    """Return weighted means pulled toward `prior`, as if it had been seen `strength` times.

    The three arrays are broadcast against each other; NaN where the prior is.
    """
    mass = weight + strength
    mean = np.array(np.broadcast_to(prior, mass.shape), np.float64)
    np.divide(total + strength * prior, mass, out=mean, where=(mass > 0) & ~np.isnan(mean))
    return mean


def nested(name: str, state: State) -> dict[str, NDArray[Any]]:
    """Return the arrays of an inner plug-in's state under ``<name>.<key>``."""
    return {f"{name}.{key}": array for key, array in state.arrays.items()}


def inner(name: str, state: State, values: Mapping[str, Any]) -> State:
    """Return the state whose arrays `nested` put under `name`, with its `values`."""
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in state.arrays.items()
        if key.startswith(prefix)
    }
    return State(arrays=arrays, values=dict(values))
