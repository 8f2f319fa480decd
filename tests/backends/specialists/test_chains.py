"""Questions of several hops: each answer is worded so that the next specialist can take it up."""

import pytest

from polyroute.backends.specialists import calculator, calendar, elements, geography

SPECIALISTS = {
    "calculator": calculator.answer,
    "calendar": calendar.answer,
    "elements": elements.answer,
    "geography": geography.answer,
}

Hop = tuple[str, str]
"""Specialist and question; ``{}`` is the answer of the hop before."""

CHAINS: dict[str, tuple[list[Hop], str | None]] = {
    "population of the capital of Peru": (
        [("geography", "What is the capital of Peru?"),
         ("geography", "What is the population of {}?")], None),
    "population of the capital of the United States": (
        [("geography", "capital of the United States"), ("geography", "population of {}")], None),
    "currency of the country whose capital is Nairobi": (
        [("geography", "Which country has Nairobi as its capital?"),
         ("geography", "What is the currency of {}?")], "Kenyan Shilling"),
    "time zone of the capital of Japan": (
        [("geography", "capital of Japan"), ("geography", "timezone of {}")], "Asia/Tokyo"),
    "capital of the country that Munich is in": (
        [("geography", "Which country is Munich in?"), ("geography", "capital of {}")], "Berlin"),
    "capital of the country with the ISO code PE": (
        [("geography", "Which country has the ISO code PE?"),
         ("geography", "What is the capital of {}?")], "Lima"),
    "capital of the only neighbour of Portugal": (
        [("geography", "Which countries border Portugal?"), ("geography", "capital of {}")],
        "Madrid"),
    "currency of the country with the calling code +81": (
        [("geography", "Which country has the calling code +81?"),
         ("geography", "currency of {}")], "Japanese Yen"),
    "atomic number of the element whose symbol is the ISO code of Australia": (
        [("geography", "What is the ISO code of Australia?"),
         ("elements", "Which element has the symbol {}?"),
         ("elements", "What is the atomic number of {}?")], "79"),
    "capital of the country whose ISO code is the symbol of calcium": (
        [("elements", "What is the chemical symbol for calcium?"),
         ("geography", "Which country has the ISO code {}?"),
         ("geography", "What is the capital of {}?")], "Ottawa"),
    "symbol of the element whose number is the number of neighbours of Germany": (
        [("geography", "How many countries border Germany?"),
         ("elements", "Which element has atomic number {}?"),
         ("elements", "symbol of {}")], "F"),
    "the group of chlorine times six": (
        [("elements", "group of chlorine"), ("calculator", "square root of 36 times {}")], "102"),
    "atomic number of gold times two": (
        [("elements", "atomic number of gold"), ("calculator", "{} times 2")], "158"),
    "density of iron times ten": (
        [("elements", "density of iron"), ("calculator", "10 times {}")], "78.74"),
    "half of the area of France": (
        [("geography", "area of France"), ("calculator", "half of {}")], "273515"),
    "population density of Peru": (
        [("geography", "population of Peru"),
         ("calculator", "What is {} divided by 1285220?")], None),
    "mass of two moles of water": (
        [("elements", "molar mass of H2O"), ("calculator", "2 * {}")], "36.03"),
    "weekday of Thanksgiving": (
        [("calendar", "When is Thanksgiving in the US in 2026?"),
         ("calendar", "What day of the week is {}?")], "Thursday"),
    "weekday 100 days after Easter 2026": (
        [("calendar", "When is Easter in 2026?"),
         ("calendar", "What date is 100 days after {}?"),
         ("calendar", "weekday of {}")], "Tuesday"),
    "hours in a leap February": (
        [("calendar", "How many days are in February 2024?"), ("calculator", "{} * 24")], "696"),
    "the element whose number is the days in July 2026": (
        [("calendar", "How many days are in July?"),
         ("elements", "element with atomic number {}")], "gallium"),
    "Independence Day 2026 of the country whose capital is Lima": (
        [("geography", "Lima is the capital of which country?"),
         ("calendar", "When is Independence Day in {} in 2026?")], "28 July 2026"),
    "is the atomic number of carbon plus one prime": (
        [("elements", "atomic number of carbon"), ("calculator", "{} + 1"),
         ("calculator", "Is {} prime?")], "Yes"),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_of_specialists_arrives(chain: str) -> None:
    hops, expected = CHAINS[chain]
    said: str | None = ""
    for name, question in hops:
        said = SPECIALISTS[name](question.format(said))
        assert said is not None, (name, question)
    if expected is None:
        assert float(said or "nan") > 0, "a figure of the data, which changes with its version"
    else:
        assert said == expected
