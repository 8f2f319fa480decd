"""Hybrid-LLM: a two-model router trained on how likely the weak model is good enough.

The one decision here: no policy of its own. `threshold` asks the strong model where its win rate
over the weak one reaches the knob, and the win rate of labels (weak: y, strong: 1 - y) is 1 - y; so
what Hybrid-LLM learns is a target for the same policy, and what serves and calibrates that serves
and calibrates this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable
from polyroute.policies.threshold import Threshold
from polyroute.pool import Pool
from polyroute.protocols import FloatArray
from polyroute.spec import Spec, construct
from polyroute.train.artifact import Fitted
from polyroute.train.calibrate import Goal, calibrate, folds
from polyroute.train.examples import Examples
from polyroute.train.fit import in_full
from polyroute.types import Json

__all__ = ["Form", "Pair", "best_relaxation", "fit_hybrid", "soft_labels"]

Form: TypeAlias = Literal["deterministic", "probabilistic", "transformed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two models, and the estimator that learns the labels."""

    strong: str
    weak: str
    quality: Spec = "logistic"


def soft_labels(
    weak: Sequence[FloatArray], strong: Sequence[FloatArray], *, form: Form, relaxation: float = 0.0
) -> FloatArray:
    """Return how likely the weak model is good enough on each question, shape (N,).

    Parameters
    ----------
    weak, strong : sequence of ndarray
        Scores of the samples of each model on each question; one that has none gives NaN.
    form : {"deterministic", "probabilistic", "transformed"}
        Whether the weak model's mean score is at least the strong one's (0 or 1); the share of
        pairs of samples in which the weak one's is; the same with `relaxation` to spare.
    relaxation : float, default=0
        How much worse than the strong model still is good enough, t; ``transformed`` only.

    References
    ----------
    Ding et al., *Hybrid LLM: Cost-Efficient and Quality-Aware Query Routing*, arXiv:2404.14618,
    section 3: r_det, r_prob and r_trans, on the quality gap H = q(weak) - q(strong).

    Examples
    --------
    >>> pair = [np.array([0.0, 1.0])], [np.array([1.0])]
    >>> [soft_labels(*pair, form=f).tolist() for f in ("deterministic", "probabilistic")]
    [[0.0], [0.5]]
    """
    labels = np.full(len(weak), np.nan)
    slack = relaxation if form == "transformed" else 0.0
    for n, (below, above) in enumerate(zip(weak, strong, strict=True)):
        if not len(below) or not len(above):
            continue
        if form == "deterministic":
            labels[n] = float(below.mean() >= above.mean())
        else:
            gap = below[:, None] - above[None, :]
            labels[n] = float((gap >= -slack - 1e-12).mean())
    return labels


def best_relaxation(weak: Sequence[FloatArray], strong: Sequence[FloatArray]) -> float:
    """Return the t that tells the questions' labels apart best, 0 to 1.

    The one with the largest mean absolute difference between the labels of two questions, the
    smallest of equals; tried are 0 and all gaps that occur.

    References
    ----------
    Hybrid LLM, arXiv:2404.14618, the router r_trans.
    """
    gaps = [
        np.clip(-(b[:, None] - a[None, :]).ravel(), 0, 1) for b, a in zip(weak, strong, strict=True)
    ]
    tried = np.unique(np.round(np.concatenate([[0.0], *gaps]), 6))
    tried = tried[:: max(1, len(tried) // 64)]
    best, spread = 0.0, -1.0
    for t in tried:
        labels = soft_labels(weak, strong, form="transformed", relaxation=float(t))
        labels = np.sort(labels[~np.isnan(labels)])
        n = len(labels)
        # the mean of |y_i - y_j| over all pairs, from the sorted labels
        apart = 2 * float((2 * np.arange(1, n + 1) - n - 1) @ labels) / max(1, n * n)
        if apart > spread + 1e-12:
            best, spread = float(t), apart
    return best


def fit_hybrid(
    table: OutcomeTable,
    pool: Pool,
    pair: Pair,
    *,
    form: Form = "transformed",
    goal: Goal | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a `threshold` policy to soft labels, and set its knob on the recorded scores.

    Parameters
    ----------
    table : OutcomeTable
        Scores of both models; several samples of an answer make the labels soft.
    pool : Pool
        With both models.
    pair : Pair
    form : {"deterministic", "probabilistic", "transformed"}, default="transformed"
        See `soft_labels`; t is `best_relaxation`'s.
    goal : Goal, optional
        A quality or a share of calls to the strong model. The knob is set by five folds.
    seed : int, default=0
        Of the folds.

    Raises
    ------
    ConfigError
        If no question has scores of both, or there are too few of them for the goal.
    """
    goal = goal or Goal()
    examples = Examples.of(table, pool=pool).only([pair.strong, pair.weak])
    weak, strong = (_samples(table, examples, name) for name in (pair.weak, pair.strong))
    relaxation = best_relaxation(weak, strong) if form == "transformed" else 0.0
    labels = soft_labels(weak, strong, form=form, relaxation=relaxation)
    if np.isnan(labels).all():
        raise ConfigError(f"no question has scores of both {pair.weak!r} and {pair.strong!r}")
    target_NM = np.full(examples.quality_NM.shape, np.nan)
    target_NM[:, examples.pool.index_of(pair.weak)] = labels
    target_NM[:, examples.pool.index_of(pair.strong)] = 1 - labels
    learned = Examples(
        requests=examples.requests, quality_NM=target_NM, usd_NM=examples.usd_NM, pool=examples.pool
    )
    spec = in_full(
        "policies",
        {"name": "threshold", "strong": pair.strong, "weak": pair.weak, "quality": pair.quality},
    )
    found: dict[str, Json] = {}
    if goal.is_set:
        sides = zip(folds(learned, seed=seed), folds(examples, seed=seed), strict=True)
        pairs = [(_fitted(spec, rest), judged) for (rest, _), (_, judged) in sides]
        (first, held), *more = pairs
        knob, goal_found = calibrate(first, goal, held, *more)
        spec, found = {**spec, **knob}, {"goal": goal_found}
    return Fitted(
        policy=_fitted(spec, learned),
        spec=spec,
        pool=examples.pool,
        training={
            "labels": form,
            "relaxation": relaxation,
            "mean_label": float(np.nanmean(labels)),
            "questions": len(examples),
            "data_sha256": examples.digest,
            **found,
        },
    )


def _fitted(spec: dict[str, Json], examples: Examples) -> Threshold:
    policy: Threshold = construct("policies", spec, where="policy")
    policy.quality.fit(examples.requests, examples.quality_NM, examples.pool)
    return policy


def _samples(table: OutcomeTable, examples: Examples, name: str) -> list[FloatArray]:
    """Return the scores of all samples of one card, question by question."""
    card = examples.pool.card(name)
    column = next(table.models.index(n) for n in (card.id, *card.aliases) if n in table.models)
    rows = {request.id: n for n, request in enumerate(examples.requests)}
    found: list[list[float]] = [[] for _ in rows]
    chosen = np.flatnonzero(table.responses.model == column)
    for row in chosen:
        n = rows.get(table.queries[int(table.responses.query[row])].query_id)
        score = float(table.responses.score[row])
        if n is not None and not np.isnan(score):
            found[n].append(score)
    return [np.array(scores) for scores in found]
