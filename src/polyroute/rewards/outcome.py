"""How right the answer of an episode is: the metrics of `polyroute.correctness`, by name."""

from collections.abc import Sequence

from polyroute.correctness import METRICS
from polyroute.errors import ConfigError

__all__ = ["NAMES", "outcome"]

NAMES = {"em": "exact_match", "cem": "contains"}
"""Short names of metrics, as papers and tables have them."""


def outcome(answer: str | None, golds: Sequence[str], metric: str = "exact_match") -> float:
    """Return how right `answer` is, 0 to 1; 0 when there is none.

    Parameters
    ----------
    answer : str or None
    golds : sequence of str
        Right answers; the best match counts.
    metric : str, default="exact_match"
        ``exact_match`` (``em``), ``f1``, ``contains`` (``cem``), ``number``, ``choice``, ``code``.

    Raises
    ------
    ConfigError
        If there is no such metric.

    Examples
    --------
    >>> outcome("The Eiffel Tower", ["eiffel tower"], "em"), outcome(None, ["x"])
    (1.0, 0.0)
    """
    name = NAMES.get(metric, metric)
    if name not in METRICS:
        raise ConfigError(f"no metric {metric!r}; known: {', '.join([*METRICS, *NAMES])}")
    return 0.0 if answer is None else METRICS[name](answer, golds)
