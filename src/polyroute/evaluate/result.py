"""What an evaluation yields: one outcome per question and policy, and the columns of a router.

The one decision here: what the table does not know stays unknown. An episode whose answer nobody
scored, or that asked what was never recorded, has no score; an episode that ended without an
answer has the score 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyroute.errors import ConfigError
from polyroute.types import Json

__all__ = ["Outcome", "Result", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one episode ended."""

    query_id: str
    repeat: int = 0
    """Which repetition of the question, from 0."""
    score: float | None
    """0 to 1; 0 without an answer, `None` where the table cannot say."""
    usd: Decimal | None
    """Exact bill; `None` when a part of it is unknown."""
    seconds: float | None
    """Recorded seconds: steps one after the other, the calls of a step side by side."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """How many calls each card got, the policy's own included, refused ones not."""
    answered_by: str | None = None
    """The card whose reply is the answer, when it is one card's."""
    failure: str | None = None
    """Why there is no answer: the kind of failure, or ``policy`` when the policy broke."""
    unrecorded: int = 0
    """Calls that the table has no reply to: then the score is unknown."""
    steps: tuple[Json, ...] = ()
    """The trace in short: for each step its reason and the replies, texts cut."""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        wire = {name: getattr(self, name) for name in self.__dataclass_fields__}
        wire["usd"] = None if self.usd is None else str(self.usd)
        return {**wire, "calls": dict(self.calls), "steps": list(self.steps)}

    @classmethod
    def from_json(cls, wire: Mapping[str, Json]) -> "Outcome":
        """Read what `to_json` wrote."""
        usd = None if wire["usd"] is None else Decimal(wire["usd"])
        return cls(**{**wire, "usd": usd, "steps": tuple(wire["steps"])})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One router on N questions; means over the repetitions of each question."""

    name: str
    score_N: NDArray[np.float64]
    """0 to 1; NaN where unknown."""
    usd_N: NDArray[np.float64]
    """Dollars; NaN where unknown."""
    seconds_N: NDArray[np.float64]
    """Seconds; NaN where unknown."""
    calls_NM: NDArray[np.float64]
    """Calls to each card of the pool."""
    models: tuple[str, ...]
    """The M ids of the pool."""
    failures: tuple[str | None, ...] = ()
    """For each question why a repetition of it has no answer; `None` where all have one."""
    uses_outcomes: bool = False
    """Whether it chose with sight of the outcomes it is judged on: a bound, not a router."""
    outcomes: tuple[Outcome, ...] = ()
    """Every episode, for a reader; empty for what was computed from the table."""
    unrecorded: int = 0
    """Questions on which the router asked what the table does not have."""
    predicted_NM: NDArray[np.float64] | None = None
    """What its quality estimator predicts, where it has one."""
    robustness: float = float("nan")
    """Share of first choices that survive a perturbed prompt; NaN where nobody measured."""

    @property
    def known_N(self) -> NDArray[np.bool_]:  # noqa: N802 - shape suffix
        """Which questions have a score."""
        return ~np.isnan(self.score_N)

    @property
    def quality(self) -> float:
        """Mean score over the questions that have one; NaN when none has."""
        return _mean(self.score_N)

    @property
    def usd(self) -> float:
        """Mean dollars over the questions with a score; NaN when the price of one is unknown."""
        return _all_known(self.usd_N[self.known_N])

    @property
    def seconds(self) -> float:
        """Mean recorded seconds over the questions with a score; NaN when one is unknown."""
        return _all_known(self.seconds_N[self.known_N])

    @property
    def calls_M(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """Calls to each card, over all questions."""
        return np.asarray(self.calls_NM.sum(axis=0), np.float64)

    @property
    def failed(self) -> int:
        """Questions of which a repetition has no answer."""
        return sum(failure is not None for failure in self.failures)

    def at(self, keep_N: ArrayLike) -> "Result":
        """Return the result on the questions of a boolean mask."""
        places = np.flatnonzero(keep_N)
        return replace(
            self,
            score_N=self.score_N[places],
            usd_N=self.usd_N[places],
            seconds_N=self.seconds_N[places],
            calls_NM=self.calls_NM[places],
            failures=tuple(self.failures[n] for n in places) if self.failures else (),
            outcomes=(),
            predicted_NM=None if self.predicted_NM is None else self.predicted_NM[places],
        )


def gather(
    name: str, outcomes: Sequence[Outcome], query_ids: Sequence[str], models: Sequence[str]
) -> Result:
    """Return the columns of a router from its outcomes.

    A question has a score when all its repetitions have one.

    Parameters
    ----------
    name : str
        What the router is called.
    outcomes : sequence of Outcome
        In any order, with the same number of repetitions of every question.
    query_ids : sequence of str, length N
        The questions, in order.
    models : sequence of str, length M
        The ids of the pool.

    Raises
    ------
    ConfigError
        If a question has no outcome.
    """
    found: dict[str, list[Outcome]] = {query_id: [] for query_id in query_ids}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.repeat):
        found[outcome.query_id].append(outcome)
    for query_id, group in found.items():
        if not group:
            raise ConfigError(f"{name!r} has no outcome for the question {query_id!r}")
    groups = list(found.values())
    calls = [[sum(o.calls.get(model, 0) for o in g) / len(g) for model in models] for g in groups]
    return Result(
        name=name,
        score_N=np.array([_each([o.score for o in g]) for g in groups]),
        usd_N=np.array([_each([o.usd for o in g]) for g in groups]),
        seconds_N=np.array([_each([o.seconds for o in g]) for g in groups]),
        calls_NM=np.array(calls, np.float64).reshape(len(groups), len(models)),
        models=tuple(models),
        failures=tuple(next((o.failure for o in g if o.failure), None) for g in groups),
        outcomes=tuple(outcome for group in groups for outcome in group),
        unrecorded=sum(any(o.unrecorded for o in g) for g in groups),
    )


def _each(values: Sequence[float | Decimal | None]) -> float:
    """Return the mean over repetitions; NaN when one is unknown."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return float("nan")
    return float(sum(Decimal(repr(v)) if isinstance(v, float) else v for v in known) / len(known))


def _all_known(values: NDArray[np.float64]) -> float:
    """Return the mean; NaN of nothing, and when one is unknown."""
    return float(values.mean()) if len(values) else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
