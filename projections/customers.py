"""Customers, told once more in Python from commissions, for `verify` (which compares those with the log itself)."""

from datetime import datetime
from typing import Any

COLUMNS = ("orders", "gross_minor", "refunded_minor", "first_position", "first_order_at", "last_order_at", "partner_id")
KEY = ("merchant_id", "customer_id", "currency")

_POSITION = (1 << 40) - 1


class Bought:
    """What one customer bought in one currency."""

    __slots__ = ("first", "gross_minor", "last_order_at", "orders", "partner_id", "refunded_minor")

    def __init__(self) -> None:
        self.orders = self.gross_minor = self.refunded_minor = 0
        self.first: tuple[datetime, int] | None = None
        self.last_order_at: datetime | None = None
        self.partner_id = ""

    def take(self, occurred_at: datetime, place: int, total_minor: int, remaining_minor: int, partner_id: str) -> None:
        """Take one commission that was earned."""
        self.orders += 1
        self.gross_minor += total_minor
        self.refunded_minor += total_minor - remaining_minor
        first = (occurred_at, place & _POSITION)
        if self.first is None or first < self.first:
            self.first, self.partner_id = first, partner_id
        if self.last_order_at is None or occurred_at > self.last_order_at:
            self.last_order_at = occurred_at

    def row(self) -> tuple[Any, ...]:
        """Return the values of COLUMNS."""
        first_order_at, first_position = self.first or (None, None)
        return (
            self.orders, self.gross_minor, self.refunded_minor, first_position, first_order_at, self.last_order_at,
            self.partner_id,
        )  # fmt: skip
