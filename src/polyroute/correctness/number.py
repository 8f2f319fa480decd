"""The last number of the reply, equal to the right one within a tolerance."""

from collections.abc import Sequence
from decimal import Decimal

from polyroute.answers import number

__all__ = ["TOLERANCE", "score"]

TOLERANCE = Decimal("1e-6")
"""Relative difference that is still equal: room for rounding in the last place, not for error."""


def score(answer: str, golds: Sequence[str]) -> float:
    """Return 1 when the answer's last number is the last number of one of `golds`.

    The difference may be `TOLERANCE` times the right number, or `TOLERANCE` when that is below 1.

    References
    ----------
    Cobbe et al., GSM8K, arXiv:2110.14168: the number after ``####`` is the answer.

    Examples
    --------
    >>> score("20 cups at $0.50 are $1,210.00.", ["#### 1210"]), score("no idea", ["0"])
    (1.0, 0.0)
    """
    said = number(answer)
    wanted = [Decimal(gold) for gold in map(number, golds) if gold is not None]
    if said is None:
        return 0.0
    value = Decimal(said)
    return float(any(abs(value - gold) <= TOLERANCE * max(_ONE, abs(gold)) for gold in wanted))


_ONE = Decimal(1)
