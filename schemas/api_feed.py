"""The event feed: what happened, in the shape in which merchants read it, and in which webhooks tell it.

A type's shape never changes but by members that are added; another shape gets another type (`commission.earned.v2`).
Money is an amount with its currency, no entry holds personal data. `postings` is what the event moved between accounts:
the sum of all of them is the balances, without any other rule.
"""

from datetime import date, datetime
from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.api import Answer, Base, CommissionStatus, Query, QueryInt, Rate, Standing
from schemas.api_answers import Terms
from schemas.api_feed_payouts import PayoutData, PayoutType, RunData
from schemas.money import Money

FEED_LIMIT_MAX = 500
FEED_LIMIT_DEFAULT = 100
WAIT_S_MAX = 20
TYPES_MAX = 50

# --- what is asked ----------------------------------------------------------------------------------------------------


class FeedQuery(Query):
    """From where on, and which events."""

    after: Annotated[QueryInt, Field(ge=0, le=2**63 - 1)] = Field(
        default=0, description="The `next_after` of the answer before; 0, or left out: from the beginning."
    )
    limit: Annotated[QueryInt, Field(ge=1, le=FEED_LIMIT_MAX)] = FEED_LIMIT_DEFAULT
    types: str | None = Field(
        default=None,
        min_length=1,
        max_length=2_000,
        pattern=r"^[a-z_.*]+(,[a-z_.*]+)*$",
        description="Only these types, separated by commas: `commission.paid`, `partner.*`.",
        examples=["commission.*,partner.banned"],
    )
    wait_s: Annotated[QueryInt, Field(ge=0, le=WAIT_S_MAX)] = Field(
        default=0, description="Where there is nothing yet, wait for so many seconds at most until there is."
    )


# --- parts of the data ------------------------------------------------------------------------------------------------

Account = Literal["pending", "approved", "held", "in_payout", "paid", "clawed_back", "expense"]
FactKind = Literal["refund", "cancellation", "dispute", "dispute_won"]
CorrectionKind = Literal[FactKind, "returned"]


class FeedPosting(Answer):
    """What an event added to one account: those of the partner, and the merchant's `expense`. They sum to zero."""

    account: Account
    amount: Money


class OpenedData(Answer):
    """A merchant opened its program."""

    name: str
    currency: str
    time_zone: str
    terms: Terms


class TermsData(Answer):
    """New terms, in force from `occurred_at` on."""

    terms: Terms


class PartnerData(Answer):
    """A partner's standing."""

    partner_id: str
    status: Standing
    reason: str | None = None


class RegisteredData(PartnerData):
    """A new partner."""

    rate: Rate


class DetailsData(Answer):
    """Which of a partner's details changed; the details themselves are in `GET /partners/{id}`."""

    partner_id: str
    fields: list[str]


class RateData(Answer):
    """A partner's new rate, for orders placed from `occurred_at` on."""

    partner_id: str
    rate: Rate


class CouponData(Answer):
    """A coupon code and whose it is, or was. `rate`: the code's own, null where it has none."""

    partner_id: str
    code: str
    rate: Rate | None = None


class CustomerData(Answer):
    """A customer, and the partner for whom the customer's orders earn from `occurred_at` on."""

    customer_id: str
    partner_id: str
    reason: str


class OrderData(Answer):
    """What is said of every order; `occurred_on` is the day in the program's time zone."""

    order_id: str
    occurred_on: date


class MovedData(OrderData):
    """What happened to the money of a commission: `amount` is how much it was."""

    partner_id: str
    amount: Money
    from_status: CommissionStatus | None
    to_status: CommissionStatus
    postings: list[FeedPosting]


class TakenData(MovedData):
    """An order with a partner's code, as the storefront told it."""

    coupon_code: str | None
    customer_id: str | None
    assigned: bool = Field(description="It is the partner's because its customer is, not because of a code.")
    total: Money
    tax: Money
    shipping: Money
    discount: Money


class EarnedData(TakenData):
    """What was earned, by which rate, on which base, under which version of the terms."""

    rate: Rate
    base: Base
    base_amount: Money
    terms_version: int
    due_at: datetime | None


class SkippedData(TakenData):
    """Nothing was earned, and why."""

    reason: str


class EnteredData(MovedData):
    """A commission that somebody entered by hand; `order_id` is the entry's."""

    reason: str
    reference: str | None


class CorrectedData(MovedData):
    """What a refund, cancellation or dispute changed.

    `amount` is the change of the commission, `revenue` that of what is left of the order. `refund` is what the
    storefront gave back; `parked`: it had come before its order.
    """

    kind: CorrectionKind = Field(description="`returned`: no message; what was clawed back is settled.")
    event_id: str
    refund_id: str | None
    refund: Money
    revenue: Money
    parked: bool


class StateData(MovedData):
    """A commission changed its state; by whom stands in `cause`."""

    reason: str | None = None
    reference: str | None = None
    note: str | None = None
    payout_id: str | None = None
    by_ban: bool = Field(default=False, description="The partner's ban took it; the end of the ban gives it back.")


class ParkedData(OrderData):
    """A refund, cancellation or dispute that came before its order, and waits for it."""

    kind: FactKind
    event_id: str
    refund_id: str | None
    refund: Money | None


class ParkedRejectedData(OrderData):
    """Its order came, and showed that it can never be right: it is a dead letter."""

    kind: FactKind
    event_id: str
    refund_id: str | None
    code: str


class DeadLetterData(Answer):
    """A message that was refused; what it said is in `GET /dead-letters/{id}`."""

    dead_letter_id: str
    code: str | None = None
    outcome: str | None = None


class WebhookData(Answer):
    """Something was done with a webhook."""

    webhook_id: str
    reason: str | None = None


class AccessData(Answer):
    """A user, an API key or a partner whose way in was changed; more is in `GET /access-log`."""

    id: str
    role: Literal["owner", "finance", "manager", "viewer"] | None = None


# --- entries ----------------------------------------------------------------------------------------------------------


class FeedEntry(Answer):
    """One event. Positions grow, with gaps between them: the log is shared."""

    position: int = Field(description="Its place in the log; never given out twice, and never filled in later.")
    occurred_at: datetime = Field(description="When it took effect.")
    recorded_at: datetime = Field(description="When the ledger learned of it.")
    cause: str = Field(description="The Kafka position, the request, the timer or the person that made it happen.")
    subject: str = Field(description="What it happened to.", examples=["order/1001", "partner/p_k2j4", "program"])


class ProgramOpened(FeedEntry):
    """The program was opened."""

    type: Literal["program.opened"]
    data: OpenedData


class ProgramChanged(FeedEntry):
    """The program has new terms."""

    type: Literal["program.terms_changed"]
    data: TermsData


class PartnerAdded(FeedEntry):
    """A partner came to the program."""

    type: Literal["partner.registered", "partner.applied", "partner.invited"]
    data: RegisteredData


class PartnerMoved(FeedEntry):
    """A partner's standing changed."""

    type: Literal["partner.approved", "partner.rejected", "partner.paused", "partner.reinstated", "partner.banned"]
    data: PartnerData


class PartnerDetails(FeedEntry):
    """A partner's name or e-mail address changed."""

    type: Literal["partner.details_changed"]
    data: DetailsData


class PartnerRate(FeedEntry):
    """A partner has a new rate."""

    type: Literal["partner.rate_changed"]
    data: RateData


class CouponChanged(FeedEntry):
    """A coupon code was given, taken, or got another rate."""

    type: Literal["coupon.assigned", "coupon.rate_changed", "coupon.revoked"]
    data: CouponData


class CustomerChanged(FeedEntry):
    """A customer is another partner's from now on."""

    type: Literal["customer.reassigned"]
    data: CustomerData


class CommissionEarned(FeedEntry):
    """An order earned a commission."""

    type: Literal["commission.earned"]
    data: EarnedData


class CommissionSkipped(FeedEntry):
    """An order with a partner's code earned nothing."""

    type: Literal["commission.skipped"]
    data: SkippedData


class CommissionEntered(FeedEntry):
    """A commission was entered by hand."""

    type: Literal["commission.entered"]
    data: EnteredData


class CommissionCorrected(FeedEntry):
    """A refund, cancellation or dispute changed what is owed for an order."""

    type: Literal[
        "commission.adjusted",
        "commission.reversed",
        "commission.restored",
        "commission.clawed_back",
        "commission.clawback_returned",
    ]
    data: CorrectedData


class CommissionMoved(FeedEntry):
    """A commission changed its state."""

    type: Literal[
        "commission.approved",
        "commission.held",
        "commission.released",
        "commission.rejected",
        "commission.reopened",
        "commission.reserved",
        "commission.unreserved",
        "commission.paid",
        "commission.marked_unpaid",
    ]
    data: StateData


class ClawbackMoved(FeedEntry):
    """What was clawed back went into a payout, out with it, or came back from it."""

    type: Literal[
        "commission.clawback_netted",
        "commission.clawback_settled",
        "commission.clawback_unnetted",
        "commission.clawback_owed_again",
    ]
    data: StateData


class PayoutRunTold(FeedEntry):
    """Payouts were prepared together, approved or called off."""

    type: Literal["payout_run.prepared", "payout_run.approved", "payout_run.cancelled"]
    data: RunData


class PayoutTold(FeedEntry):
    """Something became of a payout."""

    type: PayoutType
    data: PayoutData


class OrderParked(FeedEntry):
    """Something came before its order."""

    type: Literal[
        "order.refund_parked", "order.cancellation_parked", "order.dispute_parked", "order.dispute_won_parked"
    ]
    data: ParkedData


class OrderParkedRejected(FeedEntry):
    """What had come before its order proved wrong."""

    type: Literal["order.parked_refund_rejected"]
    data: ParkedRejectedData


class DeadLetterChanged(FeedEntry):
    """A message was refused, or a refused one was dealt with."""

    type: Literal["dead_letter.opened", "dead_letter.retried", "dead_letter.discarded"]
    data: DeadLetterData


class WebhookTold(FeedEntry):
    """Something was done with a webhook. `webhook.tested` is told to that webhook alone, whatever types it takes."""

    type: Literal[
        "webhook.created",
        "webhook.changed",
        "webhook.rotated",
        "webhook.tested",
        "webhook.enabled",
        "webhook.disabled",
        "webhook.deleted",
    ]
    data: WebhookData


class AccessTold(FeedEntry):
    """A user, an API key or a partner's way in was changed."""

    type: Literal[
        "user.created",
        "user.invited",
        "user.password_set",
        "user.renamed",
        "user.role_changed",
        "user.disabled",
        "user.enabled",
        "partner.access_renewed",
        "partner.password_set",
        "partner.payout_details_changed",
        "partner.payout_details_removed",
        "key.created",
        "key.rotated",
        "key.revoked",
    ]
    data: AccessData


AnyEntry = Annotated[
    ProgramOpened
    | ProgramChanged
    | PartnerAdded
    | PartnerMoved
    | PartnerDetails
    | PartnerRate
    | CouponChanged
    | CustomerChanged
    | CommissionEarned
    | CommissionSkipped
    | CommissionEntered
    | CommissionCorrected
    | CommissionMoved
    | ClawbackMoved
    | PayoutRunTold
    | PayoutTold
    | OrderParked
    | OrderParkedRejected
    | DeadLetterChanged
    | WebhookTold
    | AccessTold,
    Field(discriminator="type"),
]


class Feed(Answer):
    """A stretch of the feed, in order of position."""

    data: list[AnyEntry]
    next_after: int = Field(description="Ask for what is behind this next; also where `data` is empty.")
    more: bool = Field(description="There may be more already: ask again at once.")


class OrderEvents(Answer):
    """Every event of one order, oldest first."""

    data: list[AnyEntry]


def types_of(entry: type[FeedEntry]) -> tuple[str, ...]:
    """Return the types that entries of this shape can have."""
    return get_args(entry.model_fields["type"].annotation)
