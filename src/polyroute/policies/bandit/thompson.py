"""Thompson sampling: choose each candidate as often as it is likely to be the best.

The one decision here: the chance of each candidate is computed, as a sum over a histogram of each
posterior, and the draw is made from these chances. So the logged propensity is the probability of
the draw, not an estimate of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from msgspec import structs

from polyroute.decision import Decision
from polyroute.errors import ConfigError
from polyroute.policies.bandit.arms import Arms, Terms, chances_by_id, decide, outcomes
from polyroute.pool import CardId
from polyroute.protocols import FloatArray, Method
from polyroute.trace import Trace
from polyroute.types import Request

__all__ = ["BetaState", "Thompson", "chances_of_best"]

_CELLS = 2_048
"""Cells of the histogram of a quality in [0, 1]."""

_EDGES = np.arange(_CELLS + 1)
_MIDDLES = np.arange(_CELLS) + 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaState:
    """What was learned: an immutable snapshot of plain values."""

    wins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Sum of rewards by context and model, discounted."""
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Sum of 1 - reward."""
    explored_usd: float = 0.0
    """What exploring has cost: expected extra dollars over the best known candidate."""
    updates: int = 0
    """How many rewards it was learned from."""


@dataclass(frozen=True, slots=True)
class Thompson:
    """Choose by sampling from the posterior of every candidate's mean reward, per context.

    Rewards in [0, 1]; each (context, model) has a Beta posterior over its mean. The value of a
    candidate is its quality, less its expected price by ``budget.usd_per_quality`` where the
    request has one, less `switch_cost` when it is not who answered before.

    Parameters
    ----------
    models : tuple of str, optional
        Ids to choose from; all models and agents of the pool when `None`.
    context : callable, optional
        From a request to a short name (a task, a language, a cluster); what is learned is kept
        apart per context. One context for everything when `None`.
    state : BetaState, optional
        What was learned so far; nothing by default. See `polyroute.policies.bandit.online`.
    prior : tuple of two floats, default=(1, 1)
        Wins and losses every candidate starts with, each 1 or more.
    epsilon : float, default=0.01
        Share of requests drawn uniformly, 0 to 1, so that off-policy estimates have support.
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
        If a parameter is out of its range.

    References
    ----------
    Thompson (1933); Chapelle and Li, *An empirical evaluation of Thompson sampling*, NeurIPS
    2011, algorithm 2 (Bernoulli rewards). Fractional rewards count as fractions of both.
    """

    method: ClassVar[Method] = Method(
        when="online",
        what=("query", "model metadata", "feedback"),
        how="bandit",
        paper="Chapelle and Li, An empirical evaluation of Thompson sampling, NeurIPS 2011",
    )

    models: tuple[CardId, ...] | None = None
    context: Callable[[Request], str] | None = None
    state: BetaState = field(default_factory=BetaState)
    prior: tuple[float, float] = (1.0, 1.0)
    epsilon: float = 0.01
    completion_tokens: int = 300
    switch_cost: float = 0.0
    explore_usd: float | None = None
    explore_total_usd: float | None = None

    def __post_init__(self) -> None:
        if len(self.prior) != 2 or min(self.prior) < 1:
            raise ConfigError(f"prior must be two numbers, 1 or more, got {self.prior!r}")
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"epsilon must be 0 to 1, got {self.epsilon!r}")
        _ = self._terms

    async def decide(self, trace: Trace) -> Decision:
        """Return one final call to a candidate drawn by its chance of being the best.

        Raises
        ------
        UnknownModelError
            If a named model is not in the pool.
        """
        name = self._context_of(trace.request)
        why = f"Thompson sampling in the context {name!r} after {self.state.updates} rewards"
        return decide(trace, self._terms, lambda arms: self._chances(arms, name), why)

    def chances(self, trace: Trace) -> Mapping[str, float]:
        """Return the chance of every candidate that is left, exactly; they sum to 1."""
        name = self._context_of(trace.request)
        return chances_by_id(trace, self._terms, lambda arms: self._chances(arms, name))

    def predicted(self, trace: Trace, model: str) -> float:
        """Return the mean reward expected of `model` on the request."""
        wins, losses = self._counts(self._context_of(trace.request), model)
        return wins / (wins + losses)

    def explored(self, trace: Trace) -> "Thompson":
        """Return the policy that has counted what the choices of `trace` cost over the best."""
        usd = self._extra_usd(trace, self._context_of(trace.request))
        state = replace(self.state, explored_usd=self.state.explored_usd + usd)
        return replace(self, state=state) if usd else self

    def learned(
        self, trace: Trace, reward: float, *, forgetting: float = 1.0, counted: bool = False
    ) -> "Thompson":
        """Return the policy that has also seen what `trace` earned.

        Parameters
        ----------
        trace : Trace
            A finished trace of this policy.
        reward : float
            0 to 1.
        forgetting : float, default=1
            What older rewards of the same context are multiplied by, over 0 and at most 1.
        counted : bool, default=False
            Whether `explored` has counted the trace already.
        """
        before = (self if counted else self.explored(trace)).state
        name = self._context_of(trace.request)
        wins = {m: forgetting * w for m, w in self.state.wins.get(name, {}).items()}
        losses = {m: forgetting * w for m, w in self.state.losses.get(name, {}).items()}
        for model, earned in outcomes(trace, reward):
            wins[model] = wins.get(model, 0.0) + earned
            losses[model] = losses.get(model, 0.0) + 1 - earned
        state = BetaState(
            wins={**self.state.wins, name: wins},
            losses={**self.state.losses, name: losses},
            explored_usd=before.explored_usd,
            updates=self.state.updates + 1,
        )
        return replace(self, state=state)

    def forgot(self, model: str, keep: float) -> "Thompson":
        """Return the policy that kept only the share `keep` of what it knew of `model`."""

        def less(counts: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
            return {
                name: {m: w * keep if m == model else w for m, w in of.items()}
                for name, of in counts.items()
            }

        state = replace(self.state, wins=less(self.state.wins), losses=less(self.state.losses))
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

    def _context_of(self, request: Request) -> str:
        return "" if self.context is None else self.context(request)

    def _counts(self, name: str, model: str) -> tuple[float, float]:
        return (
            self.prior[0] + self.state.wins.get(name, {}).get(model, 0.0),
            self.prior[1] + self.state.losses.get(name, {}).get(model, 0.0),
        )

    def _means(self, arms: Arms, name: str) -> FloatArray:
        counts = np.array([self._counts(name, model) for model in arms.ids])
        means: FloatArray = counts[:, 0] / counts.sum(axis=1)
        return means

    def _chances(self, arms: Arms, name: str) -> FloatArray:
        may = arms.allowed(self._means(arms, name), self._terms, self.state.explored_usd)
        places = np.flatnonzero(may)
        counts = [self._counts(name, arms.ids[k]) for k in places]
        best = chances_of_best(counts, arms.handicap[places])
        chance = np.zeros(len(arms.ids))
        chance[places] = (1 - self.epsilon) * best + self.epsilon / len(places)
        return chance

    def _extra_usd(self, trace: Trace, name: str) -> float:
        """Return the expected dollars that the choices of `trace` cost over the best known."""
        total = 0.0
        for k, step in enumerate(trace.steps):
            arms = Arms.of(structs.replace(trace, steps=trace.steps[:k]), self._terms)
            extra = arms.extra_usd(self._means(arms, name)) if arms.ids else ()
            asked = {reply.model for reply in step.replies}
            total += sum(
                usd
                for model, usd in zip(arms.ids, extra, strict=True)
                if model in asked and not np.isnan(usd)
            )
        return float(total)


def chances_of_best(counts: list[tuple[float, float]], handicap: FloatArray) -> FloatArray:
    """Return the chance of each of K Beta variables, less its handicap, to be the largest.

    The integral over each density times the others' distribution functions, as a sum over 2,048
    cells, normalised: those of the Beta distributions to about 0.001 where a distribution is
    wider than a few cells.

    Parameters
    ----------
    counts : list of (float, float)
        Both parameters of each Beta distribution, 1 or more.
    handicap : ndarray of shape (K,)

    Examples
    --------
    >>> chances_of_best([(1, 1), (1, 1)], np.zeros(2)).round(3)
    array([0.5, 0.5])
    >>> chances_of_best([(2, 1), (1, 1)], np.zeros(2)).round(3)
    array([0.667, 0.333])
    """
    return np.array(_chances_of_best(tuple(counts), tuple(handicap.tolist())))


@lru_cache(maxsize=1_024)
def _chances_of_best(
    counts: tuple[tuple[float, float], ...], handicap: tuple[float, ...]
) -> tuple[float, ...]:
    """Remembered: between two rewards the same chances are asked for again and again."""
    mass = [_histogram(wins, losses) for wins, losses in counts]
    below = [np.concatenate([[0.0], np.cumsum(cells)]) for cells in mass]
    out = np.empty(len(counts))
    for k, cells in enumerate(mass):
        product = cells.copy()
        for j, cumulative in enumerate(below):
            if j == k:
                continue
            reach = _MIDDLES + (handicap[j] - handicap[k]) * _CELLS
            product *= np.interp(reach, _EDGES, cumulative)
        out[k] = product.sum()
    return tuple((out / out.sum()).tolist())


@lru_cache(maxsize=4_096)
def _histogram(wins: float, losses: float) -> FloatArray:
    at = (np.arange(_CELLS) + 0.5) / _CELLS
    log = (wins - 1) * np.log(at) + (losses - 1) * np.log1p(-at)
    cells: FloatArray = np.exp(log - log.max())
    cells /= cells.sum()
    return cells
