"""Numbers as a reader sees them: one way to write each kind, unknown is a dash."""

import math

from polyroute.evaluate.bootstrap import Interval

__all__ = ["UNKNOWN", "between", "dollars", "number", "p_value", "percent", "signed"]

UNKNOWN = "–"


def number(value: float, digits: int = 3) -> str:
    """Return a number with fixed digits.

    Examples
    --------
    >>> number(0.64689), number(float("nan"))
    ('0.647', '–')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else UNKNOWN


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign.

    Examples
    --------
    >>> signed(0.0414), signed(-0.01)
    ('+0.041', '-0.010')
    """
    return f"{value:+.{digits}f}" if math.isfinite(value) else UNKNOWN


def percent(value: float) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> percent(0.978)
    '97.8 %'
    """
    return f"{100 * value:.1f} %" if math.isfinite(value) else UNKNOWN


def dollars(value: float) -> str:
    """Return an amount to three digits that count.

    Examples
    --------
    >>> dollars(0.000123456), dollars(12.3456), dollars(float("nan"))
    ('$0.000123', '$12.3', '–')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "$0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"${value:.{digits}f}"


def p_value(value: float) -> str:
    """Return a p-value.

    Examples
    --------
    >>> p_value(0.00004), p_value(0.2)
    ('< 0.001', '0.200')
    """
    if not math.isfinite(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def between(interval: Interval | None, digits: int = 3) -> str:
    """Return the ends of an interval.

    Examples
    --------
    >>> between(Interval(0.5, 0.4, 0.6))
    '0.400 to 0.600'
    """
    if interval is None or not math.isfinite(interval.low):
        return UNKNOWN
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"
