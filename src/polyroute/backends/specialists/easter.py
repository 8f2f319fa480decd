"""When Easter is: the two computations that are in use."""

from datetime import date, timedelta

__all__ = ["orthodox_easter", "western_easter"]


def western_easter(year: int) -> date:
    """Return Western Easter Sunday of a year from 1583.

    References
    ----------
    The anonymous Gregorian computus, Nature, 20 April 1876, p. 487.

    Examples
    --------
    >>> western_easter(2026)
    datetime.date(2026, 4, 5)
    """
    century, rest = divmod(year, 100)
    golden = year % 19
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def orthodox_easter(year: int) -> date:
    """Return Orthodox Easter Sunday of a year from 1583, as a Gregorian date.

    References
    ----------
    Jean Meeus, Astronomical Algorithms, chapter 8.

    Examples
    --------
    >>> orthodox_easter(2026)
    datetime.date(2026, 4, 12)
    """
    epact = (19 * (year % 19) + 15) % 30
    weekday = (2 * (year % 4) + 4 * (year % 7) - epact + 34) % 7
    month, day = divmod(epact + weekday + 114, 31)
    julian_lag = year // 100 - year // 400 - 2
    return date(year, month, day + 1) + timedelta(days=julian_lag)
