"""The mean of what several estimators predict: their errors differ, their signal is the same.

The one decision here: equal weights. Weights found by stacking on held-out predictions have a
smaller squared error and route worse, since they give away the shrinkage toward each card's mean
that keeps a router from following noise.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from polyroute.errors import ConfigError
from polyroute.estimators._columns import check, inner, nested
from polyroute.estimators._text import default_encoder
from polyroute.pool import Pool
from polyroute.protocols import Encoder, Estimator, Features, FloatArray, Method, State
from polyroute.spec import construct
from polyroute.types import Request

__all__ = ["Blend"]

_DEFAULT = ("ridge", "neighbours", "clusters")
"""A linear, a local and a coarse view of the same features."""


class Blend:
    """Average the predictions of several estimators.

    Parameters
    ----------
    members : tuple of Estimator, optional
        What is averaged; by default ridge, neighbours and clusters with their own defaults, which
        read a prompt's features once for all three.
    encoder : Encoder, optional
        Features for the default members; by default TF-IDF over words and pairs of words. Given
        members bring their own.
    seed : int, default=0
        Of the default members.

    Raises
    ------
    ConfigError
        If there is no member, or both `members` and `encoder` are given.

    Notes
    -----
    A card is averaged over the members that know it. Measured against its members, and against
    weights by stacking: docs/benchmarks/routers.md.

    References
    ----------
    Equal weights are hard to beat: Bates and Granger, "The Combination of Forecasts", Operational
    Research Quarterly 20(4), 1969; Breiman, "Stacked Regressions", Machine Learning 24, 1996, for
    the alternative.

    Examples
    --------
    >>> from polyroute.pool import ModelCard
    >>> from polyroute.estimators.mean import Mean
    >>> pool = Pool([ModelCard(id="small")])
    >>> blend = Blend(members=(Mean(), Mean())).fit([Request.of("a")], np.array([[0.5]]), pool)
    >>> blend.predict([Request.of("b")], pool)
    array([[0.5]])
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="Bates and Granger, Operational Research Quarterly 20(4), 1969",
    )

    def __init__(
        self,
        *,
        members: tuple[Estimator, ...] | None = None,
        encoder: Encoder | None = None,
        seed: int = 0,
    ) -> None:
        if members is not None and encoder is not None:
            raise ConfigError("encoder is for the default members; given members have their own")
        if members is not None and not members:
            raise ConfigError("members needs one estimator or more")
        self._shared = _Once(default_encoder() if encoder is None else encoder)
        self._reads_shared = members is None
        self._members = _defaults(self._shared, seed) if members is None else tuple(members)

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Fit every member to the same outcomes."""
        target_NM = check(requests, target_NM, pool)
        self._shared.forget()
        for member in self._members:
            member.fit(requests, target_NM, pool)
        self._shared.forget()
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the mean over the members that know the card, shape (N, len(pool))."""
        predicted_KNM = [member.predict(requests, pool) for member in self._members]
        mean_NM = np.asarray(sum(predicted_KNM) / len(predicted_KNM))
        unknown_NM = np.isnan(mean_NM)
        if not unknown_NM.any():
            return mean_NM
        known_KNM = ~np.isnan(predicted_KNM)
        count_NM = known_KNM.sum(axis=0)
        total_NM = np.where(known_KNM, predicted_KNM, 0.0).sum(axis=0)
        np.divide(total_NM, count_NM, out=mean_NM, where=unknown_NM & (count_NM > 0))
        return mean_NM

    def state(self) -> State:
        """Return the state of every member, and of the features that they share."""
        states = {f"member_{k}": member.state() for k, member in enumerate(self._members)}
        if self._reads_shared:
            states["features"] = self._shared.encoder.state()
        return State(
            arrays={key: a for name, s in states.items() for key, a in nested(name, s).items()},
            values={name: state.values for name, state in states.items()},
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        if self._reads_shared:
            features = inner("features", state, state.values["features"])
            self._shared.encoder.restore(features)
        for k, member in enumerate(self._members):
            name = f"member_{k}"
            member.restore(inner(name, state, state.values[name]))
        self._shared.forget()
        return self


def _defaults(shared: Encoder, seed: int) -> tuple[Estimator, ...]:
    return tuple(
        construct(
            "estimators",
            {"name": name, "encoder": shared, **({} if name == "ridge" else {"seed": seed})},
            where=f"blend.{name}",
        )
        for name in _DEFAULT
    )


class _Once:
    """An encoder that several estimators hold, fitted and asked once for all of them."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._fitted_on: list[str] | None = None
        self._last: tuple[list[str], Features] | None = None

    def forget(self) -> None:
        self._fitted_on, self._last = None, None

    def fit(self, texts: Sequence[str]) -> Self:
        if self._fitted_on != list(texts):
            self.encoder.fit(texts)
            self._fitted_on, self._last = list(texts), None
        return self

    def encode(self, texts: Sequence[str]) -> Features:
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != list(texts):
            last = (list(texts), self.encoder.encode(texts))
            self._last = last
        return last[1]

    def state(self) -> State:
        return State()  # the blend keeps it, once

    def restore(self, state: State) -> Self:
        del state
        return self
