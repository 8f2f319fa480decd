"""An outcome table as what it says about an episode: who was recorded, and how an answer scores.

The one decision here: an answer has the score of the reply that it repeats. Nothing is scored anew
while somebody has judged it already.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError
from polyroute.outcomes import OutcomeTable, Question
from polyroute.pool import Pool
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["Cells", "Grade", "Recording", "Scored", "cells_of", "readable"]

Grade: TypeAlias = Callable[[str, Question], float | None]
"""Scores a text that is no recorded reply, 0 to 1; `None` where it cannot."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What an answer is worth, and whose it is."""

    score: float | None
    model: str | None


class Recording:
    """Look up what the table says of replies.

    Parameters
    ----------
    table : OutcomeTable
    pool : Pool
        A model of the table is the card whose id, or one of whose aliases, is its name.
    grade : callable, optional
        Scores an answer that repeats no recorded reply to its question: one that the policy wrote,
        or that came from a live model. Without it such an answer has no score.
    """

    def __init__(self, table: OutcomeTable, pool: Pool, grade: Grade | None = None) -> None:
        self._table = table
        self._grade = grade
        self._names = {
            card.id: next((n for n in (card.id, *card.aliases) if n in table.models), card.id)
            for card in pool
        }
        self._questions = {question.query_id: question for question in table.queries}
        rows = table.responses
        keys = zip(rows.query.tolist(), rows.model.tolist(), rows.sample.tolist(), strict=True)
        self._rows = {
            (table.queries[n].query_id, table.models[m], sample): row
            for row, (n, m, sample) in enumerate(keys)
        }

    def row(self, reply: Reply) -> int | None:
        """Return the row of the table that `reply` is; `None` for what is no recording."""
        which = reply.fields.get("recording")
        if which is None:
            return None
        return self._rows.get((which["query_id"], self._names[reply.model], which["sample"]))

    def seconds(self, trace: Trace) -> float | None:
        """Return the seconds of an episode as recorded, or as a live model took; `None` unknown."""
        total = 0.0
        for step in trace.steps:
            times = [self._seconds(reply) for reply in step.replies if reply.ok]
            if np.isnan(times).any():
                return None
            total += max(times, default=0.0)
        return float(total)

    def _seconds(self, reply: Reply) -> float:
        if "recording" not in reply.fields:
            return reply.seconds
        row = self.row(reply)
        return float("nan") if row is None else float(self._table.responses.latency_s[row])

    def score(self, trace: Trace) -> Scored:
        """Return the score of a finished episode's answer, 0 when there is none."""
        query_id = trace.request.id.partition("#")[0]
        if trace.answer is None:
            return Scored(0.0, None)
        if trace.final is not None:
            same = [trace.final]
        else:
            same = [r for r in trace.replies if r.ok and r.text.strip() == trace.answer.strip()]
        scores = []
        for reply in same:
            row = self.row(reply)
            if row is not None and reply.fields["recording"]["query_id"] == query_id:
                scores.append(float(self._table.responses.score[row]))
        model = same[0].model if same else None
        if scores and not np.isnan(scores).any():  # the same text may have been judged twice
            return Scored(sum(scores) / len(scores), model)
        if scores or self._grade is None:
            return Scored(None, model)
        return Scored(self._grade(trace.answer, self._questions[query_id]), model)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """A table's means over samples, columns in the order of a pool; NaN where unknown."""

    score_NM: NDArray[np.float64]
    usd_NM: NDArray[np.float64]
    seconds_NM: NDArray[np.float64]


def cells_of(table: OutcomeTable, pool: Pool) -> Cells:
    """Return what each card of `pool` gets, costs and takes on each question of `table`.

    A response without a recorded price is priced by its tokens and the card, as the loop does.

    Raises
    ------
    ConfigError
        If the table has none of the pool's models.
    """
    columns = {name: m for m, name in enumerate(table.models)}
    place = np.full(len(table.models), -1)
    for m, card in enumerate(pool):
        for name in (card.id, *card.aliases):
            if name in columns:
                place[columns[name]] = m
                break
    if (place < 0).all():
        raise ConfigError(
            f"the table has none of the pool's models ({', '.join(pool.ids)}); it has "
            f"{', '.join(table.models)}"
        )
    rows = table.responses
    usd = rows.cost_usd.copy()
    for row in np.flatnonzero(np.isnan(usd) & (rows.prompt_tokens >= 0)):
        price = pool[place[rows.model[row]]].price if place[rows.model[row]] >= 0 else None
        if price is not None and rows.completion_tokens[row] >= 0:
            tokens = Usage(int(rows.prompt_tokens[row]), int(rows.completion_tokens[row]))
            usd[row] = float(price.cost(tokens))
    shape = (len(table.queries), len(pool))
    cell = rows.query * len(pool) + place[rows.model]
    mine = place[rows.model] >= 0
    return Cells(
        score_NM=_means(rows.score, cell, mine, shape),
        usd_NM=_means(usd, cell, mine, shape),
        seconds_NM=_means(rows.latency_s, cell, mine, shape),
    )


def readable(table: OutcomeTable) -> OutcomeTable:
    """Return the table with a placeholder for each reply whose text was not kept.

    A policy that does not read replies is not disturbed by it; one that does is told.
    """
    if None not in table.texts:
        return table
    rows = table.responses
    texts = tuple(
        f"[the text of this reply of {table.models[m]} was not kept]" if text is None else text
        for text, m in zip(table.texts, rows.model, strict=True)
    )
    return replace(table, responses=replace(rows, text=texts))


def _means(
    values: NDArray[np.float64],
    cell: NDArray[np.int64],
    mine: NDArray[np.bool_],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return cell means; a cell with an unknown sample is unknown."""
    size = shape[0] * shape[1]
    count = np.bincount(cell[mine], minlength=size)
    total = np.bincount(cell[mine], weights=values[mine], minlength=size)  # NaN stays NaN
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)
