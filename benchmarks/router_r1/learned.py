"""Learned routers for a task: fitted on what every candidate said to its training questions.

The one decision here: a column is what stays the same from question to question. In a world that
deals its names anew that is the place in the market (reliable generalist, ...), and a router by
name is fitted as well, to show what a name is worth there; in a world with a pool of its own, the
name.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from played import Arm
from worlds import Ask, places, replies, usd_of

from polyroute.estimators.competence import Competence
from polyroute.estimators.neighbours import Neighbours
from polyroute.estimators.ridge import Ridge
from polyroute.policies.fixed import Fixed
from polyroute.pool import ModelCard, Pool
from polyroute.protocols import Estimator, FloatArray
from polyroute.rewards.outcome import outcome
from polyroute.tasks.problem import Problem
from polyroute.types import Request

ESTIMATORS = {"kNN": Neighbours, "skill book": Competence, "ridge": Ridge}

Columns = Callable[[Problem], dict[str, str]]
"""From a problem to the id of the candidate in each column."""


@dataclass
class Fit:
    """An estimator and its columns."""

    estimator: Estimator
    pool: Pool
    columns: Columns

    def choose(self, problem: Problem, query: str, tried: frozenset[str]) -> str:
        """Return who is expected to be worth most: predicted quality less the price."""
        predicted = self.estimator.predict([Request.of(query)], self.pool)[0]
        column = self.columns(problem)
        worth = problem.request.budget.usd_per_quality
        value = {}
        for name, id in column.items():
            quality = predicted[self.pool.index_of(name)] if name in self.pool else np.nan
            usd = float(usd_of(problem.pool.card(id)))
            unknown = np.isnan(quality) or id in tried
            value[id] = -9.0 if unknown else quality - (usd / worth if worth else 0.0)
        return max(value, key=lambda id: value[id])


@dataclass
class Learned:
    """One learned router, on whole questions and on hops."""

    name: str
    whole: Fit
    hops: Fit | None
    """`None` for a task that knows no hops."""
    key: str
    """Says what it was fitted on."""

    def arm(self, problems: Sequence[Problem]) -> Arm:
        """Return the arm that asks the whole question."""
        return Arm(
            self.name,
            lambda p: Fixed(self.whole.choose(p, p.request.prompt, frozenset())),
            problems,
            key=self.key,
        )

    def of_hop(self, problem: Problem, ask: Ask) -> str | None:
        """Return whom to ask for a hop."""
        if self.hops is None or len(ask.tried) == len(problem.pool):
            return None
        return self.hops.choose(problem, ask.query, ask.tried)


def learned(training: Sequence[Problem]) -> list[Learned]:
    """Ask every candidate every question and every hop of `training`, and fit."""
    sides: dict[str, Columns] = {"": places}
    if set(places(training[0])) != set(training[0].pool.ids):
        sides = {" by place": places, " by name": lambda p: {id: id for id in p.pool.ids}}
    whole = [(p, p.request.prompt, None, p.golds) for p in training]
    hops = [
        (p, query, query, (hop.answer,))
        for p in training
        for hop, query in zip(p.hops, _queries(p), strict=True)
    ]
    found = []
    for side, columns in sides.items():
        for name, new in ESTIMATORS.items():
            of_hops = _fit(new(), hops, columns) if hops else None
            key = f"{len(training)} of {training[0].request.id}"
            found.append(Learned(f"{name}{side}", _fit(new(), whole, columns), of_hops, key))
    return found


_Row = tuple[Problem, str, str | None, tuple[str, ...]]


def _fit(estimator: Estimator, rows: Sequence[_Row], columns: Columns) -> Fit:
    names = sorted({name for problem, *_ in rows for name in columns(problem)})
    pool = Pool(ModelCard(id=name) for name in names)
    target_NM: FloatArray = np.full((len(rows), len(pool)), np.nan)
    for n, (problem, _, asked, golds) in enumerate(rows):
        said = asyncio.run(replies(problem, asked))
        for name, id in columns(problem).items():
            target_NM[n, pool.index_of(name)] = outcome(said[id], golds, problem.metric)
    requests = [Request.of(query) for _, query, _, _ in rows]
    return Fit(estimator.fit(requests, target_NM, pool), pool, columns)


def _queries(problem: Problem) -> list[str]:
    before = ("", *(hop.answer for hop in problem.hops))
    return [hop.query.format(earlier) for hop, earlier in zip(problem.hops, before, strict=False)]
