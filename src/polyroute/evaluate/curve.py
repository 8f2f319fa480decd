"""A router's cost-quality curve: one run for each willingness to pay.

The one decision here: the knob is the request's own, `Budget.usd_per_quality`, so the curve shows
what a caller gets who turns it, and a router that does not read it is one point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from polyroute.evaluate.harness import Conditions, Progress, evaluate
from polyroute.evaluate.metrics.aiq import Hull, non_decreasing_hull
from polyroute.evaluate.result import Result
from polyroute.outcomes import OutcomeTable
from polyroute.pool import Pool
from polyroute.protocols import Policy

__all__ = ["Curve", "curves"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """The settings of one router, by ascending willingness to pay."""

    name: str
    knob_K: NDArray[np.float64]
    """Dollars that one unit of quality is worth."""
    results: tuple[Result, ...]
    """One for each setting."""

    @property
    def cost_K(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """Mean dollars per question."""
        return np.array([result.usd for result in self.results])

    @property
    def quality_K(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """Mean score."""
        return np.array([result.quality for result in self.results])

    @property
    def hull(self) -> Hull | None:
        """The non-decreasing hull; `None` where costs are unknown."""
        known = np.isfinite(self.cost_K) & np.isfinite(self.quality_K)
        if not known.any():
            return None
        return non_decreasing_hull(self.cost_K[known], self.quality_K[known])

    @property
    def turns(self) -> bool:
        """Whether the knob changes anything."""
        first = self.results[0]
        return any((result.calls_NM != first.calls_NM).any() for result in self.results)


def curves(
    policies: Mapping[str, Policy],
    table: OutcomeTable,
    knob: Sequence[float],
    *,
    pool: Pool | None = None,
    conditions: Conditions | None = None,
) -> dict[str, Curve]:
    """Run every policy once for each willingness to pay.

    Parameters
    ----------
    policies, table, pool, conditions
        As in `polyroute.evaluate.harness.evaluate`; progress is told for all settings together.
    knob : sequence of float
        Values of `Budget.usd_per_quality`, dollars, 0 or more; sorted, each once.

    Returns
    -------
    dict of str to Curve
        In the order of `policies`.

    Raises
    ------
    ConfigError
        As in `evaluate`.
    """
    base = conditions or Conditions()
    values = sorted(set(knob))
    found: dict[str, list[Result]] = {name: [] for name in policies}
    for k, value in enumerate(values):
        setting = replace(
            base,
            budget=replace(base.budget, usd_per_quality=value),
            progress=_shifted(base, k, len(values)),
        )
        for name, result in evaluate(policies, table, pool=pool, conditions=setting).items():
            found[name].append(result)
    return {
        name: Curve(name=name, knob_K=np.array(values), results=tuple(results))
        for name, results in found.items()
    }


def _shifted(conditions: Conditions, k: int, runs: int) -> Progress | None:
    tell = conditions.progress
    if tell is None:
        return None
    return lambda done, total: tell(k * total + done, runs * total)
