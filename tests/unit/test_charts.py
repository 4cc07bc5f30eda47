"""What charts are drawn from: a row for each stretch, called as people call it."""

from dataclasses import dataclass
from datetime import date

import pytest
from babel import Locale

from schemas.money import Money
from web.pages.charts import ChartRow, label, rows_of


@dataclass
class Point:
    """A stretch with a figure."""

    from_: date
    to: date
    cents: int


@pytest.mark.parametrize(
    ("first", "last", "interval", "locale", "called"),
    [
        ("2026-11-01", "2026-11-01", "day", "en_US", "Nov 1, 2026"),
        ("2026-11-01", "2026-11-01", "day", "de", "01.11.2026"),
        ("2026-11-02", "2026-11-08", "week", "en_US", "Nov 2 - 8, 2026"),
        ("2025-12-29", "2026-01-04", "week", "de", "29. Dez. 2025 - 4. Jan. 2026"),
        ("2026-11-01", "2026-11-30", "month", "en_US", "November 2026"),
        ("2026-12-01", "2026-12-31", "month", "en_US", "December 2026"),
        ("2028-02-01", "2028-02-29", "month", "en_US", "February 2028"),
        # Cut by the range that was asked for: that it is no whole month is to be seen.
        ("2028-02-01", "2028-02-28", "month", "en_US", "Feb 1 - 28, 2028"),
        ("2026-11-05", "2026-11-30", "month", "en_US", "Nov 5 - 30, 2026"),
        ("2026-11-30", "2026-11-30", "month", "en_US", "Nov 30, 2026"),
    ],
)
def test_stretches_are_called_as_people_do(first: str, last: str, interval: str, locale: str, called: str) -> None:
    """A stretch is called by its day, its whole month, or from when to when it is, in the words of the locale."""
    found = label(date.fromisoformat(first), date.fromisoformat(last), interval, Locale.parse(locale))
    assert " ".join(found.replace("\N{EN DASH}", "-").split()) == called


def test_a_row_for_each_stretch() -> None:
    """Rows stand in the order of the points, with the values that are read of each and the way to what is behind."""
    points = [Point(date(2026, 11, day), date(2026, 11, day), day * 100) for day in (1, 2)]
    rows = rows_of(
        points,
        lambda point: (Money.of(point.cents, "USD"), None),
        interval="day",
        locale=Locale("en", "US"),
        href=lambda point: f"/commissions?from={point.from_}",
    )
    assert rows == [
        ChartRow(date(2026, 11, 1), "Nov 1, 2026", (Money.of(100, "USD"), None), "/commissions?from=2026-11-01"),
        ChartRow(date(2026, 11, 2), "Nov 2, 2026", (Money.of(200, "USD"), None), "/commissions?from=2026-11-02"),
    ]
