"""What the HTTP API answers with, resource by resource; bodies and queries are in `schemas.api`."""

from datetime import date, datetime

from pydantic import Field

from schemas.api import (
    Answer,
    Approval,
    Base,
    CommissionStatus,
    DashboardAccess,
    DeadLetterStatus,
    FieldError,
    FixedOnPartialRefund,
    Interval,
    Outcome,
    PartnerMove,
    PayoutApproval,
    PayoutLetter,
    PayoutSchedule,
    Rate,
    SelfReferral,
    Standing,
)
from schemas.api_arithmetic import Arithmetic
from schemas.api_stories import ActedBy, CommissionStep
from schemas.money import Money


class PartnerState(Answer):
    """A partner as a command left it."""

    id: str
    status: Standing
    moves: list[PartnerMove] = Field(description="What may be done with the partner as it stands.")
    rate: Rate = Field(description="The rate that was decided last.")
    dashboard_url: str | None = Field(
        description="Unique and unguessable: the address of the partner's own dashboard, to be sent to the partner, who"
        " sets a password there. It stays as it is until it is renewed. Null for callers without the scope `partners`:"
        " whoever has it could come in first."
    )
    dashboard_access: DashboardAccess = Field(
        description="`link_open`: whoever comes first with the address sets the password; `link_expired`: nobody did in"
        " time, so renew it; `password_set`: the partner logs in there."
    )
    dashboard_link_expires_at: datetime = Field(description="Until when a password can be set for the first time.")


class DashboardLink(Answer):
    """The new address of a partner's dashboard. The old one leads nowhere, and a password is to be set anew."""

    id: str
    dashboard_url: str
    dashboard_access: DashboardAccess
    dashboard_link_expires_at: datetime


class Partner(PartnerState):
    """A partner. Name and e-mail are null once the person was erased."""

    name: str | None
    email: str | None
    coupon_codes: list[str]
    tags: list[str]
    registered_at: datetime


class Standings(Answer):
    """How many partners a program has, by their standing."""

    invited: int
    applied: int
    approved: int
    rejected: int
    paused: int
    banned: int
    all: int


class PartnerRate(Answer):
    """A rate that a partner has, had or will have: of orders placed from `from` until `until`."""

    rate: Rate
    from_: datetime = Field(alias="from", description="The first rate is that of all orders before that, too.")
    until: datetime | None = Field(
        description="When the next one begins; null: none does. The same as `from`: another took its place."
    )


class Coupon(Answer):
    """A coupon code in a partner's hands: of orders placed from `from` until it was taken away."""

    code: str
    rate: Rate | None = Field(description="The code's own rate now; null: the partner's.")
    from_: datetime = Field(alias="from", description="The first partner of a code has all orders before that, too.")
    revoked_at: datetime | None


class Note(Answer):
    """What somebody noted about a partner."""

    id: str
    note: str
    author: str = Field(description="Who wrote it, and by which request.")
    by: ActedBy = Field(description="Who wrote it: the author, looked up.")
    at: datetime


class OrderResult(Answer):
    """What became of one order event."""

    order_id: str | None = Field(description="Null where the event has none that can be read.")
    outcome: Outcome
    commission: Money | None = Field(default=None, description="What the order's commission stands at, if it has one.")
    error: "OrderError | None" = Field(default=None, description="With `dead_lettered`: why.")


class OrderError(Answer):
    """Why an order event was refused."""

    code: str
    message: str
    path: str
    errors: list[FieldError]


class OrderResults(Answer):
    """One result per order event, in order."""

    results: list[OrderResult]


class Commission(Answer):
    """The partner's share of one order."""

    order_id: str
    partner_id: str
    customer_id: str | None
    coupon_code: str | None = Field(
        description="Null for a commission that was entered by hand, and where the order came without: its customer was"
        " given to the partner."
    )
    status: CommissionStatus
    reason: str | None = Field(description="Why it is skipped, held or rejected, or why it was entered by hand.")
    commission: Money = Field(description="What it stands at, after every refund.")
    clawed_back: Money = Field(description="What was taken back (zero or negative) after it had been paid.")
    total: Money = Field(description="The order's total as the storefront told it; 0 where it was entered by hand.")
    refunded: Money = Field(description="How much of the total is gone.")
    occurred_at: datetime
    due_at: datetime | None = Field(description="When a pending commission becomes payable by itself.")
    approved_at: datetime | None
    paid_at: datetime | None
    payout_id: str | None


class CommissionState(Answer):
    """A commission as a command left it."""

    order_id: str = Field(description="The order's id, or that of the entry made by hand (`manual-...`).")
    status: CommissionStatus
    commission: Money


class HistoryEntry(Answer):
    """One event of the order's stream: what happened, when, why, and how much money it moved."""

    version: int
    type: str = Field(examples=["CommissionEarned"])
    summary: str = Field(description="What happened, in a sentence.")
    occurred_at: datetime
    recorded_at: datetime
    cause: str = Field(description="The Kafka position, the request, the timer or the person that made it happen.")
    by: ActedBy
    amount: Money | None
    from_status: str | None
    to_status: str | None
    reason: str | None
    reference: str | None = Field(description="The merchant's own, of a payment or an entry made by hand.")
    note: str | None
    payout_id: str | None = Field(description="The payout that moved it, or of which it came back.")
    refund_id: str | None
    kind: str | None = Field(
        description="Of a correction: `refund`, `cancellation`, `dispute`, `dispute_won`, `returned`."
    )
    refund: Money | None = Field(description="What the storefront said that it gave back.")


class CommissionStory(Commission):
    """A commission with everything that happened to it, oldest first."""

    legal: list[str] = Field(description="The moves that people can make with it now, by the names of their calls.")
    arithmetic: Arithmetic | None = Field(description="How it was computed; null where nothing was.")
    steps: list[CommissionStep] = Field(description="What the order, and each refund of it, made the commission.")
    history: list[HistoryEntry]


class Balance(Answer):
    """What one partner is owed and was paid in one currency. Currencies are never added together."""

    partner_id: str
    currency: str
    pending: Money
    approved: Money
    held: Money
    in_payout: Money
    paid: Money
    clawed_back: Money
    payable: Money = Field(description="Approved, net of clawbacks; negative balances are carried forward.")


class CustomerRevenue(Answer):
    """What a customer bought in one currency."""

    currency: str
    orders: int
    gross: Money
    refunded: Money
    net: Money


class Customer(Answer):
    """A customer that a partner brought. Name and e-mail are null where unknown, or once the person was erased."""

    id: str
    name: str | None
    email: str | None
    partner_id: str | None = Field(description="Who referred the customer: the partner of the first order.")
    assigned_partner_id: str | None = Field(
        description="To whom the customer was reassigned: whose the orders without a partner's code are."
    )
    assigned_at: datetime | None
    assignment_reason: str | None
    first_order_at: datetime
    last_order_at: datetime
    revenue: list[CustomerRevenue]


class CustomerOrder(Answer):
    """One order of a customer."""

    order_id: str
    partner_id: str
    status: CommissionStatus
    occurred_at: datetime
    total: Money
    refunded: Money
    commission: Money


class CustomerStory(Customer):
    """A customer with the latest orders (at most 200), newest first."""

    orders: list[CustomerOrder]


class CustomerAssignment(Answer):
    """To whom a customer was assigned."""

    customer_id: str
    partner_id: str
    assigned_at: datetime
    reason: str


class Revenue(Answer):
    """What the storefront took for orders with a partner's code."""

    gross: Money
    refunded: Money
    net: Money


class Commissions(Answer):
    """What partners earned of it."""

    earned: Money = Field(description="With those entered by hand; after adjustments, clawbacks and rejections.")
    paid: Money
    outstanding: Money = Field(description="Owed at the end of the last day.")


class PaidOut(Answer):
    """What payouts paid, which is part of what was paid, and what of any payout came back, when it did."""

    paid: Money
    returned: Money


class Figures(Answer):
    """The figures of one stretch of time, in one currency."""

    revenue: Revenue
    commissions: Commissions
    payouts: PaidOut
    conversions: int = Field(description="Orders that earned a commission.")
    skipped: int = Field(description="Orders with a partner's code that earned nothing.")
    entered: int = Field(description="Commissions that were entered by hand: owed, but no revenue and no conversion.")
    reversed: int = Field(description="Commissions of which refunds left nothing.")
    rejected: int = Field(description="Commissions that were refused.")


class Point(Figures):
    """One bucket of the series; `from` and `to` are its first and last day."""

    from_: date = Field(alias="from")
    to: date


class Totals(Figures):
    """The figures of all of the time."""

    average_order: Money | None = Field(description="Gross revenue per conversion; null without one.")
    commission_rate: str | None = Field(
        description="What was earned in per cent of the net revenue, with two decimals; null where that is not more"
        " than zero.",
        examples=["9.75"],
    )


class Metrics(Answer):
    """The figures over time, and over all of it."""

    from_: date = Field(alias="from")
    to: date
    interval: Interval
    currency: str
    totals: Totals
    series: list[Point]


class Terms(Answer):
    """The terms under which commissions are earned; every commission keeps those it was decided under."""

    version: int
    approval: Approval
    hold_days: int
    base: Base
    fixed_on_partial_refund: FixedOnPartialRefund
    self_referral: SelfReferral
    minimum_payout: dict[str, str] = Field(
        description="What a partner must be owed before a payout is made, per currency.", examples=[{"USD": "50.00"}]
    )
    max_orders_per_customer: int | None = Field(description="Null: all orders of a customer earn.")
    max_months_per_customer: int | None = Field(description="Null: a customer earns for ever.")
    payout_approval: PayoutApproval
    payout_schedule: PayoutSchedule | None = Field(description="Null: nothing is paid before somebody makes a run.")
    payout_letters: list[PayoutLetter]


class ProgramVersion(Answer):
    """One version of the terms: of orders placed from `from` until the next version."""

    from_: datetime = Field(alias="from")
    cause: str = Field(description="Who decided it, and by which request.")
    terms: Terms


class Program(Answer):
    """The merchant's program."""

    merchant_id: str
    name: str
    currency: str
    time_zone: str
    terms: Terms
    next_payout_on: date | None = Field(
        description="The day of the next payout run that is made by itself, in the program's time zone; null: none is."
    )


class DeadLetter(Answer):
    """A message that was refused for good, kept with its reason."""

    id: str
    status: DeadLetterStatus
    code: str
    path: str
    reason: str
    source: str
    topic: str
    partition: int
    position: int
    received_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    excerpt: str | None = Field(description="How the message begins, as text; null where it is empty or was erased.")


class DeadLetterStory(DeadLetter):
    """A dead letter with its whole message."""

    raw: str | None = Field(description="The message as text; bytes that are not UTF-8 are replaced.")
    raw_base64: str | None = Field(description="The message byte by byte, as base64; null where it was erased.")


class DeadLetterState(Answer):
    """A dead letter as a command left it; `outcome` is what its message became when it was tried again."""

    id: str
    status: DeadLetterStatus
    outcome: Outcome | None
    resolution: str


class Partition(Answer):
    """How far one partition was read; `consumed` is the sum of the outcomes."""

    source: str = Field(description="The Kafka cluster's id, or `api`, `import`.")
    topic: str
    partition: int
    position: int
    consumed: int
    outcomes: "Outcomes"
    updated_at: datetime
    lag: int | None = Field(
        description="How many messages the broker had at `lag_at` that were not accounted for; null where nobody asked."
    )
    lag_at: datetime | None


class Outcomes(Answer):
    """How many messages ended how."""

    earned: int
    adjusted: int
    skipped: int
    ignored: int
    duplicate: int
    dead_lettered: int


class Intake(Answer):
    """Every partition."""

    data: list[Partition]


class IgnoredOrders(Answer):
    """Orders of one day and currency that came without a code, or with one that is no partner's: counted, not kept."""

    day: date = Field(description="In the program's time zone.")
    currency: str
    orders: int
    total: Money
