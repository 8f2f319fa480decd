"""What one run says of every router: numbers with intervals, and who won where."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from polyroute.evaluate.bootstrap import Interval
from polyroute.evaluate.result import Outcome
from polyroute.types import Json

__all__ = ["CurveRow", "Dispute", "Group", "Kind", "Row", "Summary", "plain"]

Kind: TypeAlias = Literal["router", "baseline", "bound", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One router, baseline, bound or single model; NaN where unknown."""

    name: str
    kind: Kind
    questions: int
    """Questions with a known score."""
    quality: Interval
    """Mean score over those."""
    usd: float
    """Mean dollars over the questions with a score."""
    usd_interval: Interval | None
    seconds: float
    """Mean recorded seconds over those."""
    calls: float
    """Mean calls per question, the router's own included."""
    failed: int
    """Questions without an answer."""
    first_failure: str
    """Why the first of them has none; empty where all have one."""
    unrecorded: int
    """Questions on which it asked what the table does not have."""
    difference: Interval
    """Score less that of the best constant, over questions that both have."""
    p: float
    """Of that difference, by sign flips, uncorrected."""
    p_corrected: float
    """By Holm, over all routers of the run; NaN for what is no router."""
    over_coin: Interval | None
    """Score less that of a draw between two single models at the same cost."""
    regret: float
    """Mean score below the oracle's."""
    gap_closed: float
    """Share of the way from the best constant to the oracle."""
    value_over_best: float
    """Score over that of the best constant."""
    regret_to_constant: float
    most_used: str
    most_used_share: float
    entropy: float
    """Of the calls over models, in bits."""
    predicted_entropy: float
    """RouterEval's E_p, in bits; NaN for what has no quality estimator."""
    robustness: float
    """Share of first choices that survive a perturbed prompt; NaN where nobody measured."""
    arena: float
    """RouterArena's score, 0 to 1."""
    optimal_selection: float
    optimal_cost: float
    optimal_accuracy: float
    shares: Mapping[str, float]
    """Share of the calls that each model got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """What a router is worth over all settings of its knob; NaN where costs are unknown."""

    name: str
    turns: bool
    """Whether the knob changes anything."""
    knob: tuple[float, ...]
    usd: tuple[float, ...]
    quality: tuple[Interval, ...]
    hull: tuple[tuple[float, float], ...]
    """Corners: dollars and quality."""
    shares: tuple[Mapping[str, float], ...]
    """Of the calls, for each setting."""
    aiq: float
    perf_gain: float
    cost_save: float
    pareto_dist: float
    apgr: float
    """For pools of two models, like the three below."""
    cpt50: float
    cpt80: float
    cpt95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One task of one data set, and how each router did on it."""

    dataset: str
    task: str
    questions: int
    quality: Mapping[str, float]
    """Of every router, and of the best constant."""
    winners: tuple[str, ...]
    """Those with the highest; several when they are level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A question on which the routers differ."""

    query_id: str
    dataset: str
    task: str
    prompt: str
    spread: float
    """Highest score less lowest."""
    outcomes: Mapping[str, Outcome]
    """The first episode of each router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One evaluation."""

    questions: int
    models: tuple[str, ...]
    level: float
    """Confidence of all intervals."""
    seed: int
    constant: str
    """The best constant's id."""
    constant_from: Literal["train", "the table itself"]
    rows: tuple[Row, ...]
    curves: tuple[CurveRow, ...]
    groups: tuple[Group, ...]
    disputes: tuple[Dispute, ...]
    without_text: int
    """Recorded replies whose text was not kept."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else a reader should know: the table's name, the budget, versions."""

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form; unknown numbers are null."""
        found: dict[str, Json] = plain(self)
        return found


def plain(value: object) -> Json:
    """Return dataclasses, tuples and numbers as JSON has them; what is no number is null."""
    if isinstance(value, Outcome):
        return value.to_json()
    if isinstance(value, Struct):
        return plain(asdict(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
