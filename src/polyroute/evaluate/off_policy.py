"""What another policy would have earned on the traffic that this one routed.

The one decision here: an estimate without support is refused, not printed. Where the logging
policy could not have taken the actions of the target policy, or took them so rarely that a few
rows decide, there is no number; the error says which of these it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from polyroute.decision import Decision, Route
from polyroute.errors import ConfigError
from polyroute.pool import Pool
from polyroute.protocols import FloatArray, Policy
from polyroute.records.record import Record
from polyroute.trace import Trace
from polyroute.types import Request

__all__ = [
    # what was logged, and what the other policy would have done
    "Logged", "logged", "probabilities",
    # estimates
    "Estimate", "Interval", "SupportError", "direct", "doubly_robust", "ips", "snips",
    # can they be trusted
    "Support", "support",
]  # fmt: skip

Interval: TypeAlias = Literal["normal", "bootstrap"]

_Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""

_Z_SUPPORT = 5.0
"""Mean weights further below 1 than this many standard errors mean no support. So many, because
weights are skewed: a log that happens to hold few large ones has a mean and an error too low."""

_RESAMPLES = 1_000

_MIN_ESS = 30.0
"""Below this the normal approximation of a mean is not to be trusted."""


class SupportError(ConfigError):
    """The log says too little about the target policy; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logged:
    """What a policy did, how likely it was to, and what came of it: N rows, M actions.

    Raises
    ------
    ConfigError
        If lengths differ, an action is not one of `actions`, or a number is not finite.
    SupportError
        If a propensity is unknown (NaN), zero or over 1.
    """

    actions: tuple[str, ...]
    """Names of the M actions: the ids of the pool."""
    action: NDArray[np.intp]
    """Which action was taken: its place in `actions`; shape (N,)."""
    propensity: FloatArray
    """Probability with which the logging policy took it, over 0 and at most 1; (N,)."""
    reward: FloatArray
    logging: FloatArray | None = None
    """All chances of the logging policy, shape (N, M), where they are known: then support is known
    too, and not only tested."""
    requests: tuple[Request, ...] = ()
    """The requests of the rows, where they are known."""

    def __post_init__(self) -> None:
        n, m = len(self.action), len(self.actions)
        for name in ("propensity", "reward"):
            if len(getattr(self, name)) != n:
                raise ConfigError(f"{name} has {len(getattr(self, name))} rows, action has {n}")
        if n == 0:
            raise SupportError("nothing was logged: 0 rows")
        if not np.all((self.action >= 0) & (self.action < m)):
            raise ConfigError(f"action must hold places in 'actions' (0 to {m - 1})")
        if not np.all(np.isfinite(self.reward)):
            raise ConfigError("every reward must be a number; leave out rows that have none")
        bad = ~((self.propensity > 0) & (self.propensity <= 1))
        if bad.any():
            row = int(np.argmax(bad))
            raise SupportError(
                f"{int(bad.sum())} of {n} propensities are unknown or not in (0, 1], the first in "
                f"row {row} ({self.propensity[row]!r}); only decisions with a known propensity "
                "can be weighted"
            )
        if self.logging is not None and self.logging.shape != (n, m):
            raise ConfigError(f"logging has shape {self.logging.shape}, expected {(n, m)}")

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """How much the log says about the target policy."""

    rows: int
    ess: float
    """Effective sample size, (sum of weights)^2 / (sum of squared weights); Kish."""
    coverage: float
    """Mean weight: the share of the target's decisions that the log can speak of. Near 1 when
    the support is there."""
    coverage_se: float
    """Standard error of `coverage`."""
    largest_weight: float
    matched: float
    """Share of rows with a weight over zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An off-policy estimate of the mean reward of the target policy."""

    method: Literal["direct", "ips", "snips", "doubly_robust"]
    value: float
    standard_error: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    interval: Interval
    support: Support


def logged(records: Iterable[Record], reward: Callable[[Record], float | None]) -> Logged:
    """Read actions and propensities from records of single-round routes.

    The action is the first route that is not the policy's own thinking. What followed a failed
    call is part of what came of it: the estimate is of choosing first as the target policy does,
    and going on after a failure as the logging policy did.

    Parameters
    ----------
    records : iterable of Record
        Kept with their texts, all over the same pool.
    reward : callable
        From a record to its reward; `None` leaves the record out. What is left out must not
        depend on the reward: a client that reports only what pleased it biases every estimate.

    Raises
    ------
    ConfigError
        If a record is of several rounds or several calls at once, or the pools differ.
    SupportError
        If nothing is left, or a propensity was not recorded.
    RecordError
        If a record was kept without its texts.
    """
    rows: list[tuple[int, float, float, Request]] = []
    pool: Pool | None = None
    for record in records:
        value = reward(record)
        if value is None:
            continue
        trace = record.trace()
        if pool is not None and trace.pool != pool:
            raise ConfigError(f"the record {record.id!r} is over another pool than those before")
        pool = trace.pool
        route = _single_route(trace)
        propensity = np.nan if route.propensity is None else route.propensity
        rows.append((pool.index_of(route.calls[0].model), propensity, value, trace.request))
    if pool is None:
        raise SupportError("no record has a reward")
    return Logged(
        actions=pool.ids,
        action=np.array([row[0] for row in rows]),
        propensity=np.array([row[1] for row in rows], float),
        reward=np.array([row[2] for row in rows], float),
        requests=tuple(row[3] for row in rows),
    )


async def probabilities(
    policy: Policy, requests: Sequence[Request], pool: Pool, *, draws: int = 200
) -> FloatArray:
    """Return the chances with which `policy` sends each request to each card, shape (N, M).

    A policy with a method ``chances`` (the bandits) is asked for them: they are exact. Otherwise a
    decision of propensity 1 is taken as it is, and a random one is made `draws` times with other
    seeds and counted, so each chance has a standard error of at most ``0.5 / sqrt(draws)``.

    Raises
    ------
    ConfigError
        If the policy decides anything but a single final route, or does not state a propensity.
    """
    chance_NM = np.zeros((len(requests), len(pool)))
    for n, request in enumerate(requests):
        if isinstance(policy, _StatesChances):
            for model, chance in policy.chances(Trace(request, pool)).items():
                chance_NM[n, pool.index_of(model)] = chance
            continue
        route = _checked(await policy.decide(Trace(request, pool)), request.id)
        if route.propensity is None:
            raise ConfigError(f"{type(policy).__name__} states no propensity for {request.id!r}")
        if route.propensity == 1:
            chance_NM[n, pool.index_of(route.calls[0].model)] = 1
            continue
        for k in range(draws):
            other = replace(request, seed=request.seed + k)
            route = _checked(await policy.decide(Trace(other, pool)), request.id)
            chance_NM[n, pool.index_of(route.calls[0].model)] += 1 / draws
    return chance_NM


def support(log: Logged, target_NM: FloatArray, *, min_ess: float = _MIN_ESS) -> Support:
    """Say how much `log` says about the target policy.

    Parameters
    ----------
    log : Logged
    target_NM : ndarray of shape (N, M)
        Chances of the target policy on the logged requests; rows sum to 1.
    min_ess : float, default=30
        Least effective sample size, 0 or more.

    Raises
    ------
    SupportError
        If the target takes actions that were never or could not be logged, if the mean weight is
        clearly below 1, or if the effective sample size is below `min_ess`.
    ConfigError
        If `target_NM` is not a table of chances.
    """
    weight_N = _weights(log, target_NM)
    n = len(weight_N)
    total, squares = float(weight_N.sum()), float(np.square(weight_N).sum())
    found = Support(
        rows=n,
        ess=total**2 / squares if squares else 0.0,
        coverage=total / n,
        coverage_se=_standard_error(weight_N),
        largest_weight=float(weight_N.max()),
        matched=float(np.mean(weight_N > 0)),
    )
    _refuse_without_support(log, target_NM, found)
    if found.ess < min_ess:
        raise SupportError(
            f"the effective sample size is {found.ess:.1f} of {n} rows, below {min_ess:g}: the "
            f"largest weight is {found.largest_weight:.3g}; log more, or explore more"
        )
    return found


def ips(
    log: Logged,
    target_NM: FloatArray,
    *,
    interval: Interval = "normal",
    min_ess: float = _MIN_ESS,
    seed: int = 0,
) -> Estimate:
    """Inverse propensity score: the mean of weight times reward. Unbiased.

    Parameters
    ----------
    log, target_NM, min_ess
        As in `support`, and the errors are those of `support`.
    interval : {"normal", "bootstrap"}, default="normal"
        The normal one uses the standard error; the other takes percentiles over 1,000 resamples
        of rows.
    seed : int, default=0
        For the bootstrap.

    References
    ----------
    Horvitz and Thompson (1952); Dudik, Langford and Li, *Doubly robust policy evaluation and
    learning*, arXiv:1103.4601, section 2.
    """
    found = support(log, target_NM, min_ess=min_ess)
    term_N = _weights(log, target_NM) * log.reward
    return _mean("ips", term_N, found, interval, seed)


def snips(
    log: Logged,
    target_NM: FloatArray,
    *,
    interval: Interval = "normal",
    min_ess: float = _MIN_ESS,
    seed: int = 0,
) -> Estimate:
    """Self-normalised IPS: divided by the sum of the weights. Small bias, less variance.

    Parameters are those of `ips`. The normal interval is that of a ratio, by linearisation.

    Raises
    ------
    SupportError
        As in `support`, and if every weight is zero.

    References
    ----------
    Swaminathan and Joachims, *The self-normalized estimator for counterfactual learning*,
    NeurIPS 2015.
    """
    found = support(log, target_NM, min_ess=min_ess)
    weight_N = _weights(log, target_NM)
    if not weight_N.any():
        raise SupportError("no logged action is one that the target policy takes")
    value = float(weight_N @ log.reward / weight_N.sum())
    influence_N = weight_N * (log.reward - value) / weight_N.mean()
    error = _standard_error(influence_N)
    if interval == "normal":
        low, high = value - _Z_95 * error, value + _Z_95 * error
    else:
        low, high = _bootstrap(weight_N * log.reward, weight_N, seed)
    return Estimate(
        method="snips", value=value, standard_error=error, low=low, high=high,
        interval=interval, support=found,
    )  # fmt: skip


def direct(
    log: Logged,
    target_NM: FloatArray,
    reward_NM: FloatArray,
    *,
    interval: Interval = "normal",
    min_ess: float = _MIN_ESS,
    seed: int = 0,
) -> Estimate:
    """Direct method: what a model of the reward predicts of the target's actions.

    Its interval is that of the requests drawn; it knows nothing of the model's own error, which
    can be far larger. Print it beside `doubly_robust`, never alone.

    Parameters
    ----------
    log, target_NM, interval, min_ess, seed
        As in `ips`, and the errors are those of `support`.
    reward_NM : ndarray of shape (N, M)
        Predicted reward of every action. Fit the model on other rows than these.
    """
    found = support(log, target_NM, min_ess=min_ess)
    return _mean("direct", _expected(log, target_NM, reward_NM), found, interval, seed)


def doubly_robust(
    log: Logged,
    target_NM: FloatArray,
    reward_NM: FloatArray,
    *,
    interval: Interval = "normal",
    min_ess: float = _MIN_ESS,
    seed: int = 0,
) -> Estimate:
    """Direct method, corrected by the weighted residuals of what was observed.

    Unbiased when the propensities are right, whatever the model of the reward says, and right
    too when the model is right and the propensities are not.

    Parameters
    ----------
    log, target_NM, reward_NM, interval, min_ess, seed
        As in `direct`, and the errors are those of `support`.

    References
    ----------
    Dudik, Langford and Li, *Doubly robust policy evaluation and learning*, arXiv:1103.4601,
    section 2.2, equation 1.
    """
    found = support(log, target_NM, min_ess=min_ess)
    predicted_N = _expected(log, target_NM, reward_NM)
    residual_N = log.reward - reward_NM[np.arange(len(log)), log.action]
    term_N = predicted_N + _weights(log, target_NM) * residual_N
    return _mean("doubly_robust", term_N, found, interval, seed)


@runtime_checkable
class _StatesChances(Protocol):
    def chances(self, trace: Trace) -> Mapping[str, float]: ...


def _single_route(trace: Trace) -> Route:
    for step in trace.steps:
        if not (isinstance(step.decision, Route) and step.decision.own):
            return _checked(step.decision, trace.request.id)
    raise ConfigError(f"the record {trace.request.id!r} has no route")


def _checked(decision: Decision, id: str) -> Route:
    if not isinstance(decision, Route) or not decision.final or len(decision.calls) != 1:
        raise ConfigError(
            f"the decision on {id!r} is not a single final route: off-policy estimates are of "
            "single-round routers; leave out the others"
        )
    return decision


def _weights(log: Logged, target_NM: FloatArray) -> FloatArray:
    shape = (len(log), len(log.actions))
    if target_NM.shape != shape:
        raise ConfigError(f"target_NM has shape {target_NM.shape}, expected {shape}")
    if not (np.all(target_NM >= 0) and np.allclose(target_NM.sum(axis=1), 1, atol=1e-6)):
        raise ConfigError("every row of target_NM must hold chances that sum to 1")
    weight_N: FloatArray = target_NM[np.arange(len(log)), log.action] / log.propensity
    return weight_N


def _refuse_without_support(log: Logged, target_NM: FloatArray, found: Support) -> None:
    if log.logging is not None:
        outside_NM = (target_NM > 0) & ~(log.logging > 0)
        if outside_NM.any():
            names = [log.actions[j] for j in np.flatnonzero(outside_NM.any(axis=0))]
            raise SupportError(
                f"in {int(outside_NM.any(axis=1).sum())} of {len(log)} rows the target policy "
                f"takes an action that the logging policy never does there ({', '.join(names)}); "
                "no weight can make up for it"
            )
        return
    taken = np.bincount(log.action, minlength=len(log.actions)) > 0
    never = [name for j, name in enumerate(log.actions) if target_NM[:, j].any() and not taken[j]]
    if never:
        raise SupportError(
            f"the target policy uses {', '.join(map(repr, never))}, which no row of the log took"
        )
    if found.coverage + _Z_SUPPORT * found.coverage_se < 1 - 1e-9:
        raise SupportError(
            f"the mean weight is {found.coverage:.3f} (standard error {found.coverage_se:.3f}), "
            "and it would be 1 if the logging policy could take every action of the target "
            f"policy: about {1 - found.coverage:.0%} of the target's decisions have no support"
        )


def _expected(log: Logged, target_NM: FloatArray, reward_NM: FloatArray) -> FloatArray:
    if reward_NM.shape != target_NM.shape:
        raise ConfigError(f"reward_NM has shape {reward_NM.shape}, expected {target_NM.shape}")
    if not np.all(np.isfinite(reward_NM)):
        raise ConfigError("reward_NM must hold a prediction for every action of every row")
    expected_N: FloatArray = np.einsum("nm,nm->n", target_NM, reward_NM)
    return expected_N


def _mean(
    method: Literal["direct", "ips", "doubly_robust"],
    term_N: FloatArray,
    found: Support,
    interval: Interval,
    seed: int,
) -> Estimate:
    value, error = float(term_N.mean()), _standard_error(term_N)
    if interval == "normal":
        low, high = value - _Z_95 * error, value + _Z_95 * error
    else:
        low, high = _bootstrap(term_N, np.ones_like(term_N), seed)
    return Estimate(
        method=method, value=value, standard_error=error, low=low, high=high,
        interval=interval, support=found,
    )  # fmt: skip


def _standard_error(term_N: FloatArray) -> float:
    return float(term_N.std(ddof=1) / np.sqrt(len(term_N))) if len(term_N) > 1 else float("inf")


def _bootstrap(top_N: FloatArray, bottom_N: FloatArray, seed: int) -> tuple[float, float]:
    """Percentiles of the ratio of two sums over resampled rows."""
    rng = np.random.default_rng(seed)
    n = len(top_N)
    ratios = np.empty(_RESAMPLES)
    for k in range(_RESAMPLES):
        rows = rng.integers(0, n, n)
        bottom = bottom_N[rows].sum()
        ratios[k] = top_N[rows].sum() / bottom if bottom else np.nan
    low, high = np.nanpercentile(ratios, [2.5, 97.5])
    return float(low), float(high)
