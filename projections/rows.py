"""What the reads return: rows. Money in minor units, instants in UTC, days in the program's time zone.

Those that come by the page are not frozen: that makes them four times as fast.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row, Key]):
    """A page of a list as of a position. `next` is the key that the next page starts behind; None: there is none."""

    rows: list[Row]
    position: int
    next: Key | None


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """One thing as of a position; `row` is None where there is no such thing (or it is another merchant's)."""

    row: Row | None
    position: int


@dataclass(slots=True)
class Commission:
    """A commission as it stands. `remaining_minor` is what refunds have left of the order's `total_minor`.

    One that was entered by hand has no coupon code, and a total of 0.
    """

    place: int
    last_position: int
    version: int
    total_minor: int
    remaining_minor: int
    amount_minor: int
    clawed_back_minor: int
    occurred_at: datetime
    due_at: datetime | None
    approved_at: datetime | None
    paid_at: datetime | None
    occurred_on: date
    merchant_id: str
    order_id: str
    partner_id: str
    customer_id: str | None
    currency: str
    state: str
    coupon_code: str | None
    payout_id: str | None
    reason: str | None


@dataclass(slots=True)
class Balance:
    """What a partner is owed and was paid in one currency."""

    pending_minor: int
    approved_minor: int
    held_minor: int
    in_payout_minor: int
    paid_minor: int
    clawed_back_minor: int
    expense_minor: int
    merchant_id: str
    partner_id: str
    currency: str

    @property
    def payable_minor(self) -> int:
        """Return what can be paid out: approved, net of clawbacks; negative where more was clawed back."""
        return self.approved_minor + self.clawed_back_minor


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner, with the rate that is in force at the time that was asked for and the codes held now.

    `rate_type` is `percentage` (then `rate_bps`) or `fixed` (then `rate_minor`). Name and e-mail are None once erased.
    The address of the dashboard has a generation; it and its expiry are None before anything was done to them.
    """

    first_position: int
    partner_id: str
    standing: str
    registered_at: datetime
    changed_at: datetime
    rate_type: str
    rate_bps: int
    rate_minor: int
    coupon_codes: list[str]
    tags: list[str]
    name: str | None
    email: str | None
    generation: int | None
    link_expires_at: datetime | None
    password_set_at: datetime | None


@dataclass(frozen=True, slots=True)
class CustomerRevenue:
    """What a customer bought in one currency, in orders that earned a commission."""

    currency: str
    orders: int
    gross_minor: int
    refunded_minor: int


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer, brought by the partner of the first order (`partner_id`), and perhaps assigned to another later.

    Name and e-mail may be unknown.
    """

    customer_id: str
    partner_id: str
    assigned_partner_id: str | None
    assigned_at: datetime | None
    assignment_reason: str | None
    first_order_at: datetime
    last_order_at: datetime
    revenue: list[CustomerRevenue]
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Program:
    """A merchant's program; `terms` are the members of `ledger.events.Terms`."""

    merchant_id: str
    name: str
    currency: str
    time_zone: str
    terms: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProgramVersion:
    """A version of the terms, in force from `effective_at` until the next one; `cause` says who decided it."""

    version: int
    effective_at: datetime
    recorded_at: datetime
    cause: str
    terms: dict[str, Any]


@dataclass(slots=True)
class Figures:
    """The figures of the days `first_on` to `last_on`, in minor units of one currency.

    `earned_minor` is after adjustments, clawbacks and rejections. `outstanding_minor` is what was owed at the end of
    the last day. What payouts paid is contained in `paid_minor`, and what of them came back is taken off there.
    """

    first_on: date
    last_on: date
    gross_minor: int
    refunded_minor: int
    earned_minor: int
    paid_minor: int
    payouts_paid_minor: int
    payouts_returned_minor: int
    outstanding_minor: int
    conversions: int
    skipped: int
    entered: int
    reversed: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures over time (every stretch, also the empty ones, oldest first) and over all of it, as of a position."""

    totals: Figures
    series: list[Figures]
    position: int


@dataclass(frozen=True, slots=True)
class Partition:
    """How far a partition was read, and what became of its messages: `consumed` is the sum of the outcomes.

    `newest` is the position of the newest message that the broker had at `seen_at`; None where no worker has told.
    """

    source: str
    topic: str
    partition: int
    position: int
    consumed: int
    earned: int
    adjusted: int
    skipped: int
    ignored: int
    duplicate: int
    dead_lettered: int
    updated_at: datetime
    newest: int | None
    seen_at: datetime | None

    @property
    def lag(self) -> int | None:
        """Return how many messages were not accounted for when a worker last looked; None where none has."""
        return None if self.newest is None else max(0, self.newest - self.position)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was refused for good. `raw` is None where it was empty or erased; `sequence` orders the list."""

    sequence: int
    dead_letter_id: str
    merchant_id: str | None
    source: str
    topic: str
    partition: int
    position: int
    key: bytes | None
    raw: bytes | None
    code: str
    path: str
    reason: str
    received_at: datetime
    status: str
    resolved_at: datetime | None
    resolution: str | None
