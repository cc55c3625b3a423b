from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslo.errors import NetsloError
from slo.calendar_period import period_at
from slo.objective import CalendarWindow

QUARTER = CalendarWindow("1Q", "2026-01-01 00:00:00", "Europe/London")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def hours(window: CalendarWindow, text: str) -> float:
    start_s, end_s = period_at(window, at(text))
    return (end_s - start_s) / 3600


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-01", 2159),  # an hour is lost on 29 March
        ("2026-05-01", 2184),
        ("2026-08-01", 2208),
        ("2026-11-01", 2209),  # and found again on 25 October
        ("2025-02-01", 2159),  # before the first period: counted back
        ("2028-02-01", 2183),  # a leap year
    ],
)
def test_quarters_of_london_have_the_hours_they_have(moment, expected):
    assert hours(QUARTER, moment) == expected


def test_a_fiscal_year_begins_in_april_and_its_first_second_is_in_it():
    fiscal = CalendarWindow("1Y", "2020-04-01", "Europe/London")
    start_s, end_s = period_at(fiscal, at("2026-03-31T23:00:00"))  # midnight of London's summer
    assert (start_s, end_s) == (at("2026-03-31T23:00:00"), at("2027-03-31T23:00:00"))
    assert period_at(fiscal, start_s - 1)[1] == start_s


def test_a_month_of_the_31st_ends_where_months_end():
    monthly = CalendarWindow("1M", "2026-01-31 00:00:00", "UTC")
    assert period_at(monthly, at("2026-02-28T12:00:00")) == (at("2026-02-28"), at("2026-03-31"))


WINDOWS = st.builds(
    CalendarWindow,
    st.sampled_from(["1d", "1w", "2w", "1M", "1Q", "5M", "1Y"]),
    st.sampled_from(["2020-04-01", "2024-02-29 12:30:00", "2026-10-25 01:30:00"]),
    st.sampled_from(["Europe/London", "America/New_York", "UTC", "Australia/Lord_Howe"]),
)


@given(WINDOWS, st.integers(946_684_800, 4_102_444_800))
def test_every_moment_is_in_one_period_and_periods_follow_each_other(window, at_s):
    start_s, end_s = period_at(window, at_s)
    assert start_s <= at_s < end_s
    assert period_at(window, start_s) == (start_s, end_s)
    assert period_at(window, end_s)[0] == end_s
    edges = [period_at(window, start_s - 1)[0], start_s, end_s]
    assert all(a < b for a, b in pairwise(edges))


def test_a_host_without_the_zone_says_so():
    with pytest.raises(NetsloError, match="tzdata"):
        period_at(CalendarWindow("1Q", "2026-01-01", "Mars/Olympus"), 0)
