"""Set the knob of a fitted policy for what its user wants, on questions held out.

The one decision here: a user states a goal in his own terms (so much of the best model's quality,
so many calls to the strong model, so often a right answer), and the number that achieves it is
found on data; nobody has to know what a threshold of 0.116 means. Of many settings the cheapest
that reached a quality has partly been lucky, so it must have done so with a margin.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.outcomes import side_of
from polyroute.policies.conformal import Conformal
from polyroute.policies.greedy import Greedy
from polyroute.policies.threshold import Threshold
from polyroute.protocols import FloatArray, Policy
from polyroute.train.examples import Examples
from polyroute.types import Json, JsonObject

__all__ = ["RIGHT", "Goal", "calibrate", "folds"]

RIGHT = 0.5
"""A response counts as right from this score on."""

_STEPS = 400
"""Values of the willingness to pay, or thresholds, that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a policy's knob is set for; one of them, or none.

    Raises
    ------
    ConfigError
        If there are several, or one is out of range.
    """

    quality: float | None = None
    """Share of the best single model's quality to reach at the lowest price: ``greedy`` and
    ``threshold``. A router may do better than any model, so more than 1 can be asked."""
    strong_share: float | None = None
    """Most of the requests that may go to the strong model, as a share: ``threshold``."""
    alpha: float | None = None
    """Most often that no right answer is in the set, where there is one: ``conformal``."""
    sure: float = 1.645
    """Standard errors by which a quality must be reached, 0 or more: those of the mean difference,
    question by question, to the best single model's. 1.645 is one-sided 95 %."""

    def __post_init__(self) -> None:
        given = {name: value for name, value in self._all.items() if value is not None}
        if len(given) > 1:
            raise ConfigError(f"one goal at a time, got {' and '.join(given)}")
        if not self.sure >= 0:
            raise ConfigError(f"sure must be 0 or more, got {self.sure!r}")
        for name, value in given.items():
            if not 0 < value <= (math.inf if name == "quality" else 1):
                most = "" if name == "quality" else " and at most 1"
                raise ConfigError(f"the goal {name} must be over 0{most}, got {value!r}")

    @property
    def _all(self) -> Mapping[str, float | None]:
        names = ("quality", "strong_share", "alpha")
        return {name: getattr(self, name) for name in names}

    @property
    def is_set(self) -> bool:
        """Whether there is a goal."""
        return any(value is not None for value in self._all.values())

    @property
    def refits(self) -> bool:
        """Whether the estimators may be fitted anew after the knob was set."""
        return self.alpha is None


def folds(
    examples: Examples, count: int = 5, *, seed: int = 0
) -> Iterator[tuple[Examples, Examples]]:
    """Yield `count` divisions by question: what to fit on, and what to judge by.

    Raises
    ------
    ConfigError
        If there are too few questions.
    """
    sides = {str(k): 1 / count for k in range(count)}
    side_N = np.array([int(side_of(one.prompt, sides, seed=seed)) for one in examples.requests])
    if len(np.unique(side_N)) < count:
        raise ConfigError(f"{len(examples)} questions are too few for {count} folds")
    for k in range(count):
        yield examples.rows(side_N != k), examples.rows(side_N == k)


def calibrate(
    policy: Policy,
    goal: Goal,
    held: Examples,
    *more: tuple[Policy, Examples],
) -> tuple[dict[str, Json], JsonObject]:
    """Return the parameters of `policy` that reach `goal` on `held`, and what was found there.

    Parameters
    ----------
    policy : Policy
        Its estimators are fitted, on other questions than those of `held`.
    goal : Goal
    held : Examples
    *more : pairs of Policy and Examples
        The same policy fitted on other questions, and those it has not seen (`folds`). For a
        quality or a share the knob is then set on all of them together.

    Raises
    ------
    ConfigError
        If the goal is not one of this policy's, or cannot be reached by any value.
    """
    pairs = [(policy, held), *more]
    if goal.quality is not None and isinstance(policy, Greedy):
        return _usd_per_quality(pairs, goal)
    if goal.quality is not None and isinstance(policy, Threshold):
        return _threshold_for_quality(pairs, goal)
    if goal.strong_share is not None and isinstance(policy, Threshold):
        return _threshold(_win_rates(pairs), goal.strong_share)
    if goal.alpha is not None and isinstance(policy, Conformal):
        return _mass(policy, goal.alpha, held)
    if not goal.is_set:
        return {}, {}
    raise ConfigError(
        f"{type(policy).__name__.lower()!r} has no such goal: quality is for greedy and threshold, "
        "strong_share for threshold, alpha for conformal"
    )


_Pairs: TypeAlias = Sequence[tuple[Policy, Examples]]


def _usd_per_quality(pairs: _Pairs, goal: Goal) -> tuple[dict[str, Json], JsonObject]:
    """Return the willingness to pay with the lowest bill of those that reach the quality.

    When nothing reaches it, quality is all that counts.

    Raises
    ------
    ConfigError
        If no price is known.
    """
    told = [(p, held) for p, held in pairs if isinstance(p, Greedy)]
    predicted = [np.clip(p.quality.predict(h.requests, h.pool), 0, 1) for p, h in told]
    quality_NM = np.concatenate(predicted)
    usd_NM = np.concatenate([p.expected_usd(h.requests, h.pool) for p, h in told])
    recorded_NM = np.concatenate([held.usd_NM for _, held in told])
    paid_NM = np.where(np.isnan(recorded_NM), usd_NM, recorded_NM)
    if np.isnan(paid_NM).all():
        raise ConfigError(
            "no price is known, recorded or on a card, so there is no lowest one to look for; give "
            "the cards prices, or drop the target"
        )
    knobs = ((w, _chosen(quality_NM, usd_NM, w)) for w in (0.0, *_grid(usd_NM)))
    willingness, found = _cheapest(knobs, pairs, paid_NM, goal)
    return {"usd_per_quality": willingness or None}, found


def _threshold_for_quality(pairs: _Pairs, goal: Goal) -> tuple[dict[str, Json], JsonObject]:
    """Return the threshold with the lowest bill of those that reach the quality; else 0.

    Where nobody recorded prices the bill is the number of calls to the strong model.
    """
    policy, held = pairs[0]
    assert isinstance(policy, Threshold)
    strong, weak = (held.pool.index_of(name) for name in (policy.strong, policy.weak))
    rates = np.nan_to_num(_win_rates(pairs), nan=np.inf)
    paid_NM = np.concatenate([examples.usd_NM for _, examples in pairs])
    if np.isnan(paid_NM).all():
        paid_NM = np.tile(np.eye(len(held.pool))[strong], (len(rates), 1))
    known = np.unique(rates[np.isfinite(rates)])
    ladder = [*known[:: max(1, len(known) // _STEPS)], np.nextafter(known[-1:].max(initial=1), 2)]
    knobs = ((float(t), np.where(rates >= t, strong, weak)) for t in (0.0, *ladder))
    threshold, found = _cheapest(knobs, pairs, paid_NM, goal)
    return {"threshold": threshold}, found


def _cheapest(
    knobs: Iterable[tuple[float, NDArray[np.int64]]],
    pairs: _Pairs,
    paid_NM: FloatArray,
    goal: Goal,
) -> tuple[float, JsonObject]:
    """Return the knob of the lowest bill that surely reaches the goal; else the first one.

    The best single model is the one with the highest mean on the questions held out; its quality
    there, question by question, times the goal is to be reached there.
    """
    target = float(goal.quality or 0)
    score_NM = np.concatenate([held.quality_NM for _, held in pairs])
    means = [_mean(column) for column in score_NM.T]
    best = int(np.nanargmax(means))
    rows = np.arange(len(score_NM))
    found: list[tuple[float, float, float, bool]] = []
    for knob, chosen in knobs:
        score_N = score_NM[rows, chosen]
        more_N = score_N - target * score_NM[:, best]
        more_N = more_N[~np.isnan(more_N)]
        error = more_N.std(ddof=1) / math.sqrt(len(more_N)) if len(more_N) > 1 else 0.0
        surely = bool(len(more_N)) and float(more_N.mean() - goal.sure * error) >= -1e-12
        found.append((knob, _mean(score_N), _mean(paid_NM[rows, chosen]), surely))
    reached = [point for point in found if point[3] and not math.isnan(point[2])]
    knob, got, paid, _ = min(reached, key=lambda point: point[2]) if reached else found[0]
    return knob, {
        "quality": target,
        "sure": goal.sure,
        "questions": len(score_NM),
        "reached": bool(reached),
        "got_quality": got,
        "got_usd": None if math.isnan(paid) else paid,
        "best_single": pairs[0][1].pool.ids[best],
        "best_single_quality": means[best],
        "best_single_usd": _known(_mean(paid_NM[:, best])),
    }


def _win_rates(pairs: _Pairs) -> FloatArray:
    told = [(p, held) for p, held in pairs if isinstance(p, Threshold)]
    return np.concatenate([p.win_rates(held.requests, held.pool) for p, held in told])


def _grid(usd_NM: FloatArray) -> FloatArray:
    """Return willingness to pay from "the cheapest, always" to "price hardly counts"."""
    known = usd_NM[~np.isnan(usd_NM) & (usd_NM > 0)]
    if not known.size:
        return np.array([])
    return np.geomspace(known.min() / 10, known.max() * 1_000, _STEPS)


def _chosen(quality_NM: FloatArray, usd_NM: FloatArray, willingness: float) -> NDArray[np.int64]:
    """Return the column that greedy asks on each row; see `polyroute.policies.greedy`."""
    untold_NM = np.isnan(quality_NM)
    unknown_NM = np.isnan(usd_NM)
    worth_NM = np.where(untold_NM, 0, quality_NM)
    if willingness:
        worth_NM = np.where(unknown_NM | untold_NM, worth_NM, worth_NM - usd_NM / willingness)
    unweighed_NM = unknown_NM & bool(willingness)
    price_NM = np.where(unknown_NM, np.inf, usd_NM)
    order_NM = np.lexsort((price_NM, -worth_NM, unweighed_NM, untold_NM), axis=1)
    chosen: NDArray[np.int64] = order_NM[:, 0]
    return chosen


def _threshold(rates: FloatArray, share: float) -> tuple[dict[str, Json], JsonObject]:
    """Return the least threshold that no more than `share` of the win rates reach.

    Raises
    ------
    ConfigError
        If no win rate is known.

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665: its calibration takes the quantile of the predicted
    win rates of real prompts; no outcome is looked at.
    """
    rates = np.sort(rates[~np.isnan(rates)])
    if not rates.size:
        raise ConfigError("the estimator knows nothing of one of the two models")
    ladder = np.unique(np.append(rates, np.nextafter(rates[-1], np.inf)))
    reach = 1 - np.searchsorted(rates, ladder) / len(rates)
    threshold = float(ladder[int(np.argmax(reach <= share))])
    got = float((rates >= threshold).mean())
    return {"threshold": threshold}, {"strong_share": share, "got_share": got}


def _mass(policy: Conformal, alpha: float, held: Examples) -> tuple[dict[str, Json], JsonObject]:
    """Return the conformal quantile of the mass that had to be passed to reach a right answer.

    Questions that no candidate answers rightly are left out: no set could hold a right answer.

    Raises
    ------
    ConfigError
        If there are too few questions for `alpha`.

    References
    ----------
    Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005, split conformal
    prediction: the (n + 1)(1 - alpha)-th smallest score, rounded up, of n.
    """
    scores = policy.scores(held.requests, held.quality_NM >= RIGHT, held.pool)
    scores = np.sort(scores[np.isfinite(scores)])
    rank = math.ceil((len(scores) + 1) * (1 - alpha))
    if rank > len(scores):
        raise ConfigError(
            f"{len(scores)} questions with a right answer are too few for alpha {alpha:g}; it "
            f"takes {math.ceil(1 / alpha) - 1} or more held out"
        )
    mass = float(scores[max(rank, 1) - 1])
    sizes = policy.sizes(held.requests, held.pool, mass)
    return {"mass": mass}, {
        "alpha": alpha,
        "questions": len(scores),
        "mean_set": float(sizes.mean()),
    }


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
