"""What is sent and answered where payout runs are made, approved and followed, and their payouts settled."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import AmountText, Answer, Body, CurrencyCode, Day, Id, Instant, Listing, Reason
from schemas.api_stories import ActedBy
from schemas.money import Money
from schemas.payout_methods import PayoutMethod

PARTNERS_MAX = 1_000
PREVIEW_LINES_MAX = 10_000

Rail = Literal["stripe", "paypal", "bank", "manual"]
RunStatus = Literal["preview", "prepared", "approved", "cancelled"]
PayoutStatus = Literal[
    "requested", "approved", "submitting", "submitted", "held", "review", "processed", "failed", "returned", "cancelled"
]
PayoutAction = Literal["approve", "cancel", "confirm", "declare-dead", "retry", "check"]
RunReason = Literal[
    "payable", "excluded", "on_hold", "frozen", "open_payout", "negative_balance", "nothing_payable", "below_minimum",
    "no_payout_details", "details_changed", "rail_off", "unsupported_amount", "over_limit", "changed",
]  # fmt: skip
"""As `ledger.payout_runs.Reason`."""

TransactionId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    Field(examples=["4XY12345AB678901C"], description="The number that the bank or the service gave the payment."),
]


# --- runs -------------------------------------------------------------------------------------------------------------


class NewPayoutRun(Body):
    """Whom to pay. What is left out does not narrow the run down."""

    dry_run: bool = Field(default=False, description="Only show who would be paid, and who not and why.")
    cut_off: Instant | None = Field(
        default=None, description="Only what was payable by then; not in the future. Left out: now."
    )
    currency: CurrencyCode | None = None
    partner_ids: Annotated[tuple[Id, ...], Field(max_length=PARTNERS_MAX)] | None = None
    exclude_partner_ids: Annotated[tuple[Id, ...], Field(max_length=PARTNERS_MAX)] = ()
    minimum: dict[CurrencyCode, AmountText] | None = Field(
        default=None,
        description="What a partner must be owed, per currency. Left out: what the program's terms say.",
        examples=[{"USD": "50.00"}],
    )


class RunTotal(Answer):
    """What the partners who are in the run get, in one currency."""

    currency: str
    partners: int
    commissions: int
    amount: Money


class RunOut(Answer):
    """How many partners are out of the run for one reason, and what they are owed."""

    reason: RunReason
    currency: str
    partners: int
    amount: Money


class RunLine(Answer):
    """One partner in the run's list, in one currency: in or out, and why."""

    partner_id: str
    amount: Money = Field(description="What was approved less what was clawed back; it may be negative for who is out.")
    commissions: int
    included: bool
    reason: RunReason = Field(
        description="`payable`: in. `details_changed`: the new payout details have to cool down. `rail_off`: the"
        " partner's way of being paid cannot be used now. `unsupported_amount`: it does not send this currency, or not"
        " this amount. `changed`: what was payable when the list was frozen no"
        " longer was when the payout was requested."
    )
    rail: Rail | None
    payout_id: str | None = Field(description="Null where the partner is out; also once the payout is requested.")


class PayoutRun(Answer):
    """A payout run, or the preview of one."""

    id: str | None = Field(description="Null of a preview: it is nowhere kept.")
    status: RunStatus = Field(
        description="`prepared`: the list is frozen, and waits for an approval where `needs_approval`."
    )
    cut_off: datetime
    made_by: ActedBy
    made_at: datetime
    needs_approval: bool = Field(description="Somebody other than who made it has to approve it.")
    approved_by: ActedBy | None
    approved_at: datetime | None
    cancelled_because: str | None
    partners_in: int
    partners_out: int
    totals: list[RunTotal]
    out: list[RunOut]
    waiting: int = Field(description="Payouts of the list that are still to be requested; the worker does that.")
    payouts: dict[PayoutStatus, int] = Field(description="How many of its payouts stand where.")
    lines: list[RunLine] | None = Field(
        description="Of a preview, the first of them; null of a run: `GET /payout-runs/{id}/lines`."
    )
    lines_left_out: int = Field(description="Of a preview: how many more lines there are.")


class RunState(Answer):
    """A run as a command left it; the worker carries it on."""

    id: str
    status: RunStatus
    needs_approval: bool


class RunsQuery(Listing):
    """Which runs."""


class RunLinesQuery(Listing):
    """Which lines of a run."""

    included: Literal["true", "false"] | None = None
    reason: RunReason | None = None
    currency: CurrencyCode | None = None
    partner_id: Id | None = None


# --- payouts ----------------------------------------------------------------------------------------------------------


class Payout(Answer):
    """One payment to one partner."""

    id: str
    run_id: str
    partner_id: str
    amount: Money
    rail: Rail
    status: PayoutStatus
    reference: str | None = Field(description="The provider's number of the payment, once there is one.")
    transaction_id: str | None = Field(description="The number to find it by at the bank or provider, once it is out.")
    returned: Money = Field(description="What of it came back in all, and is owed again.")
    reason: str | None = Field(description="Why it is held, in review, failed or cancelled.")
    commissions: int = Field(description="How many it pays, with those of which a clawback is netted off.")
    attempt: int = Field(description="0: nothing was submitted yet.")
    needs_approval: bool = Field(description="Nothing is submitted before somebody other than its maker approves.")
    requested_by: ActedBy
    requested_at: datetime
    updated_at: datetime
    processed_at: datetime | None


class PayoutStep(Answer):
    """One event of the payout's stream: what happened, when, by whom, and all that is known of it."""

    version: int
    type: str = Field(examples=["PayoutSubmitted"])
    summary: str = Field(description="What happened, in a sentence.")
    at: datetime
    cause: str = Field(description="The request, the run or the worker that made it happen.")
    by: ActedBy
    from_status: str | None
    to_status: str
    attempt: int | None = None
    key: str | None = Field(default=None, description="The idempotency key under which it was sent.")
    body_sha256: str | None = Field(default=None, description="Of what was sent, byte for byte.")
    window_ends_at: datetime | None = Field(default=None, description="Until then the provider takes the key again.")
    reference: str | None = None
    references: list[str] = Field(default=[], description="What the provider has, where that was the matter.")
    transaction_id: str | None = None
    adopted: bool = Field(default=False, description="Found at the provider, rather than told in answer to our call.")
    method: str | None = None
    paid_at: datetime | None = None
    code: str | None = None
    reason: str | None = None
    declared: str | None = Field(default=None, description="What a person declared.")
    returned: Money | None = Field(default=None, description="What came back this time.")
    returned_in_all: Money | None = None


class PayoutStory(Payout):
    """A payout with everything that happened to it, the oldest first, and what may be done now."""

    netted: Money = Field(description="What of earlier clawbacks was netted off (zero or negative), in the amount.")
    payee: PayoutMethod | None = Field(
        description="Where it goes, masked; null for callers without the scope `payouts`, and once it was blanked."
    )
    sends: int = Field(description="How often something was sent, of all attempts.")
    partner_frozen: str | None = Field(description="Why nothing is sent to its partner now; null: it is.")
    contradictions: list[str] = Field(description="What the provider told that cannot be.")
    actions: list[PayoutAction] = Field(description="What people can do with it now, by the names of the calls.")
    history: list[PayoutStep]


class PayoutPart(Answer):
    """One commission in a payout, or a clawback that is netted off in it; together they are its amount."""

    order_id: str
    kind: Literal["commission", "clawback"]
    amount: Money = Field(description="As it was when the payout was requested; negative for a clawback.")


class PayoutState(Answer):
    """A payout as a command left it."""

    id: str
    status: PayoutStatus
    amount: Money


class PaymentByHand(Answer):
    """A line of the list by which a person pays. `pay_to` is what the payout was requested with, empty once erased."""

    payout_id: str
    partner_id: str
    partner_name: str | None
    amount: str
    currency: str
    name: str
    pay_to: str
    requested_at: datetime


class PayoutsQuery(Listing):
    """Which payouts."""

    partner_id: Id | None = None
    status: PayoutStatus | None = None
    currency: CurrencyCode | None = None
    run_id: Id | None = None
    rail: Rail | None = None
    from_: Day | None = Field(default=None, alias="from", description="Requested on this day or later.")
    to: Day | None = Field(default=None, description="Requested on this day or earlier.")
    transaction_id: TransactionId | None = Field(default=None, description="Or the provider's reference.")


class Confirmation(Body):
    """How a person paid a payout."""

    transaction_id: TransactionId
    paid_at: Instant
    amount: AmountText = Field(examples=["125.00"], description="Exactly the amount of the payout.")
    currency: CurrencyCode
    method: Annotated[str, StringConstraints(min_length=1, max_length=32)] = Field(
        examples=["wire"], description="By which means: a word of small letters, digits and `_`."
    )


class Declaration(Body):
    """What a person knows, and answers for: nothing was paid, and nothing will be."""

    declared: Reason


# --- partners ---------------------------------------------------------------------------------------------------------


class PayoutHold(Answer):
    """Whether anything is sent to a partner; `frozen` says why not, null where nothing is in the way."""

    partner_id: str
    frozen: str | None
    frozen_at: datetime | None


class PayoutHoldChange(Answer):
    """A time that the partner's payouts were held back, or released."""

    frozen: bool
    reason: str
    at: datetime
    by: ActedBy


class PayoutStanding(PayoutHold):
    """Whether anything is sent to a partner, and the last times that this changed, the newest first."""

    history: list[PayoutHoldChange]


class WriteOff(Body):
    """To forgive a partner what was clawed back and cannot be netted off."""

    currency: CurrencyCode
    reason: Reason
