"""Assignments of customers to partners, told once more in Python, for `verify`."""

from typing import Any

from ledger.events import CustomerReassigned, Event

COLUMNS = ("position", "assigned_at", "partner_id", "cause", "reason")
KEY = ("merchant_id", "customer_id")


class Assignments(dict[tuple[str, str], list[Any]]):
    """The assignments that the events taken so far make. Events come stream by stream, in order."""

    def take(self, event: Event, position: int) -> None:
        """Take one event of a customer's stream; others are none of this."""
        if isinstance(event, CustomerReassigned):
            row = [position, event.occurred_at, event.partner_id, event.cause, event.reason]
            self[event.merchant_id, event.customer_id] = row
