"""Fit a FrugalGPT cascade: the acceptance estimator, and the order and thresholds it stops by.

The one decision here: what is searched over are predictions for questions the estimator did not
see. It is fitted once per fold, and judges the fold that was left out; scored on its own training
questions it would look surer than it is, and the thresholds would be too low.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, side_of
from polyroute.policies.frugal import Frugal, with_reply
from polyroute.pool import Pool
from polyroute.protocols import Estimator, FloatArray
from polyroute.spec import Spec, construct
from polyroute.train.artifact import Fitted
from polyroute.train.fit import in_full
from polyroute.types import Request

__all__ = ["Cascade", "best_cascade", "fit_frugal"]

_MOST_MODELS = 16
"""More than this, and the search over ordered triples takes minutes."""


_GAPS = 4
"""Widest gaps between predictions in which a threshold is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """An order, its thresholds, and what they are expected to give."""

    order: tuple[int, ...]
    """Columns."""
    thresholds: tuple[float, ...]
    quality: float
    """Mean over the questions."""
    usd: float
    """Mean price of a question, in US dollars."""


def best_cascade(
    accept_NM: FloatArray,
    quality_NM: FloatArray,
    usd_NM: FloatArray,
    *,
    usd: float,
    length: int = 3,
    steps: int = 12,
) -> Cascade:
    """Return the cascade of the highest mean quality whose mean price is at most `usd`.

    All ordered lists of up to `length` models are tried with thresholds around quantiles of each
    model's predictions and in their widest gaps; between equals the cheaper wins.

    Parameters
    ----------
    accept_NM : ndarray of shape (N, M)
        Predicted quality of every reply.
    quality_NM, usd_NM : ndarray of shape (N, M)
        What the replies were worth, 0 to 1, and cost, in US dollars.
    usd : float
        Most dollars per question, on average.
    length : {1, 2, 3}, default=3
    steps : int, default=12
        Thresholds tried per stage, 2 or more.

    Raises
    ------
    ConfigError
        If no model is that cheap, or there are more than 16.

    References
    ----------
    Chen, Zaharia and Zou, arXiv:2305.05176, section 3: maximise E[r] over the list L and the
    thresholds tau subject to E[cost] <= b. It prunes and interpolates; here every list is tried.
    """
    models = accept_NM.shape[1]
    if models > _MOST_MODELS:
        raise ConfigError(f"{models} models are too many to search; name {_MOST_MODELS} or fewer")
    if length not in (1, 2, 3) or steps < 2:
        raise ConfigError(f"length must be 1 to 3 and steps 2 or more, got {length} and {steps}")
    cuts = [_cuts(accept_NM[:, m], steps) for m in range(models)]
    rejects = [(~(accept_NM[:, m] >= cut[:, None])).astype(float) for m, cut in enumerate(cuts)]
    found: Cascade | None = None
    for size in range(1, length + 1):
        for order in itertools.permutations(range(models), size):
            if usd_NM[:, order[0]].mean() > usd:
                continue
            value = _grid([quality_NM[:, m] for m in order], rejects, order, adds=False)
            price = _grid([usd_NM[:, m] for m in order], rejects, order, adds=True)
            value = np.where(price <= usd, value, -np.inf)
            at = np.unravel_index(int(np.lexsort((price.ravel(), -value.ravel()))[0]), value.shape)
            if not np.isfinite(value[at]):
                continue
            if found is None or (-value[at], price[at]) < (-found.quality, found.usd):
                thresholds = tuple(float(cuts[m][k]) for m, k in zip(order, at, strict=False))
                found = Cascade(
                    order=order,
                    thresholds=thresholds[: size - 1],
                    quality=float(value[at]),
                    usd=float(price[at]),
                )
    if found is None:
        cheapest = usd_NM.mean(axis=0).min()
        raise ConfigError(f"no model costs ${usd:g} or less; the cheapest is ${cheapest:.3g}")
    return found


def fit_frugal(
    table: OutcomeTable,
    pool: Pool,
    *,
    usd: float,
    accept: Spec = "logistic",
    splits: Sequence[str] = (),
    folds: int = 5,
) -> Fitted:
    """Fit a `frugal` policy to recorded replies.

    Parameters
    ----------
    table : OutcomeTable
        With the texts of the replies, their scores and their prices.
    pool : Pool
        The cards to choose stages from, 16 or fewer, all of them in the table.
    usd : float
        Most dollars per question, on average.
    accept : str or mapping, default="logistic"
        The acceptance estimator: a name, or ``{"name": ..., parameters}``.
    splits : sequence of str, optional
        Splits to learn from; all when empty.
    folds : int, default=5
        2 or more; by question.

    Returns
    -------
    Fitted
        For `polyroute.train.artifact.save`; its ``training`` has what is expected of it.

    Raises
    ------
    ConfigError
        If a model is missing from the table, texts or prices are, or there are too few questions.
    """
    seen = _Seen.of(table, pool, splits)
    fold_N = np.array([_fold(request, folds) for request in seen.requests])
    accept_NM = np.full(seen.quality_NM.shape, np.nan)
    for fold in range(folds):
        held_N = fold_N == fold
        if held_N.all() or not held_N.any():
            raise ConfigError(f"{len(held_N)} questions are too few for {folds} folds")
        estimator = seen.fitted(accept, ~held_N, pool)
        accept_NM[held_N] = seen.judged(estimator, held_N, pool)
    cascade = best_cascade(accept_NM, seen.quality_NM, seen.usd_NM, usd=usd)
    estimator = seen.fitted(accept, np.ones(len(fold_N), bool), pool)
    order = tuple(pool.ids[m] for m in cascade.order)
    spec = in_full(
        "policies",
        {
            "name": "frugal",
            "order": list(order),
            "thresholds": list(cascade.thresholds),
            "accept": accept,
        },
    )
    return Fitted(
        policy=Frugal(order, cascade.thresholds, estimator),
        spec=spec,
        pool=pool,
        training={
            "questions": len(fold_N),
            "folds": folds,
            "goal": {"usd": usd},
            "expected": {"quality": cascade.quality, "usd": cascade.usd},
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """Questions that every candidate has answered, in the order of the pool."""

    requests: tuple[Request, ...]
    replies: tuple[tuple[str, ...], ...]
    """By question and model."""
    quality_NM: FloatArray
    usd_NM: FloatArray

    @classmethod
    def of(cls, table: OutcomeTable, pool: Pool, splits: Sequence[str]) -> "_Seen":
        columns = [_column(table, card.id, card.aliases) for card in pool]
        texts = _texts(table)
        quality_NM, usd_NM = table.scores_NM()[:, columns], table.costs_NM()[:, columns]
        whole_N = np.isfinite(quality_NM + usd_NM).sum(axis=1) == len(pool)
        taken = [
            n
            for n, question in enumerate(table.queries)
            if whole_N[n]
            and (not splits or question.split in splits)
            and all((n, m) in texts for m in columns)
        ]
        if not taken:
            raise ConfigError(
                "no question has a text, a score and a price from every candidate; a learned "
                "cascade needs all three"
            )
        return cls(
            requests=tuple(
                Request.of(table.queries[n].prompt, id=table.queries[n].query_id) for n in taken
            ),
            replies=tuple(tuple(texts[n, m] for m in columns) for n in taken),
            quality_NM=quality_NM[taken],
            usd_NM=usd_NM[taken],
        )

    def fitted(self, spec: Spec, rows_N: NDArray[np.bool_], pool: Pool) -> Estimator:
        """Return the estimator fitted on every reply to the questions of the mask."""
        estimator: Estimator = construct("estimators", spec, where="accept")
        rows = np.flatnonzero(rows_N)
        texts, target = [], []
        for m in range(len(pool)):
            for n in rows:
                texts.append(with_reply(self.requests[n], self.replies[n][m]))
                line = np.full(len(pool), np.nan)
                line[m] = self.quality_NM[n, m]
                target.append(line)
        return estimator.fit(texts, np.array(target), pool)

    def judged(self, estimator: Estimator, rows_N: NDArray[np.bool_], pool: Pool) -> FloatArray:
        """Return the predicted quality of every reply to the questions of the mask."""
        rows = np.flatnonzero(rows_N)
        columns = []
        for m in range(len(pool)):
            asked = [with_reply(self.requests[n], self.replies[n][m]) for n in rows]
            columns.append(estimator.predict(asked, pool)[:, m])
        return np.column_stack(columns)


def _column(table: OutcomeTable, id: str, aliases: tuple[str, ...]) -> int:
    for name in (id, *aliases):
        if name in table.models:
            return table.models.index(name)
    raise ConfigError(
        f"the table has no model {id!r}, only {', '.join(table.models)}; give the card the "
        "table's name as an alias"
    )


def _texts(table: OutcomeTable) -> dict[tuple[int, int], str]:
    """Return the first kept text of each (question, model)."""
    texts: dict[tuple[int, int], str] = {}
    pairs = zip(table.responses.query, table.responses.model, table.texts, strict=True)
    for n, m, text in pairs:
        if text is not None:
            texts.setdefault((int(n), int(m)), text)
    return texts


def _fold(request: Request, folds: int) -> int:
    sides = {str(k): 1 / folds for k in range(folds)}
    return int(side_of(request.prompt, sides, seed=0))


def _cuts(accept: FloatArray, steps: int) -> FloatArray:
    """Return thresholds, ascending, the last accepting nothing.

    They lie half-way between two predictions: around quantiles, and in the widest gaps. A
    threshold on a prediction, in the middle of a crowd, would be crossed by the crowd when the
    estimator is fitted again.
    """
    values = np.unique(accept[~np.isnan(accept)])
    if len(values) < 2:
        return np.array([*values[:1], max(1.01, *values + 1e-6)]) if len(values) else np.ones(1)
    middles = (values[1:] + values[:-1]) / 2
    quantiles = np.nanquantile(accept, np.linspace(0, 1, steps)[1:-1])
    near = np.clip(np.searchsorted(values, quantiles) - 1, 0, len(middles) - 1)
    gaps = np.argsort(-np.diff(values), kind="stable")[:_GAPS]
    chosen = np.unique(np.concatenate([middles[near], middles[gaps]]))
    return np.array([values[0], *chosen, max(1.01, values[-1] + 1e-6)])


def _grid(
    parts: list[FloatArray], rejects: list[FloatArray], order: tuple[int, ...], *, adds: bool
) -> FloatArray:
    """Return the mean over questions for every combination of thresholds, shape (T1, T2).

    A stage that is reached gives its part: instead of what came before it, or (`adds`) on top.
    """
    n = len(parts[0])
    if len(order) == 1:
        return np.full((1, 1), parts[0].mean())
    first = rejects[order[0]]  # (T1, N)
    gain = parts[1] if adds else parts[1] - parts[0]
    total: FloatArray = parts[0].mean() + (first @ gain)[:, None] / n
    if len(order) == 3:
        gain = parts[2] if adds else parts[2] - parts[1]
        total = total + (first * gain) @ rejects[order[1]].T / n
    return total
