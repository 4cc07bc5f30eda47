"""One commission, told once more in Python, event by event, for `verify`; also what a stream may never say."""

from datetime import date, datetime
from typing import Any

from ledger.commissions import LEGAL_MOVES
from ledger.events import (
    CommissionClawedBack,
    CommissionCorrected,
    CommissionEntered,
    CommissionMoved,
    CommissionPaid,
    CommissionReserved,
    CommissionSkipped,
    Event,
    OrderTaken,
    RefundParked,
)
from ledger.payout_events import CLAWBACK_ACCOUNTS, ClawbackMoved

COLUMNS = (
    "place", "last_position", "version", "total_minor", "remaining_minor", "amount_minor", "clawed_back_minor",
    "occurred_at", "due_at", "approved_at", "paid_at", "occurred_on",
    "partner_id", "customer_id", "currency", "state", "coupon_code", "payout_id", "reason",
)  # fmt: skip
KEY = ("merchant_id", "order_id")

_EPOCH = date(1970, 1, 1).toordinal()
_PAYABLE = ("approved", "in_payout", "paid")

_MOVE_OF = {
    "CommissionApproved": "approve",
    "CommissionHeld": "hold",
    "CommissionReleased": "release",
    "CommissionRejected": "reject",
    "CommissionReopened": "reopen",
    "CommissionReserved": "reserve",
    "CommissionUnreserved": "unreserve",
    "CommissionPaid": "pay",
    "CommissionMarkedUnpaid": "mark_unpaid",
}


class Standing:
    """The commission that the events of one stream, taken in order, make."""

    __slots__ = (
        "amount_minor",
        "approved_at",
        "clawed_back_minor",
        "fault",
        "last_position",
        "paid_at",
        "payout_id",
        "place",
        "reason",
        "remaining_minor",
        "state",
        "taken",
        "version",
    )

    def __init__(self) -> None:
        self.taken: OrderTaken | CommissionEntered | None = None
        self.state = ""
        self.reason: str | None = None
        self.payout_id: str | None = None
        self.approved_at: datetime | None = None
        self.paid_at: datetime | None = None
        self.place = self.last_position = self.version = 0
        self.remaining_minor = self.amount_minor = self.clawed_back_minor = 0
        self.fault: str | None = None

    def take(self, event: Event, position: int) -> None:
        """Take the stream's next event; the first that is not legal where it stands is noted as the `fault`."""
        self.version += 1
        self.last_position = position
        if isinstance(event, CommissionMoved):
            self._move(event)
        elif isinstance(event, (OrderTaken, CommissionEntered)):
            self._open(event, position)
        elif isinstance(event, RefundParked) and self.taken is not None:
            self._blame("a refund is parked although its order is there")

    def _open(self, event: OrderTaken | CommissionEntered, position: int) -> None:
        if self.taken is not None:
            self._blame("the order is taken a second time")
        self.taken, self.state = event, event.to_state
        self.amount_minor = event.amount_minor
        self.remaining_minor = _total(event)
        self.reason = event.reason if isinstance(event, (CommissionSkipped, CommissionEntered)) else None
        self.approved_at = event.occurred_at if event.to_state in _PAYABLE else None
        self.paid_at = event.occurred_at if event.to_state == "paid" else None
        self.payout_id = getattr(event, "payout_id", None)
        self.place = ((event.occurred_on.toordinal() - _EPOCH) << 40) + position

    def _move(self, event: CommissionMoved) -> None:
        if self.taken is None or event.from_state != self.state:
            self._blame(f"{type(event).__name__} begins in state {event.from_state!r}, but it is {self.state!r}")
        if isinstance(event, CommissionCorrected):
            self._correct(event)
        elif isinstance(event, ClawbackMoved):
            self._net(event)
        else:
            if _MOVE_OF[type(event).__name__] not in LEGAL_MOVES.get(self.state, ()):
                self._blame(f"{type(event).__name__} is not legal in state {self.state!r}")
            if event.amount_minor != self.amount_minor:
                self._blame(
                    f"{type(event).__name__} moves {event.amount_minor}, but the commission is {self.amount_minor}"
                )
        if event.to_state != event.from_state:
            self._change(event)

    def _correct(self, event: CommissionCorrected) -> None:
        self.remaining_minor += event.revenue_minor
        if isinstance(event, CommissionClawedBack):
            self.clawed_back_minor += event.amount_minor
        else:
            self.amount_minor += event.amount_minor
        if event.to_state != event.from_state and "reversed" not in (event.to_state, event.from_state):
            self._blame(f"a correction changes the state from {event.from_state!r} to {event.to_state!r}")

    def _net(self, event: ClawbackMoved) -> None:
        left, reached = CLAWBACK_ACCOUNTS[type(event).__name__]
        self.clawed_back_minor += event.amount_minor * ((reached == "clawed_back") - (left == "clawed_back"))
        if event.to_state != event.from_state:
            self._blame(f"a clawback changes the state from {event.from_state!r} to {event.to_state!r}")

    def _change(self, event: CommissionMoved) -> None:
        self.state = event.to_state
        self.reason = getattr(event, "reason", None)
        self.payout_id = event.payout_id if isinstance(event, (CommissionReserved, CommissionPaid)) else None
        if event.to_state not in _PAYABLE:
            self.approved_at = None
        elif event.to_state == "approved" and event.from_state not in _PAYABLE:
            self.approved_at = event.occurred_at
        self.paid_at = event.occurred_at if event.to_state == "paid" else None

    def _blame(self, fault: str) -> None:
        if self.fault is None:
            self.fault = fault

    def row(self) -> tuple[Any, ...] | None:
        """Return the values of COLUMNS, None where the stream has no order (yet): then there is no commission."""
        taken = self.taken
        if taken is None:
            return None
        return (
            self.place, self.last_position, self.version, _total(taken), self.remaining_minor, self.amount_minor,
            self.clawed_back_minor, taken.occurred_at, getattr(taken, "due_at", None), self.approved_at, self.paid_at,
            taken.occurred_on, taken.partner_id, getattr(taken, "customer_id", None), taken.currency, self.state,
            getattr(taken, "coupon_code", None), self.payout_id, self.reason,
        )  # fmt: skip


def _total(taken: OrderTaken | CommissionEntered) -> int:
    return taken.total_minor if isinstance(taken, OrderTaken) else 0
