"""LinUCB: a linear model of the reward per candidate, and optimism where it has seen little.

The one decision here: what is optimistic is deterministic, so a share `epsilon` of the requests is
drawn uniformly. The propensity of every decision is then exact, and never zero for a candidate
that may be explored.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from msgspec import structs

from polyroute.decision import Decision
from polyroute.errors import ConfigError
from polyroute.policies.bandit.arms import Arms, Terms, chances_by_id, decide, outcomes
from polyroute.pool import CardId
from polyroute.protocols import Encoder, FloatArray, Method
from polyroute.signals.encoders.hashed import Hashed
from polyroute.sparse import Sparse
from polyroute.trace import Trace

__all__ = ["LinUCB", "LinearState"]

_PRIOR_MEAN = 0.5
"""Reward expected of a candidate of which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearState:
    """What was learned: an immutable snapshot of plain values."""

    precision: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    """By model: sum of outer products of contexts, discounted; D rows of D."""
    moment: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By model: sum of contexts times (reward - 0.5); D values."""
    explored_usd: float = 0.0
    """What exploring has cost: expected extra dollars over the best known candidate."""
    updates: int = 0
    """How many rewards it was learned from."""


@dataclass(frozen=True, slots=True)
class LinUCB:
    """Choose the candidate with the highest upper confidence bound of its reward on this request.

    The context of a request is what `encoder` says of its prompt, folded into `dimensions` numbers
    by signed hashing, of length 1, and a constant. The value of a candidate is the bound, less its
    expected price by ``budget.usd_per_quality`` where the request has one, less `switch_cost` when
    it is not who answered before.

    Parameters
    ----------
    models : tuple of str, optional
        Ids to choose from; all models and agents of the pool when `None`.
    encoder : Encoder, optional
        One that needs no fitting, or was fitted; hashed words by default.
    dimensions : int, default=32
        Length of the context, the constant included: 1 to 512. 1 leaves the constant only.
    alpha : float, default=0.5
        Standard deviations of optimism, 0 or more.
    ridge : float, default=1
        Weight of the prior, over 0.
    epsilon : float, default=0.05
        Share of requests drawn uniformly, 0 to 1, so that off-policy estimates have support.
    state : LinearState, optional
        What was learned so far; nothing by default. See `polyroute.policies.bandit.online`.
    completion_tokens : int, default=300
        Expected length of an answer, in tokens, for the expected price.
    switch_cost : float, default=0
        Quality that leaving the candidate of the conversation's last answer must gain, 0 to 1,
        where it is known who that was; a request may ask for another one.
    explore_usd : float, optional
        Most expected extra dollars of one exploring request.
    explore_total_usd : float, optional
        Most expected extra dollars of exploring in all, as far as `state` has counted.

    Raises
    ------
    ConfigError
        If a parameter is out of its range, or `state` has another number of dimensions.

    References
    ----------
    Li, Chu, Langford and Schapire, *A contextual-bandit approach to personalized news article
    recommendation*, arXiv:1003.0146, algorithm 1 (disjoint linear models). Forgetting by
    discounts: Russac, Vernade and Cappe, *Weighted linear bandits for non-stationary
    environments*, arXiv:1909.09146.
    """

    method: ClassVar[Method] = Method(
        when="online",
        what=("query", "model metadata", "feedback"),
        how="bandit",
        paper="Li et al., LinUCB, arXiv:1003.0146",
    )

    models: tuple[CardId, ...] | None = None
    encoder: Encoder | None = None
    dimensions: int = 32
    alpha: float = 0.5
    ridge: float = 1.0
    epsilon: float = 0.05
    state: LinearState = field(default_factory=LinearState)
    completion_tokens: int = 300
    switch_cost: float = 0.0
    explore_usd: float | None = None
    explore_total_usd: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.dimensions <= 512:
            raise ConfigError(f"dimensions must be 1 to 512, got {self.dimensions!r}")
        if not self.alpha >= 0:
            raise ConfigError(f"alpha must be 0 or more, got {self.alpha!r}")
        if not self.ridge > 0:
            raise ConfigError(f"ridge must be over 0, got {self.ridge!r}")
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"epsilon must be 0 to 1, got {self.epsilon!r}")
        for model, moment in self.state.moment.items():
            if len(moment) != self.dimensions:
                raise ConfigError(
                    f"the state of {model!r} has {len(moment)} dimensions, expected "
                    f"{self.dimensions}"
                )
        _ = self._terms

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call, to the most promising candidate or to one drawn.

        Raises
        ------
        UnknownModelError
            If a named model is not in the pool.
        """
        x = self.context(trace.request.prompt)
        why = f"LinUCB after {self.state.updates} rewards"
        return decide(trace, self._terms, lambda arms: self._chances(arms, x), why)

    def chances(self, trace: Trace) -> Mapping[str, float]:
        """Return the chance of every candidate that is left, exactly; they sum to 1."""
        x = self.context(trace.request.prompt)
        return chances_by_id(trace, self._terms, lambda arms: self._chances(arms, x))

    def context(self, prompt: str) -> FloatArray:
        """Return the context of a prompt, shape (dimensions,); the first number is 1."""
        out = np.zeros(self.dimensions)
        out[0] = 1.0
        width = self.dimensions - 1
        if width == 0:
            return out
        encoder = _default_encoder() if self.encoder is None else self.encoder
        row = encoder.encode([prompt])
        if isinstance(row, Sparse):
            columns, values = row.columns, row.values.astype(float)
        else:
            columns, values = np.arange(row.shape[1]), row[0].astype(float)
        mixed = (columns.astype(np.uint64) + np.uint64(1)) * _MIX
        sign = np.where(mixed >> np.uint64(63), 1.0, -1.0)
        np.add.at(out, 1 + ((mixed >> np.uint64(24)) % np.uint64(width)).astype(int), sign * values)
        length = np.linalg.norm(out[1:])
        if length > 0:
            out[1:] /= length
        return out

    def predicted(self, trace: Trace, model: str) -> float:
        """Return the mean reward expected of `model` on the request, 0 to 1."""
        mean, _ = self._estimate(model, self.context(trace.request.prompt))
        return min(1.0, max(0.0, mean))

    def explored(self, trace: Trace) -> "LinUCB":
        """Return the policy that has counted what the choices of `trace` cost over the best."""
        usd = self._extra_usd(trace, self.context(trace.request.prompt))
        state = replace(self.state, explored_usd=self.state.explored_usd + usd)
        return replace(self, state=state) if usd else self

    def learned(
        self, trace: Trace, reward: float, *, forgetting: float = 1.0, counted: bool = False
    ) -> "LinUCB":
        """Return the policy that has also seen what `trace` earned.

        Parameters
        ----------
        trace : Trace
            A finished trace of this policy.
        reward : float
            0 to 1.
        forgetting : float, default=1
            What older rewards are multiplied by, over 0 and at most 1.
        counted : bool, default=False
            Whether `explored` has counted the trace already.
        """
        before = (self if counted else self.explored(trace)).state
        x = self.context(trace.request.prompt)
        precision: dict[str, FloatArray] = {
            m: forgetting * np.array(a) for m, a in self.state.precision.items()
        }
        moment: dict[str, FloatArray] = {
            m: forgetting * np.array(b) for m, b in self.state.moment.items()
        }
        for model, earned in outcomes(trace, reward):
            precision[model] = precision.get(model, np.zeros((len(x), len(x)))) + np.outer(x, x)
            moment[model] = moment.get(model, np.zeros(len(x))) + x * (earned - _PRIOR_MEAN)
        state = LinearState(
            precision={m: _rows(a) for m, a in precision.items()},
            moment={m: tuple(b.tolist()) for m, b in moment.items()},
            explored_usd=before.explored_usd,
            updates=self.state.updates + 1,
        )
        return replace(self, state=state)

    def forgot(self, model: str, keep: float) -> "LinUCB":
        """Return the policy that kept only the share `keep` of what it knew of `model`."""
        if model not in self.state.moment:
            return self
        precision = keep * np.array(self.state.precision[model])
        moment = keep * np.array(self.state.moment[model])
        state = replace(
            self.state,
            precision={**self.state.precision, model: _rows(precision)},
            moment={**self.state.moment, model: tuple(moment.tolist())},
        )
        return replace(self, state=state)

    @property
    def _terms(self) -> Terms:
        return Terms(
            models=self.models,
            completion_tokens=self.completion_tokens,
            switch_cost=self.switch_cost,
            explore_usd=self.explore_usd,
            explore_total_usd=self.explore_total_usd,
        )

    def _estimate(self, model: str, x: FloatArray) -> tuple[float, float]:
        """Return the mean reward of `model` on the context, and its standard deviation."""
        precision = self.ridge * np.eye(self.dimensions)
        if model not in self.state.moment:
            return _PRIOR_MEAN, float(np.sqrt(x @ x / self.ridge))
        precision = precision + np.array(self.state.precision[model])
        solved = np.linalg.solve(precision, x)
        mean = _PRIOR_MEAN + float(solved @ np.array(self.state.moment[model]))
        return mean, math.sqrt(max(0.0, float(solved @ x)))

    def _means(self, arms: Arms, x: FloatArray) -> FloatArray:
        return np.array([self._estimate(model, x)[0] for model in arms.ids])

    def _chances(self, arms: Arms, x: FloatArray) -> FloatArray:
        estimates = np.array([self._estimate(model, x) for model in arms.ids])
        may = arms.allowed(estimates[:, 0], self._terms, self.state.explored_usd)
        bound = estimates[:, 0] + self.alpha * estimates[:, 1] - arms.handicap
        chance: FloatArray = may * self.epsilon / may.sum()
        chance[int(np.argmax(np.where(may, bound, -np.inf)))] += 1 - self.epsilon
        return chance

    def _extra_usd(self, trace: Trace, x: FloatArray) -> float:
        """Return the expected dollars that the choices of `trace` cost over the best known."""
        total = 0.0
        for k, step in enumerate(trace.steps):
            arms = Arms.of(structs.replace(trace, steps=trace.steps[:k]), self._terms)
            extra = arms.extra_usd(self._means(arms, x)) if arms.ids else ()
            asked = {reply.model for reply in step.replies}
            total += sum(
                float(usd)
                for model, usd in zip(arms.ids, extra, strict=True)
                if model in asked and not np.isnan(usd)
            )
        return total


_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplying by it spreads neighbours apart."""


@lru_cache(maxsize=1)
def _default_encoder() -> Encoder:
    return Hashed()


def _rows(matrix: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
