from datetime import date, timedelta

import pytest
from dateutil import easter
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.backends.specialists.calendar import answer
from polyroute.backends.specialists.easter import orthodox_easter, western_easter

DATES = st.dates(date(1583, 1, 1), date(9998, 12, 31))


def written(day: date, style: int) -> str:
    month = day.strftime("%B")
    return [
        day.isoformat(),
        f"{day.day} {month} {day.year:04d}",
        f"{month} {day.day}, {day.year:04d}",
        f"the {day.day}th of {month} {day.year:04d}",
        f"{month[:3]} {day.day} {day.year:04d}",
    ][style]


STYLES = st.integers(0, 4)


@given(DATES, STYLES)
@settings(max_examples=100, deadline=None)
def test_weekdays_weeks_and_days_of_the_year_are_those_of_strftime(day: date, style: int) -> None:
    text = written(day, style)
    assert answer(f"What day of the week is {text}?") == day.strftime("%A")
    assert answer(f"ISO week number of {text}") == str(int(day.strftime("%V")))
    assert answer(f"day of the year of {text}") == str(int(day.strftime("%j")))


@given(DATES, STYLES, st.integers(0, 100_000))
@settings(max_examples=100, deadline=None)
def test_distances_and_shifts_are_each_other_s_inverse(day: date, style: int, days: int) -> None:
    text = written(day, style)
    after = answer(f"What date is {days} days after {text}?")
    if day.toordinal() + days > date.max.toordinal():
        assert after is None
        return
    assert after is not None
    assert answer(f"How many days are there between {text} and {after}?") == str(days)
    assert answer(f"{after} minus {days} days") == answer(f"0 days after {text}")


@given(st.dates(date(1583, 1, 1), date(3000, 1, 1)), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_months_are_added_as_dateutil_does_or_not_at_all(day: date, months: int) -> None:
    said = answer(f"{months} months after {day.isoformat()}")
    expected = day + relativedelta(months=months)
    if expected.day == day.day:
        assert said == f"{expected.day} {expected:%B} {expected.year}"
    else:
        assert said is None, "31 January plus a month has two meanings"


def test_easter_is_dateutil_s_in_every_year_it_knows() -> None:
    for year in range(1583, 4100):
        assert western_easter(year) == easter.easter(year, easter.EASTER_WESTERN)
        assert orthodox_easter(year) == easter.easter(year, easter.EASTER_ORTHODOX)


@given(st.integers(1583, 9999), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_lengths_of_months_and_years_are_differences_of_dates(year: int, month: int) -> None:
    first = date(year, month, 1)
    length = (first + timedelta(days=31)).replace(day=1) - first if first.year < 9999 else None
    if length is not None:
        assert answer(f"How many days are in {first:%B} {year}?") == str(length.days)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    assert answer(f"Is {year} a leap year?") == ("Yes" if leap else "No")
    assert answer(f"number of days in {year}") == str(366 if leap else 365)


KNOWN = {
    "What day of the week was 20 July 1969?": "Sunday",
    "On what day of the week did November 22, 1963 fall?": "Friday",
    "weekday of 14 July 2026": "Tuesday",
    "what weekday is 12/25/2026": "Friday",
    "days from 2024-02-28 to 2024-03-01": "2",
    "how many weeks between 1 January 2024 and 29 January 2024": "4",
    "3 weeks before 4 July 2026": "13 June 2026",
    "next leap year after 2024": "2028",
    "how many leap years between 2000 and 2020": "6",
    "third Monday of January 2026": "19 January 2026",
    "When is the last Friday of May 2026?": "29 May 2026",
    "When is Easter in 2026?": "5 April 2026",
    "date of Orthodox Easter 2024": "5 May 2024",
    "Good Friday 2025": "18 April 2025",
    # public holidays, checked against the governments' lists
    "When is Thanksgiving in the US in 2026?": "26 November 2026",
    "What date is Thanksgiving 2026 in the United States?": "26 November 2026",
    "When is Labor Day in the United States in 2025": "1 September 2025",
    "When is Martin Luther King Day in the US in 2025": "20 January 2025",
    "when is the Independence Day of Peru in 2026": "28 July 2026",
    "When is Bastille Day in France?": "14 July",
    "When is Christmas Day in Germany?": "25 December",
    "Is 14 July a holiday in France?": "Yes",
    "is 15 July 2026 a public holiday in France": "No",
    "Is 26 December 2025 a bank holiday in the UK?": "Yes",
    "Which holiday is on 14 July in France?": "National Day",
}


def test_a_year_that_the_library_does_not_cover_is_not_answered() -> None:
    assert answer("When is Eid al-Fitr in Trinidad and Tobago in 1995?") is None
    assert answer("When is New Year's Day in Nepal in 2000?") is None


def test_names_of_holidays_do_not_depend_on_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANGUAGE", "fr")
    assert answer("Which holiday is on 1 May 2031 in France?") == "Labor Day"


@pytest.mark.parametrize("question", KNOWN)
def test_the_known_kinds(question: str) -> None:
    assert answer(question) == KNOWN[question]


@pytest.mark.parametrize(
    "question",
    [
        "What day is it today?", "how many days until Christmas", "next Friday", "3 days ago",
        "What date is 3 weeks from now?", "days between today and 1 May 2026",  # the clock
        "what day is 3/4/2026",  # March or April
        "weekday of 31 February 2026", "weekday of 29 February 2023", "weekday of 4 July 1500",
        "2026-01-31 plus 1 month", "1 year after 29 February 2024", "days in February",
        "how many weeks between 1 January 2024 and 20 January 2024",
        "When is Thanksgiving in the US?", "is 5 April a holiday in France?",  # not every year
        "when is Eid al-Fitr in Egypt in 2030",  # an estimate
        "When is Bloomsday in Ireland in 2026", "When is Christmas in Georgia in 2026",
        "When is Labor Day in the US in 2090", "fifth Monday of February 2026",
        "when did World War II end", "2024-01-15", "what is the date",
    ],
)  # fmt: skip
def test_what_is_relative_ambiguous_or_unknown_is_not_answered(question: str) -> None:
    assert answer(question) is None
