"""Dates of the Gregorian calendar: weekdays, distances, leap years, holidays, Easter.

Kinds of questions, each also in its bare form ("weekday of 14 July 2026"):

- the weekday, ISO week number or day of the year of a date: `Tuesday`, `29`, `195`
- days between two dates, or weeks where they are whole ones; the date so many days, weeks, months
  or years after or before one: `14 July 2026`
- whether a year is a leap year, the next leap year after one, how many there are between two
  (both included); days in a month or a year
- the first to fifth, or last, weekday of a month ("third Monday of January 2026")
- Easter (Western or Orthodox) and the feasts that move with it, in a year
- public holidays of a country: the date of one in a year, whether a date is one, which one it is,
  how many there are in a year. Without a year, only what is the same in every year is answered

Dates may be written 14 July 2026, July 14th, 2026, or 2026-07-14; 7/14/2026 only where day and
month cannot be confused. Dates before 1583 are not answered (the calendar was another one), nor
is anything that depends on the day it is asked: "today", "next Friday", "how old".

Sources: the standard library; Babel (CLDR) for names of months and weekdays; holidays for public
holidays (nationwide ones, 1990 to 2040; a date that it marks as estimated is not given). A year's
holidays are those the installed version knows of: a later decree is not in it.
"""

import calendar
import re
import warnings
from collections.abc import Callable
from datetime import MAXYEAR, date, timedelta
from functools import cache

import holidays
from babel.dates import format_date, get_day_names, get_month_names

from polyroute.backends.specialists.countries import country_named
from polyroute.backends.specialists.easter import orthodox_easter, western_easter
from polyroute.backends.specialists.wording import LONGEST, Kind, first_answer, folded

__all__ = ["answer"]

_FIRST_YEAR = 1583
_HOLIDAY_YEARS = range(1990, 2041)
_EVERY_YEAR = range(2015, 2031)
"""The years a question without a year is tried on."""
_CLOCK = re.compile(
    r"\b(?:today|tomorrow|yesterday|now|current(?:ly)?|ago|this (?:year|month|week)|from now"
    r"|(?:next|last|this) (?:year|month|week|mon|tues|wednes|thurs|fri|satur|sun)(?:day)?\b"
    r"(?! of))",
    re.IGNORECASE,
)


def answer(question: str) -> str | None:
    """Answer a question about dates, or return `None`.

    Examples
    --------
    >>> answer("What day of the week was 20 July 1969?")
    'Sunday'
    >>> answer("When is Thanksgiving in the US in 2026?")
    '26 November 2026'
    >>> answer("What day is it today?") is None
    True
    """
    if _CLOCK.search(question[:LONGEST]):
        return None
    return first_answer(_KINDS, question)


# dates, in and out of words

_WEEKDAYS = {n: str(name) for n, name in get_day_names("wide", locale="en").items()}
_MONTHS = {n: str(name) for n, name in get_month_names("wide", locale="en").items()}
_MONTH_NUMBERS = {name.lower(): n for n, name in _MONTHS.items()}
_MONTH_NUMBERS |= {name[:3].lower(): n for n, name in _MONTHS.items()} | {"sept": 9}
_WEEKDAY_NUMBERS = {name.lower(): n for n, name in _WEEKDAYS.items()}

_MONTH = rf"(?:{'|'.join(sorted(_MONTH_NUMBERS, key=len, reverse=True))})"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(\d{4})"
_WEEKDAY = rf"(?:{'|'.join(_WEEKDAY_NUMBERS)})"
_DAY_MONTH = rf"(?:the )?(?:{_DAY} (?:of )?{_MONTH}|{_MONTH} (?:the )?{_DAY})\.?"
_D = rf"({_DAY_MONTH},? (?:of )?\d{{4}}|\d{{4}}-\d{{1,2}}-\d{{1,2}}|\d{{1,2}}/\d{{1,2}}/\d{{4}})"
_D_OR_DAY = rf"({_DAY_MONTH}(?:,? (?:of )?\d{{4}})?|\d{{4}}-\d{{1,2}}-\d{{1,2}})"


def _date(text: str) -> date | None:
    """Read a date; `None` if there is no such day, or day and month could be confused."""
    if numbers := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", text):
        return _day(*map(int, numbers.groups()))
    if numbers := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):
        one, other, year = map(int, numbers.groups())
        if one <= 12 and other <= 12 and one != other:
            return None
        return _day(year, min(one, other), max(one, other))
    month = re.search(_MONTH, text, re.IGNORECASE)
    numerals = re.findall(r"\d+", text)
    if month is None or len(numerals) != 2:
        return None
    return _day(int(numerals[1]), _MONTH_NUMBERS[month[0].lower()], int(numerals[0]))


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day) if year >= _FIRST_YEAR else None
    except ValueError:
        return None


def _in_words(day: date) -> str:
    return str(format_date(day, "d MMMM y", locale="en"))


def _of_date(describe: Callable[[date], str]) -> Callable[[str], str | None]:
    def find(text: str) -> str | None:
        day = _date(text)
        return None if day is None else describe(day)

    return find


def _weekday(day: date) -> str:
    return _WEEKDAYS[day.weekday()]


def _iso_week(day: date) -> str:
    return str(day.isocalendar().week)


def _day_of_the_year(day: date) -> str:
    return str(day.timetuple().tm_yday)


# arithmetic of dates


def _between(unit: str, one: str, other: str) -> str | None:
    first, second = _date(one), _date(other)
    if first is None or second is None:
        return None
    days = abs((second - first).days)
    if unit.lower() == "days":
        return str(days)
    return str(days // 7) if days % 7 == 0 else None


def _shifted(count: str, unit: str, direction: str, text: str) -> str | None:
    day = _date(text)
    if day is None or len(count) > 7:
        return None
    back = direction.lower() in ("before", "prior to", "minus", "-", "earlier than")
    steps = (-1 if back else 1) * (1 if count.lower() in ("a", "one") else int(count))
    moved = _moved(day, steps, unit.lower().rstrip("s"))
    return None if moved is None or moved.year < _FIRST_YEAR else _in_words(moved)


def _moved(day: date, steps: int, unit: str) -> date | None:
    """Move a date; by months and years only where the month arrived at has that day."""
    if unit in ("day", "week"):
        try:
            return day + timedelta(days=steps * (7 if unit == "week" else 1))
        except OverflowError:
            return None
    months = day.year * 12 + day.month - 1 + steps * (12 if unit == "year" else 1)
    year = months // 12
    return _day(year, months % 12 + 1, day.day) if year <= MAXYEAR else None


def _is_leap(year: str) -> str | None:
    if int(year) < _FIRST_YEAR:
        return None
    return "Yes" if calendar.isleap(int(year)) else "No"


def _next_leap(direction: str, year: str) -> str | None:
    step = -1 if direction.lower() in ("last", "previous") else 1
    near = int(year) + step
    while not calendar.isleap(near):
        near += step
    return str(near) if _FIRST_YEAR <= near <= MAXYEAR else None


def _leap_years(first: str, last: str) -> str | None:
    if not _FIRST_YEAR <= int(first) <= int(last):
        return None
    return str(calendar.leapdays(int(first), int(last) + 1))


def _days_in_month(month: str, year: str | None) -> str | None:
    number = _MONTH_NUMBERS[month.lower()]
    if year is None:
        return None if number == 2 else str(calendar.monthrange(2001, number)[1])
    return str(calendar.monthrange(int(year), number)[1]) if int(year) >= _FIRST_YEAR else None


def _days_in_year(year: str) -> str | None:
    return None if int(year) < _FIRST_YEAR else str(365 + calendar.isleap(int(year)))


_ORDINALS = {
    "first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3,
    "fifth": 4, "5th": 4, "last": -1,
}  # fmt: skip


def _nth_weekday(ordinal: str, weekday: str, month: str, year: str) -> str | None:
    number, wanted = _MONTH_NUMBERS[month.lower()], _WEEKDAY_NUMBERS[weekday.lower()]
    first = _day(int(year), number, 1)
    if first is None:
        return None
    length = calendar.monthrange(first.year, number)[1]
    days = [first.replace(day=day) for day in range(1, length + 1)]
    days = [day for day in days if day.weekday() == wanted]
    place = _ORDINALS[ordinal.lower()]
    return _in_words(days[place]) if place < len(days) else None


# feasts and holidays

_FEASTS = {
    "ash wednesday": -46, "palm sunday": -7, "maundy thursday": -3, "holy thursday": -3,
    "good friday": -2, "holy saturday": -1, "easter": 0, "easter sunday": 0, "easter monday": 1,
    "ascension day": 39, "ascension thursday": 39, "pentecost": 49, "whit sunday": 49,
    "whit monday": 50, "pentecost monday": 50, "trinity sunday": 56, "corpus christi": 60,
}  # fmt: skip
"""Days from Western Easter Sunday."""
_FEAST = "|".join(sorted(_FEASTS, key=len, reverse=True))


def _feast(church: str | None, name: str, year: str) -> str | None:
    if not _FIRST_YEAR <= int(year) <= 4099:
        return None
    orthodox = (church or "").lower() in ("orthodox", "eastern", "greek orthodox")
    if orthodox and not name.lower().startswith("easter"):
        return None
    easter = orthodox_easter(int(year)) if orthodox else western_easter(int(year))
    return _in_words(easter + timedelta(days=_FEASTS[name.lower()]))


_ALSO_CALLED = {
    ("FR", "bastille"): "national",
    ("US", "fourth of july"): "independence",
    ("US", "4th of july"): "independence",
    ("US", "mlk"): "martin luther king jr",
    ("US", "martin luther king"): "martin luther king jr",
    ("US", "presidents"): "washingtons birthday",
    ("US", "juneteenth"): "juneteenth national independence",
}


@cache
def _holidays(code: str, year: int) -> dict[date, tuple[str, ...]] | None:
    """Public holidays of a country by date; `None` where the library does not have them all."""
    if year not in _HOLIDAY_YEARS or code not in holidays.list_supported_countries():
        return None
    kind = getattr(holidays, code)
    if not kind.start_year <= year <= kind.end_year:
        return None
    english = [tag for tag in kind.supported_languages if tag.startswith("en")]
    # without a language the library would take the one of the environment
    language = "en_US" if "en_US" in english else [*english, kind.default_language][0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning says that some of them are not known
            found = holidays.country_holidays(code, years=year, language=language)
    except UserWarning:
        return None
    return {day: tuple(found.get_list(day)) for day in found}


def _key(code: str, name: str) -> str:
    """Return a holiday's name as names are compared."""
    words = " ".join(word for word in folded(name).split() if word not in ("day", "days"))
    return _ALSO_CALLED.get((code, words), words)


def _holiday_dates(code: str, name: str, year: int) -> list[date] | None:
    """Return the dates of the holidays of that name; `None` where one of them is an estimate."""
    named = _holidays(code, year)
    found = []
    for day, names in sorted((named or {}).items()):
        for known in names:
            certain = re.sub(r" \(estimated\)$", "", known)
            if _key(code, certain) == _key(code, name):
                if certain != known:
                    return None
                found.append(day)
    return found


def _holiday(name: str, country: str, year: str) -> str | None:
    code = country_named(country)
    found = None if code is None else _holiday_dates(code, name, int(year))
    return _in_words(found[0]) if found and len(found) == 1 else None


def _holiday_in_every_year(name: str, country: str) -> str | None:
    """Return the day and month of a holiday that is on the same one in every year."""
    code = country_named(country)
    if code is None:
        return None
    found = [_holiday_dates(code, name, year) for year in _EVERY_YEAR]
    days = [dates[0] for dates in found if dates and len(dates) == 1]
    if len(days) < len(found) or len({(day.month, day.day) for day in days}) > 1:
        return None
    return str(format_date(days[0], "d MMMM", locale="en"))


def _names_on(text: str, country: str) -> list[set[str]] | None:
    """Return the names of the holidays on a date, for each of the years that are meant."""
    code = country_named(country)
    given = re.search(r"\d{4}", text)
    years = [int(given[0])] if given else list(_EVERY_YEAR)
    if code is None:
        return None
    found = []
    for year in years:
        day = _date(text if given else f"{text.rstrip('.')} {year}")
        named = _holidays(code, year)
        if day is None or named is None:
            return None
        found.append({name for name in named.get(day, ()) if "(observed)" not in name})
    return found


def _is_holiday(text: str, country: str) -> str | None:
    named = _names_on(text, country)
    if named is None or any("(estimated)" in name for names in named for name in names):
        return None
    kinds = {bool(names) for names in named}
    return None if len(kinds) > 1 else "Yes" if kinds.pop() else "No"


def _which_holiday(text: str, country: str) -> str | None:
    named = _names_on(text, country)
    if not named or any(names != named[0] for names in named):
        return None
    return ", ".join(sorted(named[0])) or None


def _which_holiday_in(country: str, text: str) -> str | None:
    return _which_holiday(text, country)


def _number_of_holidays(country: str, year: str) -> str | None:
    code = country_named(country)
    named = None if code is None else _holidays(code, int(year))
    if not named or any("(estimated)" in name for names in named.values() for name in names):
        return None
    days = [day for day, names in named.items() if any("(observed)" not in n for n in names)]
    return str(len(days))


_ASKED = r"(?:(?:what|which) )?"
_HOW_MANY = r"(?:how many|(?:the )?number of)"
_PUBLIC = r"(?:public |national |bank |legal )*"
_SHIFT = r"(\d+|a|one) (days?|weeks?|months?|years?)"
_COUNTRY = r"((?:the )?[a-z][^\d]*?)"
_HOLIDAY = r"([a-z][^\d]*?|(?:the )?4th of july)"
_IS = r"(?:is|was|will be|falls?|fell|does|did)"
_WHEN = rf"(?:when|(?:on )?(?:what|which) (?:date|day)|(?:the )?date) (?:of|{_IS}) "

_KINDS = [
    Kind(rf"(?:on )?{_ASKED}(?:the )?(?:day of the week|weekday|day) {_IS} "
         rf"(?:the date )?{_D}(?: (?:on|fall(?: on)?))?", _of_date(_weekday)),
    Kind(rf"(?:the )?(?:day of the week|weekday) (?:of|for|on) {_D}", _of_date(_weekday)),
    Kind(rf"{_D} (?:is|was|will be|falls on|fell on) (?:a |on )?(?:what|which) (?:day|weekday)"
         r"(?: of the week)?", _of_date(_weekday)),
    Kind(rf"(?:what |which )?(?:the )?(?:iso )?(?:calendar )?week(?: number)?(?: of the year)? "
         rf"(?:of|is|for|was|contains) {_D}(?: in)?", _of_date(_iso_week)),
    Kind(rf"{_ASKED}(?:the )?(?:number of the )?day (?:number )?(?:of|in) the year "
         rf"(?:of|is|for|was) {_D}", _of_date(_day_of_the_year)),
    Kind(rf"{_HOW_MANY} (days|weeks) (?:are there |are |passed |elapsed |lie )?"
         rf"(?:between|from) {_D} (?:and|to|until|till) {_D}", _between),
    Kind(rf"(days|weeks) (?:between|from) {_D} (?:and|to|until) {_D}", _between),
    Kind(rf"{_ASKED}(?:(?:the )?(?:date|day) )?(?:(?:is|was|will be|of) )?(?:the date )?{_SHIFT} "
         rf"(after|before|from|prior to|following|later than|earlier than) {_D}", _shifted),
    Kind(rf"{_D} (plus|minus|\+|-) {_SHIFT}",
         lambda day, sign, count, unit: _shifted(count, unit, sign, day)),
    Kind(rf"(?:is|was|will) (?:the year )?{_YEAR}(?: be)? a leap[ -]year", _is_leap),
    Kind(rf"(?:the )?(next|first|last|previous) leap[ -]year (?:after|before|following) {_YEAR}",
         lambda which, year: _next_leap(which, year) if which.lower() != "last" else None),
    Kind(rf"{_HOW_MANY} leap[ -]years (?:are there |were there |are )?"
         rf"(?:between|from) {_YEAR} (?:and|to) {_YEAR}(?: inclusive)?", _leap_years),
    Kind(rf"{_HOW_MANY} days (?:are there |were there |are |does )?(?:in )?"
         rf"(?:the month of )?({_MONTH})(?:,? (?:of )?{_YEAR})?(?: have| has)?", _days_in_month),
    Kind(rf"{_HOW_MANY} days (?:are there |were there |are |does )?(?:in )?"
         rf"(?:the year )?{_YEAR}(?: have| has)?", _days_in_year),
    Kind(rf"(?:{_WHEN})?(?:the )?({'|'.join(_ORDINALS)}) ({_WEEKDAY}) (?:of|in) ({_MONTH}),? "
         rf"(?:of )?{_YEAR}", _nth_weekday),
    Kind(rf"(?:{_WHEN})?(?:(western|catholic|orthodox|eastern|greek orthodox) )?({_FEAST}) "
         rf"(?:in |of |fall in |celebrated in |on in )?(?:the year )?{_YEAR}", _feast),
    Kind(rf"(?:{_WHEN})?{_HOLIDAY} (?:holiday |day )?(?:celebrated )?(?:in|of) {_COUNTRY},? "
         rf"(?:in |of )?(?:the year )?{_YEAR}", _holiday),
    Kind(rf"(?:{_WHEN})?{_HOLIDAY} (?:fall |celebrated )?(?:in )?{_YEAR} in {_COUNTRY}",
         lambda name, year, country: _holiday(name, country, year)),
    Kind(rf"{_WHEN}{_HOLIDAY} (?:celebrated |observed )?in {_COUNTRY}", _holiday_in_every_year),
    Kind(rf"is {_D_OR_DAY} a {_PUBLIC}holiday in {_COUNTRY}", _is_holiday),
    Kind(rf"(?:(?:which|what) )?{_PUBLIC}holiday (?:is (?:on )?|falls on "
         rf"|on |is celebrated on ){_D_OR_DAY} in {_COUNTRY}", _which_holiday),
    Kind(rf"(?:(?:which|what) )?{_PUBLIC}holiday (?:is celebrated )?in "
         rf"{_COUNTRY} (?:is |falls )?on {_D_OR_DAY}", _which_holiday_in),
    Kind(rf"{_HOW_MANY} {_PUBLIC}holidays (?:are there |does |did )?(?:in )?"
         rf"{_COUNTRY}(?: have)? in {_YEAR}", _number_of_holidays),
]  # fmt: skip
