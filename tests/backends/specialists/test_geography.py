"""Facts are checked by hand, and against CLDR, ISO tables and the time zone database."""

import zoneinfo

import pycountry
import pytest
from babel import Locale

from polyroute.backends.specialists.cities import capital_city, capital_of
from polyroute.backends.specialists.countries import countries, country_named
from polyroute.backends.specialists.geography import answer

CAPITALS = {
    "Peru": "Lima", "the Netherlands": "Amsterdam", "Australia": "Canberra", "Canada": "Ottawa",
    "Brazil": "Brasilia", "Turkey": "Ankara", "Kazakhstan": "Astana", "Nigeria": "Abuja",
    "Switzerland": "Bern", "New Zealand": "Wellington", "the USA": "Washington, D.C.",
    "Myanmar": "Nay Pyi Taw", "Ivory Coast": "Yamoussoukro", "Tanzania": "Dodoma",
    "South Korea": "Seoul", "Czech Republic": "Prague", "UK": "London", "Morocco": "Rabat",
    "the Democratic Republic of the Congo": "Kinshasa", "Sri Lanka": "Sri Jayawardenepura Kotte",
    "the country Georgia": "Tbilisi", "Côte d'Ivoire": "Yamoussoukro", "Burundi": "Gitega",
}  # fmt: skip


@pytest.mark.parametrize("country", CAPITALS)
def test_capitals_there_and_back(country: str) -> None:
    capital = CAPITALS[country]
    assert answer(f"What is the capital of {country}?") == capital
    assert answer(f"{country}'s capital") == capital
    back = answer(f"Which country has {capital} as its capital?")
    assert back is not None
    assert country_named(f"the country {back}") == country_named(country)
    assert answer(f"Is {capital} the capital of {country}?") == "Yes"


KNOWN = {
    "Which country is Lima in?": "Peru",
    "In which country is Munich?": "Germany",
    "What country is Bombay in?": "India",
    "Lima is the capital of which country?": "Peru",
    "What country is Lima the capital of?": "Peru",
    "which country has the two-letter ISO code \"DE\"": "Germany",
    "Which country has the ISO code PE?": "Peru",
    "country with ISO 3166-1 alpha-3 code PER": "Peru",
    "Which country has the numeric code 604?": "Peru",
    "ISO code of Peru": "PE",
    "three-letter country code of Australia": "AUS",
    "ISO numeric code of Belgium": "056",
    "currency of Peru": "Peruvian Sol",
    "What currency does Japan use?": "Japanese Yen",
    "currency code of Switzerland": "CHF",
    "currency of Bulgaria": "Euro",
    "which country uses the currency PEN": "Peru",
    "Which country uses the Peruvian sol?": "Peru",
    "which currency has the code JPY": "Japanese Yen",
    "which country has the calling code +51": "Peru",
    "phone code of Peru": "+51",
    "internet domain of Chile": ".cl",
    "continent of Peru": "South America",
    "On which continent is Lima?": "South America",
    "neighbours of Peru": "Bolivia, Brazil, Chile, Colombia, Ecuador",
    "Which countries border Portugal?": "Spain",
    "neighbours of Japan": "none",
    "How many countries border Germany?": "9",
    "Does Peru border Brazil?": "Yes",
    "Does Peru share a border with Japan?": "No",
    "Is Cusco the capital of Peru?": "No",
    "timezone of Lima": "America/Lima",
    "In which time zone is Tokyo?": "Asia/Tokyo",
    "time zone of the capital of Japan": "Asia/Tokyo",
    "largest city in Brazil": "São Paulo",
    "largest city of Turkey": "Istanbul",
    "official language of Brazil": "Portuguese",
    "most spoken language of Peru": "Spanish",
    "languages spoken in Switzerland": "German, French, Italian, Romansh",
    "Which has a larger population, Peru or Chile?": "Peru",
    "Which country has the larger area: France or Spain?": "France",
    "Which city has more people, Lima or Quito?": "Lima",
}  # fmt: skip


@pytest.mark.parametrize("question", KNOWN)
def test_the_known_kinds(question: str) -> None:
    assert answer(question) == KNOWN[question]


@pytest.mark.parametrize(
    ("place", "people", "within"),
    [  # censuses and estimates of 2015 to 2022, from the statistical offices
        ("Lima", 8.8e6, 0.2), ("Paris", 2.1e6, 0.1), ("Germany", 83e6, 0.05),
        ("the capital of Costa Rica", 340e3, 0.1), ("San Jose, Costa Rica", 340e3, 0.1),
        ("San Jose, California", 1.0e6, 0.05), ("the city of Luxembourg", 76e3, 0.8),
        ("New York City", 8.6e6, 0.05), ("Singapore", 5.6e6, 0.05),
        ("Washington, D.C.", 690e3, 0.03), ("Birmingham, Alabama", 200e3, 0.1),
    ],
)  # fmt: skip
def test_populations_are_of_the_right_place(place: str, people: float, within: float) -> None:
    said = answer(f"What is the population of {place}?")
    assert int(said or 0) == pytest.approx(people, rel=within)


def test_iso_codes_are_those_of_pycountry_for_every_country() -> None:
    for code in countries():
        iso = pycountry.countries.get(alpha_2=code)
        if iso is None:
            assert code == "XK"
            continue
        name = answer(f"Which country has the ISO code {code}?")
        assert name == answer(f"country with the ISO code {iso.alpha_3}")
        assert name == answer(f"country with the ISO code {iso.numeric}")
        assert answer(f"ISO code of the country {name}") == code
        assert answer(f"ISO alpha-3 code of the country {name}") == iso.alpha_3
        assert answer(f"ISO numeric code of the country {name}") == iso.numeric


def test_every_name_of_cldr_means_its_own_country_or_none() -> None:
    for code, name in Locale("en").territories.items():
        if code in countries():
            assert country_named(name) in (code, None), name


def test_neighbours_are_mutual_and_time_zones_exist() -> None:
    zones = zoneinfo.available_timezones()
    for code, row in countries().items():
        for other in filter(None, str(row["neighbours"]).split(",")):
            assert code in str(countries()[other]["neighbours"]).split(","), (code, other)
        city = capital_city(code)
        assert city is None or not zones or city["timezone"] in zones


def test_nearly_every_capital_has_its_people() -> None:
    found = [code for code in countries() if capital_of(code) and capital_city(code)]
    assert len(found) > 225


@pytest.mark.parametrize(
    "question",
    [
        # two places of the name
        "capital of Georgia", "population of Georgia", "population of Congo", "capital of Korea",
        "population of New York", "population of Ontario", "population of San José",
        "population of Luxembourg", "In what country is Birmingham located?", "capital of Congo",
        "Which country has calling code 1", "country code of Peru", "country of Cordoba",
        # not in the data
        "capital of California", "capital of Atlantis", "population of Mercury",
        "official language of Peru", "population of Lima in 1990", "capital of France and Germany",
        "Who is the president of Peru?", "What is the GDP of Peru?", "capital of Antarctica",
        "What is the capital gains tax of Peru?", "area of Peru in square miles",
        "ISO code of Kosovo",
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_unknown_is_not_answered(question: str) -> None:
    assert answer(question) is None
