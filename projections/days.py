"""The days of a program, told once more in Python from the revenue and conversions of its partners, for `verify`."""

from datetime import date

from projections import conversions, revenue
from projections.conversions import Conversions
from projections.revenue import Revenue

COLUMNS = (
    "gross_minor", "refunded_minor", "earned_minor", "paid_minor", "payouts_paid_minor", "payouts_returned_minor",
    *conversions.COLUMNS,
)  # fmt: skip
KEY = ("merchant_id", "currency", "day")

# What each column of revenue adds to a day: the place there, and the sign.
_ADDS = {
    "gross_minor": (0, 1),
    "refunded_minor": (1, 1),
    "earned_minor": (2, 1),
    "adjusted_minor": (2, 1),
    "clawed_back_minor": (2, 1),
    "rejected_minor": (2, -1),
    "paid_minor": (3, 1),
    "payouts_paid_minor": (4, 1),
    "payouts_returned_minor": (5, 1),
}
_COUNTS = 6


def days(earned: Revenue, counted: Conversions) -> dict[tuple[str, str, date], list[int]]:
    """Return the days that the revenue and the conversions of all partners add up to."""
    found: dict[tuple[str, str, date], list[int]] = {}
    for (merchant_id, _, currency, day), row in earned.items():
        sums = found.setdefault((merchant_id, currency, day), [0] * len(COLUMNS))
        for column, value in zip(revenue.COLUMNS, row, strict=True):
            place, sign = _ADDS[column]
            sums[place] += sign * value
    for (merchant_id, _, currency, day), row in counted.items():
        sums = found.setdefault((merchant_id, currency, day), [0] * len(COLUMNS))
        for place, orders in enumerate(row, _COUNTS):
            sums[place] += orders
    return found
