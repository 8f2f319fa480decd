"""A router's cost-quality curve: one run for each willingness to pay.

The one decision here: the knob is the request's own, `Budget.usd_per_quality`, so the curve shows
what a caller gets who turns it, and a router that does not read it is one point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs
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
        return _turns(self.results)


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
        Values of `Budget.usd_per_quality`, dollars, 0 or more. A policy that makes the same calls
        at the lowest and the highest is run at those two only.

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
    ends = dict.fromkeys((values[0], values[-1]))
    found: dict[str, dict[float, Result]] = {name: {} for name in policies}
    wanted, before = dict(policies), 0
    for k, value in enumerate([*ends, *values[1:-1]]):
        if k == len(ends):
            wanted = {name: p for name, p in wanted.items() if _turns([*found[name].values()])}
            if not wanted:
                break
        after = len(values) - k - 1
        setting = replace(
            base,
            budget=structs.replace(base.budget, usd_per_quality=value),
            progress=_shifted(base.progress, before, after),
        )
        for name, result in evaluate(wanted, table, pool=pool, conditions=setting).items():
            found[name][value] = result
            before += max(len(result.outcomes), 1)
    return {
        name: Curve(
            name=name, knob_K=np.array(sorted(of)), results=tuple(of[v] for v in sorted(of))
        )
        for name, of in found.items()
    }


def _turns(results: Sequence[Result]) -> bool:
    first = results[0]
    return any((result.calls_NM != first.calls_NM).any() for result in results)


def _shifted(tell: Progress | None, before: int, after: int) -> Progress | None:
    """Return what tells the progress of one run as that of `before`, this and `after` more."""
    if tell is None:
        return None
    return lambda done, total: tell(before + done, before + (1 + after) * total)
