"""What real questions ask for: relations between countries, elements, dates and numbers.

The one decision here: an answer is looked up in the tables themselves (GeoNames, ISO 3166 and 4217,
CLDR, the periodic table, the Gregorian calendar), never by asking a specialist, so that the two can
be held against each other. Where a table is corrected, it is corrected once, beside the specialist
that answers from it too.
"""

import calendar
import random
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Literal, TypeAlias

import periodictable
from babel.dates import format_date
from babel.numbers import get_territory_currencies

from polyroute.backends.specialists.cities import (
    capital_city,
    capital_of,
    city_named,
    country_of_capital,
)
from polyroute.backends.specialists.countries import countries, country_named, english
from polyroute.backends.specialists.easter import western_easter
from polyroute.backends.specialists.wording import folded

__all__ = ["HELD_RELATION", "RELATIONS", "Kind", "Relation", "group", "subjects"]

Kind: TypeAlias = Literal[
    "country", "city", "element", "symbol", "number", "quantity", "year", "date", "count", "word"
]
"""What a subject or an answer is. A ``count`` is a number that only arithmetic goes on from; a
``quantity`` is a number that stands before a unit, so it is never an answer; a ``word`` is where a
chain ends."""

HELD_RELATION = "period"
"""Never in training."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One thing that can be asked of a subject."""

    name: str
    skill: str
    """What a specialist must know."""
    tool: str
    """The tool of the embedded pool that answers it; empty where none does."""
    phrase: str
    """``{}`` is the subject; ``#`` a constant of the question, where it has one."""
    of: tuple[Kind, ...]
    gives: Kind
    find: Callable[..., str | None]
    """From the subject (and the constant) to the answer; `None` where there is none."""
    constants: range = range(0)
    """What the constant may be."""


def subjects(kind: Kind) -> Sequence[str]:
    """Return what questions that begin with `kind` are about; nothing for some kinds."""
    return _SUBJECTS[kind]() if kind in _SUBJECTS else ()


@cache
def group(kind: Kind, value: str) -> str:
    """Return what must not be on both sides of a split: a country with its capital, and so on."""
    if kind in ("country", "city"):
        code = country_named(value) if kind == "country" else country_of_capital(value)
        return f"country {code}"
    if kind in ("element", "symbol"):
        number = _by_name()[value] if kind == "element" else _by_symbol()[value]
        return f"element {number}"
    return f"{kind} {value}"


# countries


@cache
def _countries() -> tuple[str, ...]:
    """Names of the countries that a name means without doubt."""
    names = (str(row["name"]).strip().removeprefix("The ") for row in countries().values())
    codes = dict(zip(countries(), names, strict=True))
    return tuple(name for code, name in codes.items() if country_named(name) == code)


@cache
def _capitals() -> tuple[str, ...]:
    """Capitals whose name means no other place."""
    found = ((code, capital_of(code)) for code in map(country_named, _countries()) if code)
    return tuple(name for code, name in found if name and country_of_capital(name) == code)


def _of_country(describe: Callable[[str], str | None]) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        code = country_named(name)
        return None if code is None else describe(code)

    return find


def _capital(code: str) -> str | None:
    capital = capital_of(code)
    return capital if capital in _capitals() else None


def _country_of(city: str) -> str | None:
    code = country_of_capital(city)
    return None if code is None else _name(code)


def _name(code: str) -> str | None:
    name = str(countries()[code]["name"]).strip().removeprefix("The ")
    return name if name in _countries() else None


def _neighbours(code: str) -> str:
    return str(sum(n in countries() for n in str(countries()[code]["neighbours"]).split(",")))


def _calling(code: str) -> str | None:
    number = str(countries()[code]["phone"]).lstrip("+")
    return f"+{number}" if number.isdigit() else None


def _numeric(code: str) -> str | None:
    return None if code in _NOT_ISO else f"{countries()[code]['isonumeric']:03d}"


def _currency(code: str) -> str | None:
    """Return the currency on which GeoNames and CLDR agree, or the euro where it is new."""
    used = "EUR" if code == "BG" else str(countries()[code]["currencycode"])
    return used if code == "BG" or used in get_territory_currencies(code) else None


def _currency_name(code: str) -> str | None:
    currency = _currency(code)
    name: str | None = english().currencies.get(currency) if currency else None
    return name


def _time_zone(city: str) -> str | None:
    code = country_of_capital(city)
    row = None if code is None else capital_city(code)
    return None if row is None or city_named(city) is not row else str(row["timezone"])


def _alpha_3(code: str) -> str | None:
    return None if code in _NOT_ISO else str(countries()[code]["iso3"])


def _population(code: str) -> str | None:
    """Return the number of people of a country whose name is not its capital's as well."""
    shared = folded(capital_of(code) or "") == folded(_name(code) or "")
    people = countries()[code]["population"]
    return str(people) if people and not shared else None


def _area(code: str) -> str | None:
    return str(countries()[code]["areakm2"]) if countries()[code]["areakm2"] else None


_NOT_ISO = {"XK"}


# elements


@cache
def _by_name() -> dict[str, int]:
    return {str(e.name): int(e.number) for e in periodictable.elements if 1 <= e.number <= 118}


@cache
def _by_symbol() -> dict[str, int]:
    return {str(periodictable.elements[n].symbol): n for n in _by_name().values()}


def _of_element(describe: Callable[[int], str | None]) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        number = _by_name().get(name)
        return None if number is None else describe(number)

    return find


def _element_numbered(number: str) -> str | None:
    known = number.isdigit() and 1 <= int(number) <= len(_by_name())
    return str(periodictable.elements[int(number)].name) if known else None


def _element_with(symbol: str) -> str | None:
    number = _by_symbol().get(symbol)
    return None if number is None else _element_numbered(str(number))


_MERCURY = 80
_NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)
_MAIN_GROUPS = {1: 1, 2: 2, -6: 13, -5: 14, -4: 15, -3: 16, -2: 17, -1: 18}
"""The place in the row, from either end, that a group has in every row of eight or more."""


def _period(number: int) -> str | None:
    """Return the row; not of mercury, whose period may be a planet's."""
    return None if number == _MERCURY else str(bisect_left(_NOBLE_GASES, number) + 1)


def _main_group(number: int) -> str | None:
    """Return the group of an element outside of the middle of the table, which has none here."""
    row = bisect_left(_NOBLE_GASES, number)
    if row == 0:
        return "1" if number == 1 else "18"
    start, end = _NOBLE_GASES[row - 1], _NOBLE_GASES[row]
    group_ = _MAIN_GROUPS.get(number - end - 1) or _MAIN_GROUPS.get(number - start)
    return None if group_ is None else str(group_)


# dates


def _parsed(day: str) -> date | None:
    match = re.fullmatch(r"(\d{1,2}) ([A-Z][a-z]+) (\d{4})", day)
    if match is None or match[2] not in _MONTHS:
        return None
    year, month = int(match[3]), _MONTHS.index(match[2])
    known = year >= 1583 and 1 <= int(match[1]) <= calendar.monthrange(year, month)[1]
    return date(year, month, int(match[1])) if known else None


_MONTHS = ("", "January", "February", "March", "April", "May", "June", "July", "August",
           "September", "October", "November", "December")  # fmt: skip


def _written(day: date) -> str:
    return str(format_date(day, "d MMMM yyyy", locale="en"))


def _of_date(describe: Callable[[date], str]) -> Callable[[str], str | None]:
    def find(day: str) -> str | None:
        parsed = _parsed(day)
        return None if parsed is None else describe(parsed)

    return find


def _days_after(day: str, days: str) -> str | None:
    parsed = _parsed(day)
    return None if parsed is None else _written(parsed + timedelta(days=int(days)))


def _of_year(describe: Callable[[int], str]) -> Callable[[str], str | None]:
    def find(year: str) -> str | None:
        known = re.fullmatch(r"\d{4}", year) and 1583 <= int(year) <= 3000
        return describe(int(year)) if known else None

    return find


def _next_leap_year(year: int) -> str:
    return str(next(y for y in range(year + 1, year + 9) if calendar.isleap(y)))


# numbers


def _of_number(compute: Callable[..., int | None]) -> Callable[..., str | None]:
    def find(*numbers: str) -> str | None:
        if not all(re.fullmatch(r"\d{1,12}", number) for number in numbers):
            return None
        result = compute(*map(int, numbers))
        return None if result is None or result < 0 else str(result)

    return find


_NUMBERS: tuple[Kind, ...] = ("number", "count")
_ANY_NUMBER: tuple[Kind, ...] = ("number", "count", "year")

RELATIONS: tuple[Relation, ...] = (
    Relation("capital", "places", "geography", "capital of {}", ("country",), "city",
             _of_country(_capital)),
    Relation("country of", "places", "geography", "country whose capital is {}", ("city",),
             "country", _country_of),
    Relation("neighbours", "places", "geography", "number of neighbours of {}", ("country",),
             "number", _of_country(_neighbours)),
    Relation("time zone", "places", "geography", "time zone of {}", ("city",), "word", _time_zone),
    Relation("currency", "money", "geography", "currency of {}", ("country",), "word",
             _of_country(_currency_name)),
    Relation("currency code", "money", "geography", "currency code of {}", ("country",), "word",
             _of_country(_currency)),
    Relation("calling code", "codes", "geography", "calling code of {}", ("country",), "word",
             _of_country(_calling)),
    Relation("alpha-3", "codes", "geography", "alpha-3 code of {}", ("country",), "word",
             _of_country(_alpha_3)),
    Relation("numeric", "codes", "geography", "numeric code of {}", ("country",), "count",
             _of_country(_numeric)),
    Relation("population", "statistics", "geography", "population of {}", ("country",), "count",
             _of_country(_population)),
    Relation("area", "statistics", "geography", "area of {}", ("country",), "count",
             _of_country(_area)),
    Relation("symbol", "elements", "elements", "chemical symbol of {}", ("element",), "symbol",
             _of_element(lambda n: str(periodictable.elements[n].symbol))),
    Relation("element with symbol", "elements", "elements", "element whose symbol is {}",
             ("symbol",), "element", _element_with),
    Relation("atomic number", "elements", "elements", "atomic number of {}", ("element",),
             "number", _of_element(str)),
    Relation("element numbered", "elements", "elements", "element whose atomic number is {}",
             ("number",), "element", _element_numbered),
    Relation(HELD_RELATION, "elements", "elements", "period of {}", ("element",),
             "number", _of_element(_period)),
    Relation("group", "elements", "elements", "group of {}", ("element",), "number",
             _of_element(_main_group)),
    Relation("weekday", "calendar", "calendar", "weekday of {}", ("date",), "word",
             _of_date(lambda day: calendar.day_name[day.weekday()])),
    Relation("day of the year", "calendar", "calendar", "day of the year of {}", ("date",),
             "number", _of_date(lambda day: str(day.timetuple().tm_yday))),
    Relation("week", "calendar", "calendar", "ISO week number of {}", ("date",), "number",
             _of_date(lambda day: str(day.isocalendar().week))),
    Relation("days after", "calendar", "calendar", "date # days after {}", ("date",), "date",
             _days_after, range(10, 400)),
    Relation("Easter", "calendar", "calendar", "date of Easter in {}", ("year",), "date",
             _of_year(lambda year: _written(western_easter(year)))),
    Relation("leap year", "calendar", "calendar", "next leap year after {}", ("year",), "year",
             _of_year(_next_leap_year)),
    Relation("sum", "arithmetic", "calculator", "sum of # and {}", _ANY_NUMBER, "count",
             _of_number(lambda a, b: a + b), range(11, 1000)),
    Relation("product", "arithmetic", "calculator", "product of # and {}", _NUMBERS, "count",
             _of_number(lambda a, b: a * b), range(3, 40)),
    Relation("remainder", "arithmetic", "calculator", "remainder of {} divided by #", _ANY_NUMBER,
             "number", _of_number(lambda a, b: a % b), range(7, 60)),
    Relation("square", "arithmetic", "calculator", "square of {}", _NUMBERS, "count",
             _of_number(lambda a: a * a if a < 10**6 else None)),
    Relation("minutes", "units", "", "number of minutes in {} hours", ("quantity",), "count",
             _of_number(lambda a: a * 60)),
    Relation("inches", "units", "", "number of inches in {} feet", ("quantity",), "count",
             _of_number(lambda a: a * 12)),
    Relation("metres", "units", "", "number of metres in {} kilometres", ("quantity",), "count",
             _of_number(lambda a: a * 1000)),
    Relation("ounces", "units", "", "number of ounces in {} pounds", ("quantity",), "count",
             _of_number(lambda a: a * 16)),
)  # fmt: skip
"""All that can be asked."""

_LEAST_DAYS = 20_000


@cache
def _dates() -> tuple[str, ...]:
    draw = random.Random("dates")
    first = date(1900, 1, 1)
    days = draw.sample(range(73_000), _LEAST_DAYS)
    return tuple(_written(first + timedelta(days=k)) for k in sorted(days))


_SUBJECTS: dict[Kind, Callable[[], Sequence[str]]] = {
    "country": _countries,
    "city": _capitals,
    "element": lambda: tuple(_by_name()),
    "symbol": lambda: tuple(_by_symbol()),
    "number": lambda: tuple(map(str, range(1, 1000))),
    "year": lambda: tuple(map(str, range(1800, 2200))),
    "quantity": lambda: tuple(map(str, range(2, 1000))),
    "date": _dates,
}
