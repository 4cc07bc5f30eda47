"""The ranges of the overview: which days a word means, and with which days they are compared."""

from datetime import date
from decimal import Decimal

import pytest

from schemas.errors import RejectedError
from schemas.money import Money
from web.pages.changes import change
from web.pages.ranges import PRESETS, Range, chosen, preset, previous

TODAY = date(2026, 11, 22)
SINCE = date(2024, 2, 29)


@pytest.mark.parametrize(
    ("word", "first", "last", "before"),
    [
        ("today", TODAY, TODAY, (date(2026, 11, 21), date(2026, 11, 21))),
        ("7-days", date(2026, 11, 16), TODAY, (date(2026, 11, 9), date(2026, 11, 15))),
        ("30-days", date(2026, 10, 24), TODAY, (date(2026, 9, 24), date(2026, 10, 23))),
        ("90-days", date(2026, 8, 25), TODAY, (date(2026, 5, 27), date(2026, 8, 24))),
        ("this-month", date(2026, 11, 1), TODAY, (date(2026, 10, 1), date(2026, 10, 22))),
        ("last-month", date(2026, 10, 1), date(2026, 10, 31), (date(2026, 9, 1), date(2026, 9, 30))),
        ("this-year", date(2026, 1, 1), TODAY, (date(2025, 1, 1), date(2025, 11, 22))),
        ("all", SINCE, TODAY, None),
    ],
)
def test_a_word_means_days_and_the_days_before_them(word, first, last, before):
    """Each preset ends today (or with last month), and is compared with as many days, or the same part, before."""
    found = preset(word, TODAY, SINCE)
    assert found == Range(first, last, word)
    assert previous(found) == (before and Range(*before))


@pytest.mark.parametrize(
    ("today", "before"),
    [
        (date(2026, 3, 31), (date(2026, 2, 1), date(2026, 2, 28))),
        (date(2024, 3, 30), (date(2024, 2, 1), date(2024, 2, 29))),
        (date(2026, 5, 31), (date(2026, 4, 1), date(2026, 4, 30))),
        (date(2026, 4, 30), (date(2026, 3, 1), date(2026, 3, 31))),
        (date(2026, 1, 15), (date(2025, 12, 1), date(2025, 12, 15))),
    ],
)
def test_a_month_so_far_is_compared_with_as_much_of_the_one_before(today, before):
    """The same days of the month before; where that is shorter, it ends with that month. January follows December."""
    assert previous(preset("this-month", today, SINCE)) == Range(*before)


@pytest.mark.parametrize(
    ("first", "last", "before"),
    [
        (date(2026, 2, 1), date(2026, 2, 28), (date(2026, 1, 1), date(2026, 1, 31))),
        (date(2024, 3, 1), date(2024, 3, 31), (date(2024, 2, 1), date(2024, 2, 29))),
        (date(2026, 1, 1), date(2026, 3, 31), (date(2025, 10, 1), date(2025, 12, 31))),
        (date(2026, 1, 1), date(2026, 12, 31), (date(2025, 1, 1), date(2025, 12, 31))),
        (date(2026, 2, 1), date(2026, 2, 27), (date(2026, 1, 5), date(2026, 1, 31))),
        (date(2026, 2, 2), date(2026, 3, 1), (date(2026, 1, 5), date(2026, 2, 1))),
    ],
)
def test_whole_months_are_compared_with_whole_months(first, last, before):
    """Whole months with as many whole months, however long they are; other days with exactly as many days."""
    assert previous(Range(first, last)) == Range(*before)


def test_a_leap_day_has_a_year_before():
    """On February 29 the year so far is compared with the one before up to its last day of February."""
    found = previous(preset("this-year", date(2024, 2, 29), SINCE))
    assert found == Range(date(2023, 1, 1), date(2023, 2, 28))


def test_before_the_first_day_of_all_there_is_nothing():
    """Days that would be compared with days before 1970 are compared with none."""
    assert previous(Range(date(1970, 1, 1), date(1970, 1, 31))) is None
    assert previous(Range(date(1970, 1, 5), date(1970, 1, 10))) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, preset("30-days", TODAY, SINCE)),
        ({"range": "today"}, Range(TODAY, TODAY, "today")),
        ({"from": "2026-01-05", "to": "2026-02-01"}, Range(date(2026, 1, 5), date(2026, 2, 1))),
        ({"from": "2026-11-01"}, Range(date(2026, 11, 1), TODAY)),
        ({"to": "2026-01-01"}, Range(SINCE, date(2026, 1, 1))),
        ({"to": "2020-01-01"}, Range(date(2020, 1, 1), date(2020, 1, 1))),
        ({"from": "2026-01-05", "to": "2026-02-01", "range": "today"}, Range(date(2026, 1, 5), date(2026, 2, 1))),
    ],
)
def test_an_address_asks_for_days(query, expected):
    """Days of one's own count for more than a word; what is left out is filled in, and nothing means thirty days."""
    assert chosen(query, TODAY, SINCE) == expected


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"range": "tomorrow"}, "query.range"),
        ({"from": "yesterday"}, "query.from"),
        ({"to": "0001-01-01"}, "query.to"),
        ({"from": "9999-12-31"}, "query.from"),
        ({"from": "2026-02-30"}, "query.from"),
        ({"from": "2026-02-03", "to": "2026-02-02"}, "query.to"),
    ],
)
def test_days_that_there_are_not_are_refused(query, path):
    """The error names the field that is at fault."""
    with pytest.raises(RejectedError) as refused:
        chosen(query, TODAY, SINCE)
    assert [fault.path for fault in refused.value.faults] == [path]


def test_a_chart_has_no_more_points_than_can_be_seen():
    """Some days go by days, some months by weeks, years by months."""
    intervals = {word: preset(word, TODAY, SINCE).interval for word in PRESETS}
    assert intervals == {
        "today": "day", "7-days": "day", "30-days": "day", "90-days": "day", "this-month": "day", "last-month": "day",
        "this-year": "week", "all": "month",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "before", "way", "by"),
    [
        (150, 100, "up", "0.5"),
        (50, 100, "down", "0.5"),
        (100, 100, "same", None),
        (0, 0, "same", None),
        (5, 0, "up", None),
        (5, None, "none", None),
        (None, 5, "none", None),
        (Money.of(-50, "USD"), Money.of(-100, "USD"), "up", "0.5"),
        (Money.of(-150, "USD"), Money.of(100, "USD"), "down", "2.5"),
        (Money.of(100_001, "USD"), Money.of(100_000, "USD"), "same", None),
        (Decimal("0.11"), Decimal("0.10"), "up", "0.1"),
    ],
)
def test_a_change_is_told_as_a_part_of_what_was_before(now, before, way, by):
    """More is up, less is down, also below zero; of nothing there is no part; what would be shown as 0.0 % is none."""
    assert change(now, before) == (way, by and Decimal(by))
